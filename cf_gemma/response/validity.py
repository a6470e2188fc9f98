"""Whether a tool call is whole, whatever the server made of it, by the answer's end and the request's tools. Pure.

Servers close cut JSON, lose arguments and leave the model's quote token in texts (measured on vLLM 0.22 to 0.32 and
SGLang 0.5.23, 2026-11; on Workers AI itself, cloudflare/workers-sdk#13333). Each of it would be executed as it stands.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

from cf_gemma.model.completion import InvalidToolCall, ToolCall
from cf_gemma.model.json_object import as_object
from cf_gemma.request.fitting import fits
from cf_gemma.response.bending import bent_back, respelled
from cf_gemma.response.notation import QUOTE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cf_gemma.model.completion import Choice, Completion, Usage
    from cf_gemma.request.http_request import HttpRequest

_QUOTE_HALF: Final = QUOTE[:-1]

_OF_THE_END: Final = frozenset({"stop_reason", "matched_stop", "token_ids"})

CUTS: Final = frozenset({"length", "abort", "error", "content_filter"})
"""Finish reasons of answers that were cut off."""

Call = ToolCall | InvalidToolCall


def cut_by(
    reason: str | None, extra: Mapping[str, Any], usage: Usage | None, request: HttpRequest | None
) -> str | None:
    """What ended an answer that may have been in the middle of something; None where it ended by itself."""
    if reason in CUTS:
        return f"finish_reason {reason}"
    limit = request.limit if request is not None and request.choices == 1 else None
    if limit is not None and usage is not None and usage.completion_tokens >= limit:
        return "max_tokens"
    if any(isinstance(extra.get(name), str) for name in ("stop_reason", "matched_stop")):
        return "a stop text"
    return None


def is_unusable(completion: Completion, request: HttpRequest) -> bool:
    """Whether a server's parser may have lost what the model said: nothing is there, or every call is broken.

    What a limit cut is not meant: it would be cut again.
    """
    return all(_is_lost(choice, completion.usage, request) for choice in completion.choices)


def _is_lost(choice: Choice, usage: Usage | None, request: HttpRequest) -> bool:
    if cut_by(choice.finish_reason, choice.extra, usage, request) is not None:
        return False
    if choice.calls:
        return not choice.tool_calls
    return not (choice.text.strip() or choice.reasoning.strip() or choice.extra.keys() - _OF_THE_END)


def judged(calls: Sequence[Call], request: HttpRequest | None, cut: str | None) -> tuple[Call, ...]:
    """The calls, each of which is valid only if it is whole.

    Args:
        calls: In the model's order.
        request: What was asked, if that is known: its tools say which arguments there must be.
        cut: What ended the answer, in words, if that may have been in the middle of the last call.
    """
    tools: Mapping[str, dict[str, Any]] = request.tools if request is not None else {}
    last = len(calls) - 1
    return tuple(_judged(call, tools, cut if place == last else None) for place, call in enumerate(calls))


def _judged(call: Call, tools: Mapping[str, dict[str, Any]], cut: str | None) -> Call:
    if isinstance(call, InvalidToolCall):
        settled = call if cut is None else replace(call, cut=True)
        return ToolCall(call.id, call.name, "{}", {}) if means_none(settled, tools.get(call.name)) else settled
    if cut is not None:
        error = f"{cut} ended the answer within or right behind this call, so its arguments may be cut"
        return replace(_invalid(call, error), cut=True)
    if call.name not in tools and any(name.startswith(call.name) for name in tools):
        return _invalid(call, "the name is cut off: it is the beginning of a tool's name, and no tool's")
    if not call.arguments.strip():
        return _without_arguments(call, tools)
    return whole(call, tools.get(call.name))


def means_none(call: InvalidToolCall, schema: dict[str, Any] | None) -> bool:
    """Whether a call has null in place of its arguments, of which the tool requires none."""
    return call.arguments.strip() == "null" and not call.cut and schema is not None and not schema.get("required")


def _without_arguments(call: ToolCall, tools: Mapping[str, dict[str, Any]]) -> Call:
    """Servers send `{}` for a call without arguments, so one whose arguments never came has lost them."""
    schema = tools.get(call.name)
    if tools and (schema is None or schema.get("properties")):
        return _invalid(call, "the arguments never came: the server lost them")
    return replace(call, arguments="{}")


def whole(call: ToolCall, schema: dict[str, Any] | None) -> Call:
    """The call as the model meant it, where the tool's schema says so beyond doubt; `schema` of its parameters."""
    args: Any = call.args
    if _QUOTE_HALF in call.arguments or '<|\\"' in call.arguments:
        if any(_QUOTE_HALF in key for key in _keys(args)):
            return _invalid(call, "the model's quote token stands in a key: the server misread the arguments")
        args = _unquoted(args)
        if _QUOTE_HALF in "".join(_texts(args)) or schema is None or not fits(args, schema):
            return _invalid(call, "the model's quote token stands in a value: the server misread the arguments")
    if schema is not None:
        args = bent_back(args, schema)
    if args is call.args or args == call.args:
        return call
    return ToolCall(call.id, call.name, respelled(call.arguments, args, schema or {}), args)


def _invalid(call: ToolCall, error: str) -> InvalidToolCall:
    return InvalidToolCall(call.id, call.name, call.arguments, error)


def _unquoted(value: Any) -> Any:
    """Every text without the one closing quote at its end."""
    if isinstance(value, str):
        return value.removesuffix(QUOTE)
    if isinstance(value, list):
        return [_unquoted(item) for item in cast("list[Any]", value)]
    if (fields := as_object(value)) is not None:
        return {name: _unquoted(item) for name, item in fields.items()}
    return value


def _keys(value: Any) -> list[str]:
    keys: list[str] = []
    queue = [value]
    while queue:
        item = queue.pop()
        if isinstance(item, list):
            queue += cast("list[Any]", item)
        elif (fields := as_object(item)) is not None:
            keys += fields
            queue += fields.values()
    return keys


def _texts(value: Any) -> list[str]:
    texts: list[str] = []
    queue = [value]
    while queue:
        item = queue.pop()
        if isinstance(item, str):
            texts.append(item)
        elif isinstance(item, list):
            queue += cast("list[Any]", item)
        elif (fields := as_object(item)) is not None:
            queue += fields.values()
    return texts
