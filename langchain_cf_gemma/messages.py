"""LangChain messages -> chat-completions messages. Pure; the caller's messages stay as they are.

The client below takes it from here: it keeps reasoning where the model reads it, and moves images out of tool results.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from cf_gemma.errors import InvalidRequest
from langchain_cf_gemma.parts import as_json, text_of, to_part, to_tool_part, unsupported

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from langchain_cf_gemma.parts import Block, Part

WireMessage: TypeAlias = "dict[str, Any]"

_REASONING = ("reasoning", "thinking")
_NOT_TEXT = frozenset(
    {
        *_REASONING,
        "redacted_thinking",
        "tool_use",
        "tool_call",
        "tool_call_chunk",
        "invalid_tool_call",
        "function_call",
        "input_json_delta",
        "server_tool_call",
        "server_tool_call_chunk",
        "server_tool_result",
        "server_tool_use",
        "mcp_tool_use",
        "non_standard",
    }
)
"""Blocks of an assistant turn that are sent elsewhere (as tool calls, as reasoning), or are another provider's own."""
_RESULT_ELSEWHERE = "_tool_result"
"""How Anthropic's blocks end that hold what a tool of its own gave: `web_search_tool_result` and its like."""


def to_wire(messages: Iterable[BaseMessage]) -> list[WireMessage]:
    """The request's `messages`.

    Raises:
        InvalidRequest: A message that can't be sent, such as a RemoveMessage.
        UnsupportedContent: Content other than text and images.
    """
    return [_translated(message) for message in _unpacked(messages)]


def reasoning_of(message: AIMessage) -> str:
    """The reasoning an assistant message carries, in `additional_kwargs` or else in its content blocks."""
    told = message.additional_kwargs.get("reasoning_content")
    if isinstance(told, str) and told:
        return told
    if isinstance(message.content, str):
        return ""
    blocks = [block for block in _blocks(message) if not isinstance(block, str) and block.get("type") in _REASONING]
    return "".join(block.get(block["type"]) or "" for block in blocks)


def _unpacked(messages: Iterable[BaseMessage]) -> Iterator[BaseMessage]:
    """The same conversation, with Anthropic's `tool_result` blocks as the tool messages that they are."""
    for message in messages:
        if isinstance(message.content, str) or not isinstance(message, HumanMessage):
            yield message
            continue
        blocks = _blocks(message)
        results = [block for block in blocks if not isinstance(block, str) and block.get("type") == "tool_result"]
        if not results:
            yield message
            continue
        for result in results:
            yield ToolMessage(
                result.get("content") or "",
                tool_call_id=result.get("tool_use_id") or "",
                status="error" if result.get("is_error") else "success",
            )
        rest = [block for block in blocks if block not in results]
        if rest:
            yield message.model_copy(update={"content": rest})


def _translated(message: BaseMessage) -> WireMessage:
    match message:
        case HumanMessage():
            wire: WireMessage = {"role": "user", "content": _content(message)}
        case AIMessage():
            wire = _assistant(message)
        case ToolMessage():
            wire = {"role": "tool", "tool_call_id": message.tool_call_id, "content": _result(message)}
        case SystemMessage():
            wire = {"role": "system", "content": _content(message)}
        case ChatMessage():
            wire = {"role": message.role, "content": _content(message)}
        case FunctionMessage():
            wire = {"role": "function", "content": _content(message)}
        case _:
            raise InvalidRequest(
                f"A {type(message).__name__} can't be sent to the model: send system, human, AI and tool messages."
            )
    if message.name:
        wire["name"] = message.name
    return wire


def _content(message: BaseMessage) -> str | list[Part]:
    content = message.content
    return content if isinstance(content, str) else [to_part(block) for block in _blocks(message)]


def _result(message: ToolMessage) -> str | list[Part]:
    """A tool's result. That it failed has no field of its own on the wire, so the text says it."""
    content: str | list[Part]
    content = message.content if isinstance(message.content, str) else [to_tool_part(b) for b in _blocks(message)]
    if message.status != "error" or message.text.lower().startswith("error"):
        return content
    return f"Error: {content}" if isinstance(content, str) else [to_part("Error: "), *content]


def _assistant(message: AIMessage) -> WireMessage:
    content = message.content
    text = content if isinstance(content, str) else "".join(_assistant_text(message))
    wire: WireMessage = {"role": "assistant", "content": text}
    if calls := list(_tool_calls(message)):
        wire["tool_calls"] = calls
    if reasoning := reasoning_of(message):
        wire["reasoning_content"] = reasoning
    return wire


def _assistant_text(message: AIMessage) -> Iterator[str]:
    for block in _blocks(message):
        text = text_of(block)
        if text is not None:
            yield text
        elif isinstance(block, dict):
            kind = block.get("type")
            if kind not in _NOT_TEXT and not str(kind).endswith(_RESULT_ELSEWHERE):
                raise unsupported(kind)


def _tool_calls(message: AIMessage) -> Iterator[WireMessage]:
    """All calls that the message made, valid or not, each once although content blocks may repeat them."""
    calls = [(call["id"], call["name"], _arguments(call["name"], call["args"])) for call in message.tool_calls]
    calls += [(bad["id"], bad["name"] or "", _arguments("", bad["args"])) for bad in message.invalid_tool_calls]
    known = {id_ for id_, _, _ in calls}
    for block in _blocks(message):
        if isinstance(block, str) or block.get("type") not in {"tool_use", "tool_call"} or block.get("id") in known:
            continue
        name = block.get("name") or ""
        calls.append((block.get("id"), name, _arguments(name, block.get("args") or block.get("input"))))
    for place, (id_, name, arguments) in enumerate(calls):
        yield {"id": id_ or f"call_{place}", "type": "function", "function": {"name": name, "arguments": arguments}}


def _arguments(tool: str, given: object) -> str:
    """A call's arguments as JSON that every back-end can decode: text that isn't JSON becomes a JSON string.

    Such text comes from calls that must not be executed. vLLM refuses a whole conversation in which it finds arguments
    that it can't decode.
    """
    if not isinstance(given, str):
        return as_json(given or {}, f"The arguments of a call of {tool}")
    try:
        json.loads(given or "{}")
    except ValueError:
        return json.dumps(given, ensure_ascii=False)
    return given or "{}"


def _blocks(message: BaseMessage) -> Sequence[Block]:
    content = message.content
    return [content] if isinstance(content, str) else cast("Sequence[Block]", content)
