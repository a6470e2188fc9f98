"""Back-end V, as published captures show it (2026-04 to 2026-10); what none shows follows vLLM, run or read. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from cf_gemma.emulator.backends.common import is_finaliser, logprobs_object
from cf_gemma.emulator.backends.notation import close, write_cut_call
from cf_gemma.emulator.engines.protocol import Step
from cf_gemma.model.completion import ReasoningDelta, TextDelta, ToolCallDelta

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from random import Random

    from cf_gemma.emulator.backends.calls import CallSteps
    from cf_gemma.emulator.backends.common import Call, Finished, Top
    from cf_gemma.emulator.chat import ChatRequest
    from cf_gemma.emulator.engines.protocol import Ending
    from cf_gemma.emulator.faults import Fault
    from cf_gemma.model.completion import Delta


class Vllm:
    """Back-end V: chat-completions key order, every null spelled out, `reasoning`, the model as requested.

    Its versions differ in what they make of a call that was cut, and in the finish reason of a named one.
    """

    name: Literal["S", "V"] = "V"
    rides = True

    def __init__(self, version: Literal["0.22", "0.25", "0.32"]) -> None:
        self.version = version

    def objections(self, chat: ChatRequest) -> Iterator[Fault]:  # noqa: ARG002 - the protocol's
        """None: it makes an empty object of arguments that are none."""
        return iter(())

    def files_as_reasoning(self, chat: ChatRequest, *, streamed: bool) -> bool:
        """In streams behind a tool's result: the template has opened the channel, and the model closes none."""
        return streamed and chat.thinking and chat.messages[-1].get("role") == "tool"

    def loses_arguments(self, *, streamed: bool) -> bool:  # noqa: ARG002 - the protocol's
        """Never: the stray quote token is in them."""
        return False

    def cut(self, call: CallSteps, cut_by: Literal["length", "stop"], *, streamed: bool) -> tuple[Iterable[Step], str]:
        """From 0.25 on the JSON is closed, so that it seems whole; 0.22 has the model's notation in a whole answer."""
        called = "length" if streamed and cut_by == "length" and self.version != "0.25" else "tool_calls"
        if self.version != "0.22":
            arguments = ToolCallDelta(call.opener.index, arguments=close(call.arguments), choice=call.opener.choice)
            return call.rewritten(call.opener, arguments), called
        if streamed:
            return call.steps, called
        return call.rewritten(TextDelta(write_cut_call(call.name, call.arguments), call.opener.choice)), cut_by

    def finish_reason(self, reason: str, chat: ChatRequest, *, called: bool, streamed: bool) -> str:
        """A whole answer without the required call says `tool_calls` all the same; a named call ends with `stop`."""
        required = chat.tool_choice == "required" and chat.forced_tool is None
        if required and not called and not streamed and reason == "stop":
            return "tool_calls"
        named = chat.forced_tool is not None and self.version == "0.22"
        return "stop" if named and called and reason == "tool_calls" else reason

    def split(self, step: Step) -> Iterable[Step]:
        """A character of several bytes takes as many tokens, all but the last of which have no text."""
        for entry in step.logprobs or ():
            for _ in range(len(entry["token"].encode()) - len(entry["token"])):
                yield Step(TextDelta("", step.delta.choice), 0, ({**entry, "token": "", "bytes": []},))
        yield step

    def last_logprobs(self, entry: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        """It counts the token that ended the answer among the others."""
        return (entry,)

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
        """`content` is null when there is none beside reasoning or calls."""
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
                "tool_calls": [_call(call) for call in finished.calls],
                "reasoning": finished.reasoning or None,
            },
            "logprobs": logprobs_object(finished.logprobs),
            "finish_reason": finished.finish_reason,
            "stop_reason": finished.stop,
            "token_ids": None,
        }

    def first(self, index: int) -> dict[str, Any]:
        """The only streamed choice without `token_ids`."""
        return {"index": index, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}

    def step(self, step: Step) -> dict[str, Any]:
        """One key in the delta; none where there are no words."""
        return {
            "index": step.delta.choice,
            "delta": _content(step.delta),
            "logprobs": logprobs_object(step.logprobs),
            "finish_reason": None,
            "token_ids": None,
        }

    def last(self, ending: Ending, step: Step | None) -> dict[str, Any]:
        """The last words of an answer that was cut, else an empty `content`; and `stop_reason`."""
        return {
            "index": ending.choice,
            "delta": _content(step.delta) if step else {"content": ""},
            "logprobs": logprobs_object(step.logprobs if step else ending.logprobs),
            "finish_reason": ending.finish_reason,
            "stop_reason": ending.stop,
            "token_ids": None,
        }


def _content(delta: Delta) -> dict[str, Any]:
    if isinstance(delta, ToolCallDelta):
        return {"tool_calls": [_call_delta(delta)]}
    name = "reasoning" if isinstance(delta, ReasoningDelta) else "content"
    return {name: delta.text} if delta.text else {}


def _call(call: Call) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _call_delta(delta: ToolCallDelta) -> dict[str, Any]:
    """The opener comes without `arguments` unless it has some; later ones carry nothing else."""
    if is_finaliser(delta):
        return {"id": None, "type": None, "index": delta.index, "function": {"name": None, "arguments": ""}}
    if delta.name is None:
        return {"index": delta.index, "function": {"arguments": delta.arguments}}
    function = {"name": delta.name, "arguments": delta.arguments} if delta.arguments else {"name": delta.name}
    return {"id": delta.id, "type": "function", "index": delta.index, "function": function}
