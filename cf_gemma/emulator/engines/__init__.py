"""What answers behind the emulator: `scripted` says what a test wrote, `llama` runs a language model.

`protocol` is what an engine is and what it yields; `reply` is the words of scripts.
"""

from cf_gemma.emulator.engines.protocol import Ending, Engine, Event, Opening, Step

__all__ = ["Ending", "Engine", "Event", "Opening", "Step"]
