"""LangChain messages -> chat-completions messages. Pure; the caller's messages stay as they are.

The client below takes it from here: it keeps reasoning where the model reads it, and moves images out of tool results.
"""

from __future__ import annotations

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
from langchain_cf_gemma.parts import as_json, text_of, to_part, to_tool_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from langchain_cf_gemma.parts import Block, Part

WireMessage: TypeAlias = "dict[str, Any]"

_REASONING = ("reasoning", "thinking")
_CALLS = frozenset({"tool_use", "tool_call"})
_ELSEWHERE = _CALLS | {*_REASONING, "tool_call_chunk", "invalid_tool_call", "function_call", "input_json_delta"}
"""Blocks of an assistant turn that are sent elsewhere: as reasoning, and as tool calls."""


def to_wire(messages: Iterable[BaseMessage]) -> list[WireMessage]:
    """The request's `messages`.

    Content that the model doesn't take goes along as what it is: the client below knows what to make of it.

    Raises:
        InvalidRequest: A message that can't be sent, such as a RemoveMessage.
    """
    unpacked = list(_unpacked(messages))
    answered = {message.tool_call_id for message in unpacked if isinstance(message, ToolMessage)}
    return [_translated(message, answered) for message in unpacked]


def reasoning_of(message: AIMessage) -> str:
    """The reasoning an assistant message carries, in `additional_kwargs` or else in its content blocks."""
    reasoning = message.additional_kwargs.get("reasoning_content")
    if isinstance(reasoning, str) and reasoning:
        return reasoning
    if isinstance(message.content, str):
        return ""
    blocks = [block for block in _blocks(message) if not isinstance(block, str) and block.get("type") in _REASONING]
    texts = (block.get(block["type"]) for block in blocks)
    return "".join(text for text in texts if isinstance(text, str))


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


def _translated(message: BaseMessage, answered: set[str]) -> WireMessage:
    match message:
        case HumanMessage():
            wire: WireMessage = {"role": "user", "content": _content(message)}
        case AIMessage():
            wire = _assistant(message, answered)
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
    return f"Error: {content}" if isinstance(content, str) else [to_part("Error:"), *content]


def _assistant(message: AIMessage, answered: set[str]) -> WireMessage:
    wire: WireMessage = {"role": "assistant", "content": _answer_text(message)}
    if calls := list(_tool_calls(message, answered)):
        wire["tool_calls"] = calls
    if reasoning := reasoning_of(message):
        wire["reasoning_content"] = reasoning
    return wire


def _answer_text(message: AIMessage) -> str | list[Part]:
    """The text of an answer, in parts where there is more in it that is sent nowhere else.

    A block may be a piece of a sentence, as where citations cut it: those that a blank parts need no line end.
    """
    if isinstance(message.content, str):
        return message.content
    text = ""
    others: list[Part] = []
    for block in _blocks(message):
        piece = text_of(block)
        if piece:
            glued = text and not (text[-1].isspace() or piece[0].isspace())
            text += f"\n{piece}" if glued else piece
        elif piece is None and isinstance(block, dict) and block.get("type") not in _ELSEWHERE:
            others.append({"type": str(block.get("type"))})
    return [to_part(text), *others] if others and text else others or text


def _tool_calls(message: AIMessage, answered: set[str]) -> Iterator[WireMessage]:
    """All calls that the message made, valid or not.

    `tool_calls` decides: a call that is in the content only has been taken out, unless a result answers it.
    """
    calls = [(call["id"], call["name"], _arguments(call["args"])) for call in message.tool_calls]
    calls += [(bad["id"], bad["name"] or "", _arguments(bad["args"])) for bad in message.invalid_tool_calls]
    known = {id_ for id_, _, _ in calls}
    for block in _blocks(message):
        if isinstance(block, dict) and block.get("type") in _CALLS and (id_ := block.get("id")) in answered - known:
            calls.append((id_, block.get("name") or "", _arguments(block.get("args") or block.get("input"))))
    for place, (id_, name, arguments) in enumerate(calls):
        yield {"id": id_ or f"call_{place}", "type": "function", "function": {"name": name, "arguments": arguments}}


def _arguments(args: object) -> object:
    """A call's arguments as text, or as they are; the client below makes the text of an object of them."""
    if isinstance(args, str) and args:
        return args
    try:
        return as_json(args or {})
    except RecursionError:
        return args


def _blocks(message: BaseMessage) -> Sequence[Block]:
    content = message.content
    return [content] if isinstance(content, str) else cast("Sequence[Block]", content)
