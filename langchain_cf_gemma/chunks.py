"""What the model says -> LangChain messages: deltas to chunks, a completion to a message. Pure.

A message and the sum of its stream's chunks are equal because both take all that isn't text, reasoning or a tool call
from the one Completion, which in a stream becomes the last chunk. Nothing is told twice: core adds up the numbers and
concatenates the strings that two chunks repeat.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Any, Final, cast

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.json import parse_partial_json

from cf_gemma import Choice, Completion, InvalidToolCall, ReasoningDelta, TextDelta, ToolCall, Usage
from cf_gemma.client.patterns import Pattern
from cf_gemma.structured import FenceStripper
from cf_gemma.structured import unfenced as without_fence
from langchain_cf_gemma.calls import CallOrder
from langchain_cf_gemma.messages import reasoning_of
from langchain_cf_gemma.translator import PROVIDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from langchain_core.messages import BaseMessage, ToolCallChunk
    from langchain_core.messages import InvalidToolCall as InvalidCall

    from cf_gemma import Delta, ToolCallDelta

_PROVIDED = {"model_provider": PROVIDER}
_REPLICA = "-external"
"""A suffix that one of the service's back-ends puts behind the model's id."""
_STOPPED_BY = frozenset({"matched_stop", "stop_reason"})
"""What ended the answer: of interest when it is one of the caller's stop texts, and not as the number of a token."""


class Chunks:
    """One stream's deltas as chunks, each of which holds one kind of content. Of several choices, the first's."""

    def __init__(self, model: str, *, usage: bool = True, unfenced: bool = False) -> None:
        """For a stream of this model.

        Args:
            model: The model's id, for answers in which the service doesn't report it.
            usage: Whether the last chunk has `usage_metadata`.
            unfenced: Whether the text is JSON, from which a Markdown fence is to be taken away.
        """
        self._model = model
        self._usage = usage
        self._fence = FenceStripper() if unfenced else None
        self._calls = CallOrder()

    def of(self, item: Delta | Completion) -> Iterable[ChatGenerationChunk]:
        """The chunks of one delta, or of the completion: all that ends the stream."""
        if isinstance(item, Completion):
            return self._end(item)
        if item.choice:
            return ()
        if isinstance(item, TextDelta):
            text = self._fence.feed(item.text) if self._fence else item.text
            return (_TEXT.made(text, {}, [], []),) if text else ()
        if isinstance(item, ReasoningDelta):
            return (_REASONING.made("", {"reasoning_content": item.text}, [], []),)
        return [_called(delta) for delta in self._calls.of(item)]

    def _end(self, completion: Completion) -> Iterator[ChatGenerationChunk]:
        choice = completion.choices[0]
        if self._fence and (rest := self._fence.close()):
            yield _chunk(rest)
        for delta in self._calls.rest(choice.calls):
            yield _called(delta)
        for index, call in enumerate(choice.calls):
            if isinstance(call, InvalidToolCall) and (suffix := breaking_suffix(call.arguments)):
                yield _chunk(tool_call_chunks=[tool_call_chunk(args=suffix, index=index)])
        yield _chunk(
            response_metadata=_addable(response_metadata(completion, choice, self._model)),
            usage_metadata=usage_metadata(completion.usage) if self._usage and completion.usage else None,
            chunk_position="last",
        )


def to_result(completion: Completion, model: str, *, unfenced: bool = False) -> ChatResult:
    """The whole answer: a generation for each choice. Usage stands on the first one only, so that sums are right."""
    choices = completion.choices
    if unfenced:
        choices = [replace(choice, text=without_fence(choice.text)) for choice in choices]
    messages = [to_message(completion, choice, model) for choice in choices]
    messages[0].usage_metadata = usage_metadata(completion.usage) if completion.usage else None
    metadata = messages[0].response_metadata
    llm_output = {name: metadata[name] for name in ("model_name", "token_usage") if name in metadata}
    return ChatResult(generations=[ChatGeneration(message=message) for message in messages], llm_output=llm_output)


