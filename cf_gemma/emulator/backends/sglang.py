"""Back-end S, as published captures show it (2026-10); what none shows follows SGLang's own code. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from cf_gemma.completion import ReasoningDelta, ToolCallDelta
from cf_gemma.emulator.backends.common import is_finaliser, logprobs_object, stop_reason

if TYPE_CHECKING:
    from random import Random

    from cf_gemma.emulator.backends.common import Call, Finished, Top
    from cf_gemma.emulator.engines.protocol import Ending, Step


class Sglang:
    """Back-end S: keys sorted, only the keys that apply, `reasoning_content`, a model with `-external` behind it."""

    name: Literal["S", "V"] = "S"

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
            message["tool_calls"] = [self._call(i, call) for i, call in enumerate(finished.calls)]
        return {
            "finish_reason": finished.finish_reason,
            "index": finished.index,
            "logprobs": logprobs_object(finished.logprobs),
            "message": message,
        }

    def first(self, index: int) -> dict[str, Any]:
        """`reasoning_content` is spelled out even when there is none."""
        return self._streamed(index, {"content": "", "reasoning_content": None, "role": "assistant"})

    def step(self, step: Step) -> dict[str, Any]:
        """Text bears `reasoning_content: null`; reasoning comes without `content`."""
        delta = step.delta
        if isinstance(delta, ToolCallDelta):
            content = {"reasoning_content": None, "tool_calls": [self._call_delta(delta)]}
        elif isinstance(delta, ReasoningDelta):
            content = {"reasoning_content": delta.text}
        else:
            content = {"content": delta.text, "reasoning_content": None}
        return self._streamed(delta.choice, content, logprobs=logprobs_object(step.logprobs))

    def last(self, ending: Ending) -> dict[str, Any]:
        """No `content`; `matched_stop` is the end-of-turn token or the stop string, null when the answer was cut."""
        return self._streamed(
            ending.choice, {"reasoning_content": None}, ending.finish_reason, matched_stop=stop_reason(ending)
        )

    def _streamed(
        self,
        index: int,
        delta: Any,
        finish_reason: str | None = None,
        *,
        logprobs: Any = None,
        matched_stop: Any = None,
    ) -> dict[str, Any]:
        return {
            "delta": delta,
            "finish_reason": finish_reason,
            "index": index,
            "logprobs": logprobs,
            "matched_stop": matched_stop,
        }

    def _call(self, index: int, call: Call) -> dict[str, Any]:
        function = {"arguments": call.arguments, "name": call.name}
        return {"function": function, "id": call.id, "index": index, "type": "function"}

    def _call_delta(self, delta: ToolCallDelta) -> dict[str, Any]:
        function = {"arguments": delta.arguments, "name": delta.name}
        kind = None if is_finaliser(delta) else "function"
        return {"function": function, "id": delta.id, "index": delta.index, "type": kind}
