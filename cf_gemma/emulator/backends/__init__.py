"""The two servers that answer for the model: what their parsers make of its words, and how they write that.

`sglang` and `vllm` are the two, with what `common`, `calls`, `notation` and `styles` hold for both; `parsing` goes
through an engine's events as they would, `rendering` makes the body or the stream.
"""

from typing import Final

from cf_gemma.emulator.backends.common import Dialect
from cf_gemma.emulator.backends.sglang import Sglang
from cf_gemma.emulator.backends.vllm import Vllm

VERSIONS: Final[dict[str, Dialect]] = {
    "S": Sglang(),
    "V-0.22": Vllm("0.22"),
    "V-0.25": Vllm("0.25"),
    "V-0.32": Vllm("0.32"),
}

DIALECTS: Final[dict[str, tuple[Dialect, ...]]] = {
    "S": (VERSIONS["S"],),
    "V": (VERSIONS["V-0.22"], VERSIONS["V-0.25"], VERSIONS["V-0.32"]),
    **{name: (dialect,) for name, dialect in VERSIONS.items()},
}
"""What a name stands for. S and V have been seen behind one model id, minutes apart (captures published 2026-10)."""

__all__ = ["DIALECTS", "Dialect"]
