"""What the model says, as LlamaIndex shows it. Pure: deltas and completions in, responses out."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    LogProb,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from cf_gemma import Choice, Completion, ReasoningDelta, TextDelta, ToolCallDelta, Usage
from cf_gemma.client.patterns import Pattern
from cf_gemma.structured import budget_exceeded
from llama_index_cf_gemma.errors import InvalidOutput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cf_gemma import Delta, InvalidToolCall, ToolCall


_log = logging.getLogger("llama_index_cf_gemma")

USAGE: Final = ("prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "reasoning_tokens", "neurons")
"""The fields of the usage that responses have, where the service reported it."""


def chat_response(completion: Completion, *, single_call: bool = False) -> ChatResponse:
    """The whole answer.

    - `message.blocks`: ThinkingBlock, TextBlock and ToolCallBlocks, each when there is something in it. The calls stand
      in `message.additional_kwargs["tool_calls"]` too, as plain chat-completions dicts, since parts of core look there.
    - Calls that must not be executed stand only in `message.additional_kwargs["invalid_tool_calls"]`, each with its
      `error`, and `cut` where a limit cut it off.
    - With `single_call`, calls behind the first stand in `message.additional_kwargs["dropped_tool_calls"]`. The model
      is told of both in the next request.
    - `raw`: the answer as one `chat.completion` dict.
    - `additional_kwargs`: `finish_reason`, `model`, `request_id`, `headers`, token counts, `neurons`, `cost` in USD.

    Args:
        completion: The answer.
        single_call: Keep the first tool call only.
    """
    calls = completion.tool_calls[:1] if single_call else completion.tool_calls
    blocks: list[Any] = []
    if completion.reasoning:
        reasoning_tokens = completion.usage.reasoning_tokens if completion.usage else None
        blocks.append(ThinkingBlock(content=completion.reasoning, num_tokens=reasoning_tokens))
    if completion.text:
        blocks.append(TextBlock(text=completion.text))
    blocks += [ToolCallBlock(tool_call_id=call.id, tool_name=call.name, tool_kwargs=call.args) for call in calls]
    message = ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks, additional_kwargs=_call_dicts(calls))
    for name, others in _unheeded(completion, len(calls)).items():
        message.additional_kwargs[name] = others
        _log.warning("%s: %s", name, ", ".join(repr(call["name"]) for call in others))
    return ChatResponse(
        message=message,
        raw=completion.to_dict(),
        logprobs=_logprobs(completion.choices[0]),
        additional_kwargs=_facts(completion),
    )


def _unheeded(completion: Completion, kept: int) -> dict[str, list[dict[str, Any]]]:
    """The calls that aren't to be executed: those behind the first so many, and those that must not be."""
    dropped = [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in completion.tool_calls[kept:]]
    invalid = [
        {"id": call.id, "name": call.name, "arguments": call.arguments, "error": call.error}
        | ({"cut": True} if call.cut else {})
        for call in completion.invalid_tool_calls
    ]
    both = {"dropped_tool_calls": dropped, "invalid_tool_calls": invalid}
    return {name: calls for name, calls in both.items() if calls}


def completion_response(completion: Completion) -> CompletionResponse:
    """The whole answer's text; reasoning and all else are in `raw` and `additional_kwargs`, as in `chat_response`.

    Raises:
        ReasoningBudgetExceeded: thinking used up `max_tokens` before the answer began.
    """
    refuse_unfinished_thought(completion)
    return CompletionResponse(
        text=completion.text,
        raw=completion.to_dict(),
        logprobs=_logprobs(completion.choices[0]),
        additional_kwargs=_facts(completion),
    )


def refuse_unfinished_thought(completion: Completion) -> None:
    """Raises ReasoningBudgetExceeded where an empty string would pass for an answer."""
    if completion.thought_only:
        raise budget_exceeded(completion)


def accept(completion: Completion) -> None:
    """Takes every answer."""


def refuse_nothing(completion: Completion) -> None:
    """Raises InvalidOutput, or ReasoningBudgetExceeded, for an answer with neither text nor calls."""
    refuse_unfinished_thought(completion)
    if not completion.text.strip() and not completion.choices[0].calls:
        raise InvalidOutput(
            f"the model answered with nothing, twice in a row (finish_reason {completion.finish_reason})",
            request_id=completion.request_id,
            partial=completion,
        )


def facts_of(response: ChatResponse) -> dict[str, Any]:
    """The response's `additional_kwargs`, whose type core leaves open."""
    return response.additional_kwargs  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - said above


def completion_of(response: ChatResponse) -> Completion:
    """The Completion behind a final ChatResponse, as far as errors need it: text, reasoning, finish, usage."""
    thinking = [block.content or "" for block in response.message.blocks if isinstance(block, ThinkingBlock)]
    facts = facts_of(response)
    choice = Choice(
        text=response.message.content or "", reasoning="".join(thinking), finish_reason=facts.get("finish_reason")
    )
    usage = Usage(**{name: facts[name] for name in USAGE if name in facts}) if "total_tokens" in facts else None
    return Completion(choices=(choice,), usage=usage, model=facts.get("model", ""), headers=facts.get("headers", {}))


@dataclass(slots=True)
class _OpenCall:
    id: str
    name: str
    arguments: str


