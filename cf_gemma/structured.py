"""Structured output: what asks for it, and the JSON in an answer. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_OPENING: Final = re.compile(r"""\s*```\w*\s*(?=[{["])""")


def response_format(schema: Mapping[str, Any], name: str | None = None) -> dict[str, Any]:
    """The parameter that asks for an answer of this JSON Schema; its name is by default the schema's title."""
    return {"type": "json_schema", "json_schema": {"name": name or schema.get("title") or "answer", "schema": schema}}


def unfenced(text: str) -> str:
    """The JSON inside a Markdown fence that surrounds the whole text; where there is none, the text itself."""
    opening = _OPENING.match(text)
    if opening is None:
        return text
    return text[opening.end() :].rstrip().removesuffix("```").rstrip()
