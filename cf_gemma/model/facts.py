"""Facts about Gemma 4 on Workers AI, each with its source and the day it was read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MODEL: Final = "@cf/google/gemma-4-26b-a4b-it"
"""Workers AI's model id (developers.cloudflare.com/workers-ai/models/gemma-4-26b-a4b-it, 2026-11)."""

CONTEXT_WINDOW: Final = 256_000
"""Tokens, prompt and answer together (the model page's `context_window` property, 2026-11)."""

MAX_TOKENS: Final = 4_096
"""Our default for `max_tokens` with thinking off.

The service's own default is 256 (live report, 2026-09), so one is always sent.
"""

MAX_TOKENS_THINKING: Final = 16_384
"""Our default for `max_tokens` with thinking on: reasoning is counted, and billed, as output."""


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens, and per thousand neurons."""

    prompt: float
    completion: float
    neurons: float

    def cost(self, prompt_tokens: int, completion_tokens: int, neurons: float | None = None) -> float:
        """What a call cost: by its neurons when the service reported them, else by its tokens."""
        if neurons is not None:
            return neurons * self.neurons / 1_000
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1_000_000


PRICE: Final = Price(prompt=0.10, completion=0.30, neurons=0.011)
"""developers.cloudflare.com/workers-ai/platform/pricing, 2026-11.

No price for cached tokens is published; the reported neurons show a discount.
"""

IMAGE_SHORTEST_SIDE: Final = 10
"""Pixels. Smaller images are refused with 400 (field capture, 2026-05)."""

IMAGE_LONGEST_SIDE: Final = 1_024
"""Pixels. Our limit: more brings no more image tokens, and see IMAGE_BYTES."""

IMAGE_TOKENS: Final = 280
"""An image at the model's default resolution (model card, 2026-11)."""

IMAGE_BYTES: Final = 400_000
"""Bytes. Our limit: the edge counts base64 as text, four characters a token, against the window (captured, 2026-07)."""
