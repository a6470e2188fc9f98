"""What a job may cost, before anything is sent."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cf_gemma import PRICE
from cf_gemma.bulk.rows import BadRow
from cf_gemma.request.http_request import build
from cf_gemma.request.parameters import merged

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cf_gemma import AsyncGemma
    from cf_gemma.bulk.rows import Row


@dataclass(slots=True)
class Estimate:
    """Rows, tokens and US dollars, about."""

    rows: int = 0
    bad: int = 0
    """Rows that can't be sent."""
    prompt_tokens: int = 0
    """By four characters a token, and 280 for an image."""
    max_tokens: int = 0
    """The limits of all answers together; most answers are much shorter."""

    @property
    def prompt_cost(self) -> float:
        """Of the prompts alone."""
        return PRICE.cost(self.prompt_tokens, 0)

    @property
    def highest_cost(self) -> float:
        """If every answer were as long as it may be."""
        return PRICE.cost(self.prompt_tokens, self.max_tokens)


def estimate(rows: Iterable[Row | BadRow], gemma: AsyncGemma, options: dict[str, Any]) -> Estimate:
    """Goes through rows that have been checked."""
    total = Estimate()
    for row in rows:
        total.rows += 1
        if isinstance(row, BadRow):
            total.bad += 1
            continue
        body = json.loads(build(gemma.settings, row.messages, merged(gemma.options, {**options, **row.options})).body)
        images, characters = 0, 0
        for message in body["messages"]:
            for part in message["content"] if isinstance(message.get("content"), list) else [message]:
                images += part.get("type") == "image_url"
                characters += len(str(part.get("text") or part.get("content") or ""))
        total.prompt_tokens += characters // 4 + images * _IMAGE + _FRAME
        total.max_tokens += body.get("max_tokens") or 0
    return total


_IMAGE: Final = 280
_FRAME: Final = 10
"""Tokens of an empty prompt: turn markers, roles."""
