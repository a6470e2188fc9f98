"""A chat request as the engines read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from cf_gemma.model.json_object import as_object

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_MAX_TOKENS: Final = 256
"""What the service takes for a missing `max_tokens` (live report, 2026-09)."""


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A body that passed the input check, in one shape: the prompt form is a user message, defaults are filled in."""

    body: Mapping[str, Any]
    """The body as it came, decoded."""
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    """The function tools: name, description, parameters."""
    tool_choice: str
    """`auto`, `none` or `required`."""
    forced_tool: str | None
    """The one function that must be called, if the request names it."""
    thinking: bool
    """On unless `chat_template_kwargs.enable_thinking` is false; the service heeds no other switch."""
    max_tokens: int
    stop: tuple[str, ...]
    n: int
    stream: bool
    logprobs: bool
    top_logprobs: int
    json_schema: dict[str, Any] | None
    """The schema to answer in; `{"type": "object"}` for `json_object`; None for text."""

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Self:
        """Reads a checked body."""
        stop: str | list[str] = body.get("stop") or []
        mode, forced = _tool_choice(body.get("tool_choice"))
        return cls(
            body=body,
            messages=body.get("messages") or [{"role": "user", "content": body.get("prompt", "")}],
            tools=[tool["function"] for tool in objects(body.get("tools")) if tool["type"] == "function"],
            tool_choice=mode,
            forced_tool=forced,
            thinking=(as_object(body.get("chat_template_kwargs")) or {}).get("enable_thinking", True),
            max_tokens=_first(body.get("max_completion_tokens"), body.get("max_tokens"), DEFAULT_MAX_TOKENS),
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
            n=body.get("n") or 1,
            stream=body.get("stream") or False,
            logprobs=body.get("logprobs") or False,
            top_logprobs=body.get("top_logprobs") or 0,
            json_schema=_json_schema(as_object(body.get("response_format")) or {}),
        )


def objects(value: Any) -> list[dict[str, Any]]:
    """A checked list of objects; [] for one that is missing or null."""
    return value or []


def _tool_choice(choice: Any) -> tuple[str, str | None]:
    """The mode, and the name of the function that is forced."""
    match as_object(choice):
        case None:
            return choice or "auto", None
        case {"function": {"name": name}}:
            return "required", name
        case {"allowed_tools": {"mode": mode}}:
            return mode, None
        case _:
            return "auto", None


def _first(*values: int | None) -> int:
    return next(value for value in values if value is not None)


def _json_schema(response_format: dict[str, Any]) -> dict[str, Any] | None:
    """The schema, whether it comes wrapped or bare: the service takes both."""
    match response_format.get("type"):
        case "json_schema":
            wrapper = response_format["json_schema"]
            return wrapper.get("schema", wrapper)
        case "json_object":
            return {"type": "object"}
        case _:
            return None