class StreamedChat:
    """One stream as ChatResponses, each with the whole message so far in blocks of its own.

    `delta` is new text only; new reasoning is in `additional_kwargs["thinking_delta"]`, where agents look for it.
    Until the last response a tool call's arguments are the text so far. The last response equals `chat_response`.
    """

    def __init__(self, *, single_call: bool = False, check: Callable[[Completion], None] | None = None) -> None:
        """`check` raises an error at the end for an answer that won't do."""
        self._single_call = single_call
        self._check = check or accept
        self._text = ""
        self._reasoning = ""
        self._calls: dict[int, _OpenCall] = {}

    def __call__(self, piece: Delta | Completion) -> ChatResponse | None:
        """The response to show; None for a piece that shows nothing."""
        if isinstance(piece, Completion):
            self._check(piece)
            response = chat_response(piece, single_call=self._single_call)
            response.delta = ""
            return response
        if piece.choice:
            return None
        if isinstance(piece, TextDelta):
            self._text += piece.text
            return self._response({"content": piece.text}, {}, piece.text)
        if isinstance(piece, ReasoningDelta):
            self._reasoning += piece.text
            return self._response({"reasoning_content": piece.text}, {"thinking_delta": piece.text})
        return self._call(piece)

    def _call(self, piece: ToolCallDelta) -> ChatResponse | None:
        if self._single_call and piece.index:
            return None
        if (call := self._calls.get(piece.index)) is not None:
            call.arguments += piece.arguments
        else:
            self._calls[piece.index] = _OpenCall(piece.id or "", piece.name or "", piece.arguments)
            self._calls = dict(sorted(self._calls.items()))
        function = {"name": piece.name, "arguments": piece.arguments}
        return self._response({"tool_calls": [{"index": piece.index, "id": piece.id, "function": function}]}, {})

    def _response(self, delta: dict[str, Any], facts: dict[str, Any], text: str = "") -> ChatResponse:
        blocks: list[Any] = []
        if self._reasoning:
            blocks.append(ThinkingBlock(content=self._reasoning))
        if self._text:
            blocks.append(TextBlock(text=self._text))
        called: dict[str, Any] = {}
        if self._calls:
            calls = self._calls.values()
            blocks += [_open_block(call) for call in calls]
            called = _call_dicts(calls)
        message = _MESSAGE.copy({"blocks": blocks, "additional_kwargs": called})
        return _RESPONSE.copy({"message": message, "delta": text, "raw": _chunk(delta), "additional_kwargs": facts})


class StreamedCompletion:
    """One stream as CompletionResponses; new reasoning is in `additional_kwargs["thinking_delta"]`.

    Raises:
        ReasoningBudgetExceeded: at the end, when thinking used up `max_tokens` before the answer began.
    """

    def __init__(self) -> None:
        self._text = ""

    def __call__(self, piece: Delta | Completion) -> CompletionResponse | None:
        """The response to show; None for a piece that shows nothing."""
        if isinstance(piece, Completion):
            response = completion_response(piece)
            response.delta = ""
            return response
        if piece.choice or isinstance(piece, ToolCallDelta):
            return None
        if isinstance(piece, TextDelta):
            self._text += piece.text
            return CompletionResponse(text=self._text, delta=piece.text, raw=_chunk({"content": piece.text}))
        return CompletionResponse(
            text=self._text,
            delta="",
            raw=_chunk({"reasoning_content": piece.text}),
            additional_kwargs={"thinking_delta": piece.text},
        )


def _open_block(call: _OpenCall) -> ToolCallBlock:
    return _CALL.copy({"tool_call_id": call.id, "tool_name": call.name, "tool_kwargs": call.arguments})


def _chunk(delta: dict[str, Any]) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta}]}


def _call_dicts(calls: Iterable[ToolCall | InvalidToolCall | _OpenCall]) -> dict[str, Any]:
    dicts = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in calls
    ]
    return {"tool_calls": dicts} if dicts else {}


def _facts(completion: Completion) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "finish_reason": completion.finish_reason,
        "model": completion.model,
        "request_id": completion.request_id,
        "headers": dict(completion.headers),
        "gateway": completion.gateway,
    }
    if completion.usage is not None:
        facts |= {name: getattr(completion.usage, name) for name in USAGE}
        facts["cost"] = completion.usage.cost
    return {name: value for name, value in facts.items() if value not in (None, "", {})}


def _logprobs(choice: Choice) -> list[list[LogProb]] | None:
    """For each token its alternatives as asked for with `top_logprobs`, else the token itself.

    None for those that can't be read, which cost nothing else: they are in `raw` as they came.
    """
    try:
        tokens: list[dict[str, Any]] = (choice.logprobs or {}).get("content") or []
        return [[_logprob(entry) for entry in token.get("top_logprobs") or [token]] for token in tokens] or None
    except (AttributeError, KeyError, TypeError, ValueError):
        _log.debug("the answer's log probabilities can't be read")
        return None


def _logprob(entry: dict[str, Any]) -> LogProb:
    return LogProb(token=entry["token"], logprob=entry["logprob"], bytes=entry.get("bytes") or [])


_MESSAGE: Final = Pattern(ChatMessage(role=MessageRole.ASSISTANT, blocks=[], additional_kwargs={}))
_RESPONSE: Final = Pattern(ChatResponse(message=ChatMessage(), delta="", raw={}, additional_kwargs={}))
_CALL: Final = Pattern(ToolCallBlock(tool_call_id="", tool_name="", tool_kwargs=""))
