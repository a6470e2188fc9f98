"""Back-end V, as published captures show it (2026-04 to 2026-10); what none shows follows vLLM's own code. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from cf_gemma.completion import ReasoningDelta, ToolCallDelta
from cf_gemma.emulator.backends.common import is_finaliser, logprobs_object, stop_reason

if TYPE_CHECKING:
    from random import Random

    from cf_gemma.completion import Delta
    from cf_gemma.emulator.backends.common import Call, Finished, Top
    from cf_gemma.emulator.engines.protocol import Ending, Step


class Vllm:
    """Back-end V: chat-completions key order, every null spelled out, `reasoning`, the model as requested."""

    name: Literal["S", "V"] = "V"

    def new_id(self, random: Random) -> str:
        """`chatcmpl-` and 16 hex digits."""
        return f"chatcmpl-{random.getrandbits(64):016x}"

    def new_call_id(self, random: Random) -> str:
        """`chatcmpl-tool-` and 16 hex digits."""
        return f"chatcmpl-tool-{random.getrandbits(64):016x}"

    def model(self, requested: str) -> str:
        """The requested id."""
        return requested

    def completion(self, top: Top, choices: list[Any], usage: Any) -> dict[str, Any]:
        """With the nulls that vLLM spells out at the top."""
        return {
            "id": top.id,
            "object": "chat.completion",
            "created": top.created,
            "model": top.model,
            "choices": choices,
            "service_tier": None,
            "system_fingerprint": None,
            "usage": usage,
            "prompt_logprobs": None,
            "prompt_token_ids": None,
            "kv_transfer_params": None,
        }

    def chunk(self, top: Top, choices: list[Any], usage: Any, p: str) -> dict[str, Any]:
        """What Cloudflare adds comes last."""
        return {
            "id": top.id,
            "object": "chat.completion.chunk",
            "created": top.created,
            "model": top.model,
            "choices": choices,
            "usage": usage,
            "p": p,
        }

    def choice(self, finished: Finished) -> dict[str, Any]:
        """`content` is null when reasoning or tool calls took its place."""
        silent = not finished.text and bool(finished.reasoning or finished.calls)
        return {
            "index": finished.index,
            "message": {
                "role": "assistant",
                "content": None if silent else finished.text,
                "refusal": None,
                "annotations": None,
                "audio": None,
                "function_call": None,
                "tool_calls": [_openai_call(call) for call in finished.calls],
                "reasoning": finished.reasoning or None,
            },
            "logprobs": logprobs_object(finished.logprobs),
            "finish_reason": finished.finish_reason,
            "stop_reason": stop_reason(finished),
            "token_ids": None,
        }

    def first(self, index: int) -> dict[str, Any]:
        """The only streamed choice without `token_ids`."""
        return {"index": index, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}

    def step(self, step: Step) -> dict[str, Any]:
        """One key in the delta."""
        delta = step.delta
        return {
            "index": delta.choice,
            "delta": self._content(delta),
            "logprobs": logprobs_object(step.logprobs),
            "finish_reason": None,
            "token_ids": None,
        }

    def last(self, ending: Ending) -> dict[str, Any]:
        """An empty `content`, and `stop_reason`."""
        return {
            "index": ending.choice,
            "delta": {"content": ""},
            "logprobs": None,
            "finish_reason": ending.finish_reason,
            "stop_reason": stop_reason(ending),
            "token_ids": None,
        }

    def _content(self, delta: Delta) -> dict[str, Any]:
        if isinstance(delta, ToolCallDelta):
            return {"tool_calls": [self._call_delta(delta)]}
        return {"reasoning" if isinstance(delta, ReasoningDelta) else "content": delta.text}

    def _call_delta(self, delta: ToolCallDelta) -> dict[str, Any]:
        """The opener comes without `arguments` unless it has some; later ones carry nothing else."""
        if is_finaliser(delta):
            return {"id": None, "type": None, "index": delta.index, "function": {"name": None, "arguments": ""}}
        if delta.name is None:
            return {"index": delta.index, "function": {"arguments": delta.arguments}}
        function = {"name": delta.name, "arguments": delta.arguments} if delta.arguments else {"name": delta.name}
        return {"id": delta.id, "type": "function", "index": delta.index, "function": function}


def _openai_call(call: Call) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
