"""The `usage` object, with neurons as the service reckons them: in single precision."""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any, Final

from cf_gemma.model.facts import PRICE


@lru_cache(maxsize=512)
def neurons(prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> float:
    """What a call costs. Cached prompt tokens seem to cost half (one published reply, 2026-10)."""
    prompt = _single((prompt_tokens - cached_tokens / 2) * _PROMPT_RATE)
    cost = _single(prompt + _single(completion_tokens * _COMPLETION_RATE))
    return int(cost) if cost.is_integer() else cost


def usage(
    prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0, cost: float | None = None
) -> dict[str, Any]:
    """A `usage` object; `cost` in neurons, or None to reckon them from the tokens."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
        "neurons": neurons(prompt_tokens, completion_tokens, cached_tokens) if cost is None else cost,
    }


def _single(value: float) -> float:
    return struct.unpack("f", struct.pack("f", value))[0]


_PROMPT_RATE: Final = _single(PRICE.prompt / PRICE.neurons / 1_000)
_COMPLETION_RATE: Final = _single(PRICE.completion / PRICE.neurons / 1_000)
