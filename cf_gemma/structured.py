"""What structured answers need, whoever asks for one: the request's format, text without its fence, the error. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, cast

from cf_gemma.errors import ReasoningBudgetExceeded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cf_gemma.model.completion import Completion

FENCE: Final = "```"
LONGEST_EDGE: Final = 1_000
"""Characters of blanks and fence at either end of a text; more are taken for its own, so that no end is read anew."""

_WORD: Final = re.compile(r"\w*")


def response_format(
    schema: Mapping[str, Any], name: str | None = None, *, strict: bool | None = None
) -> dict[str, Any]:
    """The request's `response_format` for a JSON schema, under this name, or else its title's."""
    named: dict[str, Any] = {"name": name or schema.get("title") or "answer", "schema": schema}
    if strict is not None:
        named["strict"] = strict
    return {"type": "json_schema", "json_schema": named}


def strict_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A copy in which every object with properties is closed and requires all of them.

    Left optional, a field is what the model leaves out; with all required the grammar is small and an answer is whole.
    """
    return cast("dict[str, Any]", _strict(schema))


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(item) for item in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    copy = {key: _strict(value) for key, value in cast("dict[str, Any]", node).items()}
    properties = copy.get("properties")
    if copy.get("type") == "object" and isinstance(properties, dict):
        fields = cast("dict[str, Any]", properties)
        copy["properties"] = {name: _without_default(field) for name, field in fields.items()}
        copy["required"] = list(fields)
        copy.setdefault("additionalProperties", False)
    return copy


def _without_default(field: Any) -> Any:
    if not isinstance(field, dict):
        return field
    return {key: value for key, value in cast("dict[str, Any]", field).items() if key != "default"}


def budget_exceeded(completion: Completion) -> ReasoningBudgetExceeded:
    """The error for an answer of which thinking left nothing."""
    tokens = f"{completion.usage.completion_tokens} tokens and " if completion.usage else ""
    return ReasoningBudgetExceeded(
        "thinking used up max_tokens before the answer began "
        f"({tokens}{len(completion.reasoning)} characters of reasoning): raise max_tokens, or set thinking=False",
        request_id=completion.request_id,
        partial=completion,
    )


def unfenced(text: str) -> str:
    """JSON text without the Markdown fence around it; where there is none, the text itself."""
    stripper = FenceStripper()
    return stripper.feed(text) + stripper.close()


class FenceStripper:
    """The same for a text that comes in pieces. Each piece is given back as soon as it can't be part of a fence."""

    def __init__(self) -> None:
        self._held = ""
        self._fenced: bool | None = None

    def feed(self, piece: str) -> str:
        """The text that is certain by now."""
        self._held += piece
        if self._fenced is None:
            self._look_for_opening()
        if self._fenced is None:
            return ""
        end = _closing(self._held) if self._fenced else len(self._held)
        certain, self._held = self._held[:end], self._held[end:]
        return certain

    def close(self) -> str:
        """The rest, once the text has ended."""
        rest, self._held = self._held, ""
        if self._fenced:
            rest = rest.rstrip()
            return rest.removesuffix(FENCE).rstrip() if rest.endswith(FENCE) else rest
        return rest

    def _look_for_opening(self) -> None:
        """Decides whether there is a fence: three backticks, perhaps a language, and then JSON."""
        beginning = self._held.lstrip()
        inside = beginning
        if beginning.startswith(FENCE):
            language = _WORD.match(beginning, len(FENCE))
            inside = beginning[language.end() if language else len(FENCE) :].lstrip()
            if inside:
                self._fenced = inside[0] in '{["'
        elif not FENCE.startswith(beginning):
            self._fenced = False
        if self._fenced is None and len(self._held) > LONGEST_EDGE:
            self._fenced = False
        if self._fenced:
            self._held = inside


def _closing(text: str) -> int:
    """Where what may be a closing fence begins, with the blanks around it."""
    end = len(text.rstrip())
    ticks = end - len(text[:end].rstrip("`"))
    begin = len(text[: end - min(ticks, len(FENCE))].rstrip())
    return begin if len(text) - begin <= LONGEST_EDGE else len(text)
