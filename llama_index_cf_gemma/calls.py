"""Tool calls of a past assistant message, whichever provider's habits wrote them, as chat-completions `tool_calls`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from llama_index.core.base.llms.types import ToolCallBlock
from pydantic import BaseModel
from pydantic_core import from_json, to_json

from cf_gemma.errors import InvalidRequest

if TYPE_CHECKING:
    from llama_index.core.base.llms.types import ChatMessage


def wire_calls(message: ChatMessage, *, first_number: int) -> list[dict[str, Any]]:
    """The message's tool calls: its ToolCallBlocks, else what `additional_kwargs["tool_calls"]` holds.

    Args:
        message: An assistant message.
        first_number: A call without an id gets one made of its number in the conversation, counted from here.

    Raises:
        InvalidRequest: arguments that are not a JSON object, or a call without a name.
    """
    calls = [
        (block.tool_call_id, block.tool_name, block.tool_kwargs)
        for block in message.blocks
        if isinstance(block, ToolCallBlock)
    ] or [_older(call) for call in message.additional_kwargs.get("tool_calls") or ()]
    return [
        {
            "id": call_id or f"call_{number}",
            "type": "function",
            "function": {"name": name, "arguments": _json_object(arguments, name)},
        }
        for number, (call_id, name, arguments) in enumerate(calls, first_number)
    ]


def _older(call: object) -> tuple[str | None, str, Any]:
    """A call as a dict or an SDK object, with its name and arguments under `function` or beside its id."""
    fields = _fields(call)
    function = _fields(fields["function"]) if fields.get("function") else fields
    name = function.get("name")
    if not name:
        raise InvalidRequest("a tool call in the history has no name")
    for key in ("arguments", "args", "input"):
        if key in function:
            return fields.get("id"), name, function[key]
    return fields.get("id"), name, {}


def _fields(value: object) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return cast("Mapping[str, Any]", value)
    return value.model_dump() if isinstance(value, BaseModel) else vars(value)


def _json_object(arguments: object, name: str) -> str:
    if arguments is None or arguments == "":
        return "{}"
    if isinstance(arguments, Mapping):
        return to_json(arguments).decode()
    if isinstance(arguments, str):
        try:
            decoded: object = from_json(arguments)
        except ValueError:
            decoded = arguments
        if decoded is None:
            return "{}"
        if isinstance(decoded, dict):
            return arguments
    raise InvalidRequest(
        f"the call of {name!r} in the history has arguments that are not a JSON object; complete or remove it"
    )
