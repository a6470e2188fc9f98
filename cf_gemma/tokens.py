"""Token counts without a tokenizer and without a network: estimates, for trimming and budgeting. Pure.

Gemma's vocabulary of 262,144 entries holds about four bytes of UTF-8 a token, over languages: English has four letters
in them, Chinese one and a third. Exact counts come with every answer, as `usage_metadata`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from cf_gemma.model import IMAGE_TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

BYTES_PER_TOKEN: Final = 4
TURN_TOKENS: Final = 5
"""The marks around a turn, and its role."""


def estimate(text: str) -> int:
    """About how many tokens a text has."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def estimate_request(
    messages: Iterable[Mapping[str, Any]], tools: Iterable[Mapping[str, Any]], count: Callable[[str], int] = estimate
) -> int:
    """About how many tokens chat-completions messages and tools have."""
    return sum(_message(message, count) for message in messages) + sum(count(json.dumps(tool)) for tool in tools)


def _message(message: Mapping[str, Any], count: Callable[[str], int]) -> int:
    content = message["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    # What is neither text nor an image isn't sent, or becomes a line.
    texts = (part.get("text", "") for part in parts if part["type"] != "image_url")
    images = sum(part["type"] == "image_url" for part in parts)
    tokens = TURN_TOKENS + IMAGE_TOKENS * images + sum(map(count, texts))
    return tokens + sum(
        count(json.dumps(call["function"], ensure_ascii=False)) for call in message.get("tool_calls", ())
    )
