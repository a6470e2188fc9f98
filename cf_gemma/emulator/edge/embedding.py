"""What the account's embedding models answer: vectors that are the nearer the more words two texts share. Pure."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final, cast
from zlib import crc32

from cf_gemma.emulator.envelope import envelope
from cf_gemma.emulator.faults import Fault, Refusal
from cf_gemma.model.json_object import as_object

if TYPE_CHECKING:
    from collections.abc import Mapping

DIMENSIONS: Final[Mapping[str, int]] = {
    "@cf/baai/bge-small-en-v1.5": 384,
    "@cf/baai/bge-base-en-v1.5": 768,
    "@cf/baai/bge-large-en-v1.5": 1024,
    "@cf/baai/bge-m3": 1024,
}
"""The models that there are, and how long their vectors are."""

_MOST_TEXTS: Final = 100


def embed(model: str, payload: Any) -> dict[str, Any]:
    """The answer to `{"text": …}`, a text or up to 100 of them. Raises Refusal (5006, 5007)."""
    if model not in DIMENSIONS:
        raise Refusal(Fault.of(5007, f"No such model {model} or task"))
    text: object = (as_object(payload) or {}).get("text")
    texts = cast("list[object]", text) if isinstance(text, list) else [text] if isinstance(text, str) else []
    if not 0 < len(texts) <= _MOST_TEXTS:
        raise Refusal(Fault.of(5006, f"'/text' must be a string, or an array of 1 to {_MOST_TEXTS} strings"))
    if not all(isinstance(one, str) and one for one in texts):
        raise Refusal(Fault.of(5006, "'/text' must have strings of at least one character"))
    vectors = [_vector(str(one), DIMENSIONS[model]) for one in texts]
    return envelope({"shape": [len(vectors), DIMENSIONS[model]], "data": vectors, "pooling": "mean"})


def _vector(text: str, dimensions: int) -> list[float]:
    """Each word adds its length at a place of its own, so that "library" counts for more than "the"."""
    vector = [0.0] * dimensions
    for word in re.findall(r"\w+", text.lower()) or [""]:
        vector[crc32(word.encode()) % dimensions] += len(word) or 1
    length = math.hypot(*vector)
    return [component / length for component in vector]
