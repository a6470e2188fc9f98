"""How the two back-ends of the service write the same answer. Pure: values in, JSON-ready dicts out.

Both have been seen behind one model id, minutes apart (captures published 2026-10): S is SGLang, V is vLLM. Key order,
ids, nulls and the name of the reasoning field follow the captures; what no capture shows follows the open source of the
two servers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

from cf_gemma.completion import ReasoningDelta, ToolCallDelta

if TYPE_CHECKING:
    from random import Random

    from cf_gemma.completion import Delta
    from cf_gemma.emulator.engines.protocol import Ending, Step

END_OF_TURN: Final = 106
"""Gemma's `<turn|>` token, which both back-ends report as what stopped them."""


class Top(NamedTuple):
    """What every chunk of an answer says at its top level."""

    id: str
    created: int
    model: str


@dataclass(slots=True)
class Call:
    """A finished tool call."""

    id: str
    name: str
    arguments: str = ""


@dataclass(slots=True)
class Finished:
    """A finished choice, gathered from an engine's events."""

    index: int = 0
    text: str = ""
    reasoning: str = ""
    calls: list[Call] = field(default_factory=list[Call])
    logprobs: list[dict[str, Any]] | None = None
    finish_reason: str | None = None
    stop: str | None = None


class Dialect(Protocol):
    """One back-end's manner of writing."""

    name: Literal["S", "V"]

    def new_id(self, random: Random) -> str:
        """An id for an answer."""
        ...

    def new_call_id(self, random: Random) -> str:
        """An id for a tool call."""
        ...

    def model(self, requested: str) -> str:
        """The model as it is echoed."""
        ...

    def completion(self, top: Top, choices: list[Any], usage: Any) -> dict[str, Any]:
        """A whole `chat.completion`."""
        ...

    def chunk(self, top: Top, choices: list[Any], usage: Any, p: str) -> dict[str, Any]:
        """A `chat.completion.chunk`."""
        ...

    def choice(self, finished: Finished) -> dict[str, Any]:
        """A choice of a whole answer."""
        ...

    def first(self, index: int) -> dict[str, Any]:
        """The choice that opens a stream: the role and an empty text."""
        ...

    def step(self, step: Step) -> dict[str, Any]:
        """The choice that carries a delta."""
        ...

    def last(self, ending: Ending) -> dict[str, Any]:
        """The choice that carries the finish reason."""
        ...


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
            "logprobs": _logprobs(finished.logprobs),
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
        return self._streamed(delta.choice, content, logprobs=_logprobs(step.logprobs))

    def last(self, ending: Ending) -> dict[str, Any]:
        """No `content`; `matched_stop` is the end-of-turn token or the stop string, null when the answer was cut."""
        return self._streamed(
            ending.choice, {"reasoning_content": None}, ending.finish_reason, matched_stop=_stop(ending)
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
        kind = None if _is_finaliser(delta) else "function"
        return {"function": function, "id": delta.id, "index": delta.index, "type": kind}


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
            "logprobs": _logprobs(finished.logprobs),
            "finish_reason": finished.finish_reason,
            "stop_reason": _stop(finished),
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
            "logprobs": _logprobs(step.logprobs),
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
            "stop_reason": _stop(ending),
            "token_ids": None,
        }

    def _content(self, delta: Delta) -> dict[str, Any]:
        if isinstance(delta, ToolCallDelta):
            return {"tool_calls": [self._call_delta(delta)]}
        return {"reasoning" if isinstance(delta, ReasoningDelta) else "content": delta.text}

    def _call_delta(self, delta: ToolCallDelta) -> dict[str, Any]:
        """The opener comes without `arguments` unless it has some; later ones carry nothing else."""
        if _is_finaliser(delta):
            return {"id": None, "type": None, "index": delta.index, "function": {"name": None, "arguments": ""}}
        if delta.name is None:
            return {"index": delta.index, "function": {"arguments": delta.arguments}}
        function = {"name": delta.name, "arguments": delta.arguments} if delta.arguments else {"name": delta.name}
        return {"id": delta.id, "type": "function", "index": delta.index, "function": function}


def _openai_call(call: Call) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _is_finaliser(delta: ToolCallDelta) -> bool:
    """A delta that says nothing closes its call; some of the service's models send one."""
    return delta.id is None and delta.name is None and not delta.arguments


def _logprobs(entries: Any) -> dict[str, Any] | None:
    return {"content": list(entries)} if entries is not None else None


def _stop(ended: Ending | Finished) -> str | int | None:
    return None if ended.finish_reason == "length" else ended.stop or END_OF_TURN


DIALECTS: Final[dict[str, Dialect]] = {"S": Sglang(), "V": Vllm()}
"""By name."""