def combined_usage(llm_outputs: Iterable[dict[str, Any] | None]) -> dict[str, Any]:
    """What `generate` tells of several prompts together: the model's name, and the sum of the usage."""
    reported = [output for output in llm_outputs if output]
    usage = [output["token_usage"] for output in reported if output.get("token_usage")]
    if not reported:
        return {}
    return {"model_name": reported[-1].get("model_name"), "token_usage": reduce(_summed, usage, {})}


def _summed(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    both = dict(left)
    for name, number in right.items():
        if isinstance(number, dict):
            both[name] = _summed(left.get(name, {}), cast("dict[str, Any]", number))
        else:
            both[name] = left.get(name, 0) + number
    return both


def to_message(completion: Completion, choice: Choice, model: str) -> AIMessage:
    """One choice as a message, without its usage."""
    return AIMessage(
        content=choice.text,
        additional_kwargs={"reasoning_content": choice.reasoning} if choice.reasoning else {},
        tool_calls=[tool_call(name=call.name, args=call.args, id=call.id) for call in choice.tool_calls],
        invalid_tool_calls=[
            invalid_tool_call(name=call.name or None, args=call.arguments, id=call.id or None, error=call.error)
            for call in choice.invalid_tool_calls
        ],
        response_metadata=response_metadata(completion, choice, model),
    )


def to_completion(message: AIMessage) -> Completion:
    """The completion that one of our messages was made of, as far as the message tells: an error's `partial`."""
    metadata = message.response_metadata
    choice = Choice(
        text=message.text,
        reasoning=reasoning_of(message),
        calls=(
            *(
                ToolCall(call["id"] or "", call["name"], json.dumps(call["args"], ensure_ascii=False), call["args"])
                for call in message.tool_calls
            ),
            *(
                InvalidToolCall(call["id"] or "", call["name"] or "", call["args"] or "", call["error"] or "")
                for call in message.invalid_tool_calls
            ),
        ),
        finish_reason=metadata.get("finish_reason"),
        logprobs=metadata.get("logprobs"),
    )
    return Completion(
        choices=(choice,),
        usage=_usage(metadata["token_usage"]) if "token_usage" in metadata else None,
        id=metadata.get("id", ""),
        model=metadata.get("model_name", ""),
        created=metadata.get("created", 0),
        headers=metadata.get("headers", {}),
    )


def _usage(usage: dict[str, Any]) -> Usage:
    neurons: Any = usage.get("neurons")
    return Usage(
        usage["prompt_tokens"],
        usage["completion_tokens"],
        usage["total_tokens"],
        cached_tokens=usage.get("prompt_tokens_details", {}).get("cached_tokens"),
        reasoning_tokens=usage.get("completion_tokens_details", {}).get("reasoning_tokens"),
        neurons=sum(cast("list[float]", neurons)) if isinstance(neurons, list) else neurons,
    )


def response_metadata(completion: Completion, choice: Choice, model: str) -> dict[str, Any]:
    """All that isn't content, under LangChain's names; what the service didn't say is absent."""
    usage = completion.usage
    facts: dict[str, Any] = {
        **completion.extra,
        **{name: fact for name, fact in choice.extra.items() if name not in _STOPPED_BY or isinstance(fact, str)},
        **_PROVIDED,
        "model_name": completion.model.removesuffix(_REPLICA) or model,
        "finish_reason": choice.finish_reason,
        "id": completion.id,
        "created": completion.created or None,
        "request_id": completion.request_id,
        "headers": completion.headers,
        "gateway": completion.gateway,
        "logprobs": choice.logprobs,
        "invalid_tool_calls": _reasons(choice),
    }
    if usage:
        facts |= {"token_usage": usage.to_dict(), "neurons": usage.neurons, "total_cost": usage.cost}
    return {name: fact for name, fact in facts.items() if fact not in (None, "", {}, [])}


def _addable(facts: Any) -> Any:
    """The same, with numbers that have a fraction in lists: core adds up two answers, and raises for two floats."""
    if isinstance(facts, dict):
        return {name: _addable(fact) for name, fact in cast("dict[str, Any]", facts).items()}
    return [facts] if isinstance(facts, float) else facts


def cost_of(message: BaseMessage) -> float:
    """US dollars that an answer has cost; 0.0 for a message that is none. Of a sum of several answers, all of them.

    In a stream, and so in an agent that streams, `response_metadata["total_cost"]` is a list of one for each answer.
    """
    costs: Any = message.response_metadata.get("total_cost", 0.0)
    return sum(cast("list[float]", costs)) if isinstance(costs, list) else costs


def _reasons(choice: Choice) -> list[dict[str, Any]]:
    """Why calls must not be executed: core leaves a stream's `invalid_tool_calls` without their `error`."""
    return [
        {"id": call.id or None, "name": call.name or None, "error": call.error, "cut": call.cut}
        for call in choice.invalid_tool_calls
    ]


def usage_metadata(usage: Usage) -> UsageMetadata:
    """Token counts in LangChain's words. Costs are in `response_metadata`: core can add up whole numbers only."""
    counts = UsageMetadata(
        input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens, total_tokens=usage.total_tokens
    )
    if usage.cached_tokens is not None:
        counts["input_token_details"] = InputTokenDetails(cache_read=usage.cached_tokens)
    if usage.reasoning_tokens is not None:
        counts["output_token_details"] = OutputTokenDetails(reasoning=usage.reasoning_tokens)
    return counts


def breaking_suffix(arguments: str) -> str:
    """The shortest end that makes core file these arguments under `invalid_tool_calls`.

    Core repairs cut JSON, so `{"path": "/home/an` would become a valid call with half an argument. It doesn't repair a
    bracket that was never opened.
    """
    endings = ("", "]", "}", '"]', '"}', '""]', '""}')
    return next((ending for ending in endings if not _accepted(arguments + ending)), "]")


def _accepted(arguments: str) -> bool:
    """Whether core would take this text for the arguments of a valid call."""
    try:
        return not arguments or isinstance(parse_partial_json(arguments), dict)
    except ValueError:
        return False


def _chunk(content: str = "", **fields: Any) -> ChatGenerationChunk:
    fields.setdefault("response_metadata", _PROVIDED)
    return ChatGenerationChunk(message=AIMessageChunk(content=content, **fields))


def _called(delta: ToolCallDelta) -> ChatGenerationChunk:
    call = tool_call_chunk(name=delta.name or None, args=delta.arguments, id=delta.id or None, index=delta.index)
    if not delta.arguments or delta.arguments.lstrip().startswith("{"):
        return _chunk(tool_call_chunks=[call])
    # Core parses every piece, at the price of ten. Only one that begins an object can be, alone, a call's arguments.
    piece = invalid_tool_call(name=call["name"], args=call["args"], id=call["id"], error=None)
    return _PIECE.made("", {}, [call], [piece])


class _Copies:
    """Of a checked chunk, with something else in them: at half the price of new ones."""

    def __init__(self, checked: ChatGenerationChunk) -> None:
        self._chunk = Pattern(checked)
        self._message = Pattern(checked.message)

    def made(
        self,
        content: str,
        kwargs: dict[str, Any],
        calls: list[ToolCallChunk],
        invalid: list[InvalidCall],
    ) -> ChatGenerationChunk:
        """One with this content, `additional_kwargs` and calls."""
        message = self._message.copy(
            {
                "content": content,
                "additional_kwargs": kwargs,
                "response_metadata": {"model_provider": PROVIDER},
                "tool_calls": [],
                "invalid_tool_calls": invalid,
                "tool_call_chunks": calls,
            }
        )
        return self._chunk.copy({"text": content, "message": message})


_TEXT: Final = _Copies(_chunk("x"))
_REASONING: Final = _Copies(_chunk(additional_kwargs={"reasoning_content": "x"}))
_PIECE: Final = _Copies(_chunk(tool_call_chunks=[tool_call_chunk(name=None, args="x", id=None, index=0)]))
