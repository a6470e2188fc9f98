"""How many tokens a text or a request has, without a tokenizer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from cf_gemma.model.facts import IMAGE_TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

BYTES_PER_TOKEN: Final = 4
"""Over languages: of UTF-8, an entry of the vocabulary of 262,144 holds about four letters of English, one and a third
of Chinese."""
TURN_TOKENS: Final = 5
"""The marks around a turn, and its role."""


def estimate_tokens(text: str) -> int:
    """About how many tokens a text has, without a tokenizer. Exact counts come with every answer, as its usage."""
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def estimate_request(
    messages: Iterable[Mapping[str, Any]],
    tools: Iterable[Mapping[str, Any]],
    count: Callable[[str], int] = estimate_tokens,
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
