"""The two servers that answer for the model: what an engine says, in the JSON and the events of each.

`sglang` and `vllm` write it, with what `common` and `styles` hold for both; `rendering` makes the body or the stream.
"""

from typing import Final

from cf_gemma.emulator.backends.common import Dialect
from cf_gemma.emulator.backends.sglang import Sglang
from cf_gemma.emulator.backends.vllm import Vllm

DIALECTS: Final[dict[str, Dialect]] = {"S": Sglang(), "V": Vllm()}
"""By name. Both have been seen behind one model id, minutes apart (captures published 2026-10)."""

__all__ = ["DIALECTS", "Dialect"]
