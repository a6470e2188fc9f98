"""Tools: from LlamaIndex's arguments to the request's, and from a response to the calls to execute. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from llama_index.core.base.llms.types import ChatMessage, MessageRole, ToolCallBlock
from llama_index.core.llms.llm import ToolSelection
from pydantic_core import from_json

from cf_gemma.errors import InvalidRequest
from cf_gemma.structured import strict_schema
from llama_index_cf_gemma.errors import InvalidOutput
from llama_index_cf_gemma.responses import completion_of, facts_of, refuse_unfinished_thought

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llama_index.core.base.llms.types import ChatResponse
    from llama_index.core.tools.types import BaseTool

CHOICES: Final = {"auto": "auto", "none": "none", "required": "required", "any": "required"}
"""The words for `tool_choice`; `any` is other providers' word for `required`."""


def history_with(user_msg: str | ChatMessage | None, chat_history: Sequence[ChatMessage] | None) -> list[ChatMessage]:
    """The history and then the user's message, in a list of its own."""
    messages = list(chat_history or ())
    if isinstance(user_msg, str):
        user_msg = ChatMessage(role=MessageRole.USER, content=user_msg)
    if user_msg is not None:
        messages.append(user_msg)
    return messages


def tool_options(
    tools: Sequence[BaseTool],
    *,
    parallel: bool,
    required: bool,
    choice: str | Mapping[str, Any] | None,
    strict: bool | None,
) -> dict[str, Any]:
    """The request's `tools`, `tool_choice` and `parallel_tool_calls`; nothing when there are no tools.

    Args:
        tools: LlamaIndex tools.
        parallel: Whether one answer may make several calls.
        required: Whether the model must call a tool; `choice` wins over it.
        choice: "auto", "none", "required" ("any"), a tool's name, or the chat-completions dict.
        strict: Sent with each tool when given; True also closes the parameters' schema.

    Raises:
        InvalidRequest: the choice names no tool of these, or a call is required and there are no tools.
    """
    specs = [_spec(tool, strict=strict) for tool in tools]
    wire_choice = _tool_choice(choice, [spec["function"]["name"] for spec in specs], required=required)
    if not specs:
        return {}
    return {"tools": specs, "tool_choice": wire_choice, "parallel_tool_calls": parallel}


def tool_selections(response: ChatResponse, *, error_on_no_tool_call: bool) -> list[ToolSelection]:
    """The calls to execute; in the middle of a stream, the calls so far, with what can be read of their arguments.

    Without `error_on_no_tool_call`, as agents ask, also those that the model wrote badly: see `_slip`.

    Raises:
        InvalidOutput: the answer is complete and all that it calls is cut off or invalid.
        ReasoningBudgetExceeded: thinking used up `max_tokens` before the answer began.
        ValueError: the model called nothing and `error_on_no_tool_call` is set.
    """
    selections = [_selection(block) for block in response.message.blocks if isinstance(block, ToolCallBlock)]
    cut = facts_of(response).get("finish_reason") == "length"
    invalid: list[dict[str, Any]] = response.message.additional_kwargs.get("invalid_tool_calls", [])
    if not error_on_no_tool_call and not cut:
        selections += [_slip(call) for call in invalid if not call.get("cut")]
    if selections:
        return selections
    if invalid:
        why = "; ".join(f"{call['name']!r}: {call['error']}" for call in invalid)
        hint = ": raise max_tokens" if cut else ""
        raise InvalidOutput(f"the model's tool call can't be executed ({why}){hint}", partial=completion_of(response))
    if cut:
        refuse_unfinished_thought(completion_of(response))
    if error_on_no_tool_call:
        raise ValueError("Expected at least one tool call, but got 0 tool calls.")
    return []


def _spec(tool: BaseTool, *, strict: bool | None) -> dict[str, Any]:
    spec = tool.metadata.to_openai_tool(skip_length_check=True)
    function: dict[str, Any] = {key: value for key, value in spec["function"].items() if value is not None}
    if tool.metadata.fn_schema is not None and "$ref" in (schema := tool.metadata.fn_schema.model_json_schema()):
        # A class that has itself among its fields is a reference, which LlamaIndex leaves out.
        function["parameters"] = schema
    if strict is not None:
        function["strict"] = strict
    if strict:
        function["parameters"] = strict_schema(function["parameters"])
    return {"type": "function", "function": function}


def _tool_choice(choice: str | Mapping[str, Any] | None, names: list[str], *, required: bool) -> str | dict[str, Any]:
    if choice is None:
        choice = "required" if required else "auto"
    if not isinstance(choice, str):
        return dict(choice)
    word = CHOICES.get(choice)
    if word == "required" and not names:
        raise InvalidRequest("a tool call is required, but there are no tools")
    if word is not None:
        return word
    if choice not in names:
        raise InvalidRequest(f"tool_choice {choice!r} is none of the tools: {', '.join(names) or 'there are none'}")
    return {"type": "function", "function": {"name": choice}}


def _selection(block: ToolCallBlock) -> ToolSelection:
    arguments = block.tool_kwargs if isinstance(block.tool_kwargs, dict) else _readable(block.tool_kwargs)
    return ToolSelection(tool_id=block.tool_call_id or "", tool_name=block.tool_name, tool_kwargs=arguments)


def _slip(call: dict[str, Any]) -> ToolSelection:
    """A call of no tool that there is: an agent answers it with an error, and goes on.

    The model reads why, under the call that it made, see `calls.unheeded_calls`.
    """
    return ToolSelection(tool_id=call["id"], tool_name=f"{call['name']} (not run: {call['error']})", tool_kwargs={})


def _readable(arguments: str) -> dict[str, Any]:
    """As much of unfinished JSON as can be read."""
    try:
        decoded: object = from_json(arguments, allow_partial="trailing-strings")
    except ValueError:
        return {}
    return cast("dict[str, Any]", decoded) if isinstance(decoded, dict) else {}
