"""Back-end S, as published captures show it (2026-10); what none shows follows SGLang 0.5.23, run. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from cf_gemma.emulator.backends.common import is_finaliser, logprobs_object
from cf_gemma.emulator.backends.notation import write_cut_call
from cf_gemma.emulator.chat import objects
from cf_gemma.emulator.faults import Fault
from cf_gemma.model.completion import ReasoningDelta, TextDelta, ToolCallDelta
from cf_gemma.model.json_object import as_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from random import Random

    from cf_gemma.emulator.backends.calls import CallSteps
    from cf_gemma.emulator.backends.common import Call, Finished, Top
    from cf_gemma.emulator.chat import ChatRequest
    from cf_gemma.emulator.engines.protocol import Ending, Step


class Sglang:
    """Back-end S: keys sorted, only the keys that apply, `reasoning_content`, a model with `-external` behind it."""

    name: Literal["S", "V"] = "S"
    rides = False

    def objections(self, chat: ChatRequest) -> Iterator[Fault]:
        """Its template takes objects only for the arguments of earlier calls."""
        calls = [call for message in chat.messages for call in objects(message.get("tool_calls"))]
        for call in calls:
            if call["type"] == "function" and as_object(json.loads(call["function"]["arguments"])) is None:
                text = "Assistant tool call function.arguments must be a JSON object."
                yield Fault.of(8006, f"Invalid data for messages - reason {text}")

    def files_as_reasoning(self, chat: ChatRequest, *, streamed: bool) -> bool:  # noqa: ARG002 - the same in both
        """Whenever thinking is on: until the thought is closed, all is thought."""
        return chat.thinking

    def loses_arguments(self, *, streamed: bool) -> bool:
        """In streams: the opener comes, and nothing behind it."""
        return streamed

    def cut(self, call: CallSteps, cut_by: Literal["length", "stop"], *, streamed: bool) -> tuple[Iterable[Step], str]:
        """A stream has the opener alone; a whole answer the model's own notation, as text."""
        if streamed:
            return call.rewritten(call.opener), "length" if cut_by == "length" else "tool_calls"
        return call.rewritten(TextDelta(write_cut_call(call.name, call.arguments), call.opener.choice)), cut_by

    def finish_reason(self, reason: str, chat: ChatRequest, *, called: bool, streamed: bool) -> str:  # noqa: ARG002 - the protocol's
        """The engine's own: it enforces required and named calls, so that they come."""
        return reason

    def split(self, step: Step) -> Iterable[Step]:
        """As it is."""
        return (step,)

    def last_logprobs(self, entry: dict[str, Any]) -> None:
        """None, as far as is known."""

    def new_id(self, random: Random) -> str:
        """32 hex digits."""
        return f"{random.getrandbits(128):032x}"

    def new_call_id(self, random: Random) -> str:
        """`call_` and 24 hex digits."""
        return f"call_{random.getrandbits(96):024x}"

    def model(self, requested: str) -> str:
        """The requested id with `-external`."""
        return f"{requested}-external"

    def completion(self, top: Top, choices: list[Any], usage: Any) -> dict[str, Any]:
        """Sorted keys, but for those of `usage`, which Cloudflare writes."""
        return {
            "choices": choices,
            "created": top.created,
            "id": top.id,
            "model": top.model,
            "object": "chat.completion",
            "usage": usage,
        }

    def chunk(self, top: Top, choices: list[Any], usage: Any, p: str) -> dict[str, Any]:
        """The padding `p` sorts in among the rest."""
        return {
            "choices": choices,
            "created": top.created,
            "id": top.id,
            "model": top.model,
            "object": "chat.completion.chunk",
            "p": p,
            "usage": usage,
        }

    def choice(self, finished: Finished) -> dict[str, Any]:
        """No `matched_stop` here: it was seen in streams only."""
        message: dict[str, Any] = {"content": finished.text}
        if finished.reasoning:
            message["reasoning_content"] = finished.reasoning
        message["role"] = "assistant"
        if finished.calls or finished.finish_reason == "tool_calls":
            message["tool_calls"] = [_call(i, call) for i, call in enumerate(finished.calls)]
        return {
            "finish_reason": finished.finish_reason,
            "index": finished.index,
            "logprobs": logprobs_object(finished.logprobs),
            "message": message,
        }

    def first(self, index: int) -> dict[str, Any]:
        """`reasoning_content` is spelled out even when there is none."""
        return _streamed(index, {"content": "", "reasoning_content": None, "role": "assistant"})

    def step(self, step: Step) -> dict[str, Any]:
        """Text bears `reasoning_content: null`, a call all three nulls; reasoning comes without `content`."""
        delta = step.delta
        if isinstance(delta, ToolCallDelta):
            content = {"content": None, "reasoning_content": None, "role": None, "tool_calls": [_call_delta(delta)]}
        elif isinstance(delta, ReasoningDelta):
            content = {"reasoning_content": delta.text}
        else:
            content = {"content": delta.text, "reasoning_content": None}
        return _streamed(delta.choice, content, logprobs=logprobs_object(step.logprobs))

    def last(self, ending: Ending, step: Step | None) -> dict[str, Any]:  # noqa: ARG002 - none rides here
        """No `content`; `matched_stop` is a stop string or a token's number, null when the answer was cut."""
        return _streamed(ending.choice, {"reasoning_content": None}, ending.finish_reason, matched_stop=ending.stop)


def _streamed(
    index: int, delta: Any, finish_reason: str | None = None, *, logprobs: Any = None, matched_stop: Any = None
) -> dict[str, Any]:
    return {
        "delta": delta,
        "finish_reason": finish_reason,
        "index": index,
        "logprobs": logprobs,
        "matched_stop": matched_stop,
    }


def _call(index: int, call: Call) -> dict[str, Any]:
    function = {"arguments": call.arguments, "name": call.name}
    return {"function": function, "id": call.id, "index": index, "type": "function"}


def _call_delta(delta: ToolCallDelta) -> dict[str, Any]:
    function = {"arguments": delta.arguments, "name": delta.name}
    kind = None if is_finaliser(delta) else "function"
    return {"function": function, "id": delta.id, "index": delta.index, "type": kind}
