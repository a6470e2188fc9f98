"""Tool calls of a past assistant message, whichever provider's habits wrote them, as chat-completions `tool_calls`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from llama_index.core.base.llms.types import ToolCallBlock
from pydantic import BaseModel
from pydantic_core import to_json

if TYPE_CHECKING:
    from llama_index.core.base.llms.types import ChatMessage


CALLS: Final = frozenset({"tool_calls", "invalid_tool_calls", "dropped_tool_calls"})
"""Where `additional_kwargs` of an assistant message may have calls."""


def wire_calls(message: ChatMessage, *, first_number: int) -> list[dict[str, Any]]:
    """The message's tool calls: its ToolCallBlocks, else what `additional_kwargs["tool_calls"]` holds.

    Behind them those that weren't executed, so that the model learns of it.

    Args:
        message: An assistant message.
        first_number: A call without an id gets one made of its number in the conversation, counted from here.
    """
    calls = [
        (block.tool_call_id, block.tool_name, block.tool_kwargs)
        for block in message.blocks
        if isinstance(block, ToolCallBlock)
    ] or [_older(call) for call in message.additional_kwargs.get("tool_calls") or ()]
    calls += [(call["id"], call["name"], call["arguments"]) for call in _unheeded(message)]
    return [
        {
            "id": call_id or f"call_{number}",
            "type": "function",
            "function": {"name": name, "arguments": _wire_arguments(arguments)},
        }
        for number, (call_id, name, arguments) in enumerate(calls, first_number)
    ]


def unheeded_calls(message: ChatMessage) -> dict[str, str]:
    """Of the calls that weren't executed since the model wrote them badly, what to tell it, by their ids."""
    return {
        call["id"]: f"Error: {call['name']} was not run: {call['error']}. Call it again with a whole JSON object."
        for call in _unheeded(message)
        if "error" in call
    }


def _unheeded(message: ChatMessage) -> list[dict[str, Any]]:
    extra = message.additional_kwargs
    return [*extra.get("invalid_tool_calls", ()), *extra.get("dropped_tool_calls", ())]


def _older(call: object) -> tuple[str | None, str, Any]:
    """A call as a dict or an SDK object, with its name and arguments under `function` or beside its id."""
    fields = _fields(call)
    function = _fields(fields["function"]) if fields.get("function") else fields
    name: str = function.get("name") or ""
    for key in ("arguments", "args", "input"):
        if key in function:
            return fields.get("id"), name, function[key]
    return fields.get("id"), name, {}


def _fields(value: object) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return cast("Mapping[str, Any]", value)
    return value.model_dump() if isinstance(value, BaseModel) else vars(value)


def _wire_arguments(arguments: object) -> object:
    """A call's arguments as text, or as they are; `cf_gemma` makes the text of an object of them."""
    if isinstance(arguments, str):
        return arguments or "{}"
    try:
        return to_json(arguments or {}).decode()
    except ValueError:
        return arguments
