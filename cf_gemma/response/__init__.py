"""What is answered: events, chunks, replies, tool calls, usage, refusals, and the readers that receive them.

Pure: bytes in; deltas, and at the end a Completion or a typed error that carries what had arrived, out.
"""
