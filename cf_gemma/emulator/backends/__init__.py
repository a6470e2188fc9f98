"""The two servers that answer for the model: what an engine says, in the JSON and the events of each.

`sglang` and `vllm` write it, with what `common` and `styles` hold for both; `rendering` makes the body or the stream.
"""
