"""The emulator beside the real servers: of the same words the same bytes, but for what Cloudflare changes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from cf_gemma.emulator import Reply, ToolCallSpec
from tests.engines_bytes.samples import SAMPLES, Sample, streamed_choices

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Caller

THOUGHT = "The user wants the weather.\nStep 1: call it."
PARIS, ROME = ToolCallSpec("get_weather", {"city": "Paris", "days": 3}), ToolCallSpec("get_weather", {"city": "Rome"})
LONG = ToolCallSpec("get_weather", {"city": "Paris in the south of France", "days": 3})
SCRIPTS: dict[str, Reply] = {
    "text": Reply("Hello there, it is sunny."),
    "thinking": Reply("It is sunny.", THOUGHT),
    "thinking_cut": Reply("It is sunny.", THOUGHT),
    "thinking_on_no_channel": Reply("It is sunny.", as_reasoning=True),
    "behind_tool_result": Reply("It is sunny in Paris.", as_reasoning=True),
    "tool_one": Reply(tool_calls=[PARIS]),
    "tool_two": Reply(tool_calls=[PARIS, ROME]),
    "tool_one_thinking": Reply(reasoning=THOUGHT, tool_calls=[PARIS]),
    "tool_cut_args": Reply(tool_calls=[LONG]),
    "tool_required_text": Reply("I would rather not."),
    "json_schema": Reply('{"name": "Zoë", "age": 3}'),
    "logprobs": Reply(["Z", "o", "ë", " ", "😀", " o", "k"]),
}
WORDS_TO_THE_CUT = {"thinking_cut": 4, "tool_cut_args": 2}
"""Tokens of the emulator's up to where the real answer was cut: it counts words."""


def script(sample: Sample) -> Reply:
    """The words of a sample. The values of `tool_nested` are those that the server itself made of them."""
    if sample.case != "tool_nested":
        return SCRIPTS[sample.case]
    (call,) = sample.choice["message"]["tool_calls"]
    return Reply(tool_calls=[ToolCallSpec("book", call["function"]["arguments"])])


@pytest.fixture(params=SAMPLES, ids=lambda sample: f"{sample.server} {sample.case}")
def sample(request: pytest.FixtureRequest) -> Sample:
    """Each sample in turn."""
    return request.param


@pytest.fixture
def ask(serve: Callable[..., Caller], sample: Sample) -> Callable[[bool], bytes]:
    """Asks the emulator what the server was asked."""
    dialect = {"vllm": "V-0.32", "sglang": "S"}[sample.server]
    caller = serve(script(sample), dialect=dialect, tool_calls="server", quirks=("cut_calls",))
    options = {key: value for key, value in sample.request.items() if key not in ("stream", "stream_options")}
    options["max_tokens"] = WORDS_TO_THE_CUT.get(sample.case, options["max_tokens"])
    url = f"{caller.emulator.openai_url}/chat/completions"
    return lambda stream: caller.post(url, {**options, "stream": stream}).content


def as_captured(choice: dict[str, Any], server: str) -> dict[str, Any]:
    """A real choice as captures of the live service show those of its kind; they are of other versions.

    V has no `routed_experts`, and an empty list where there are no calls. S has sorted keys, and in whole answers
    neither `matched_stop` nor a null for reasoning.
    """
    message = choice["message"]
    if server == "vllm":
        keys = [*list(message)[: list(message).index("function_call") + 1], "tool_calls", "reasoning"]
        message = {key: message.get(key, []) for key in keys}
        return {key: value for key, value in (choice | {"message": message}).items() if key != "routed_experts"}
    message = {key: message[key] for key in sorted(message) if key != "reasoning_content" or message[key] is not None}
    return {key: (choice | {"message": message})[key] for key in sorted(choice) if key != "matched_stop"}


def masked(value: Any) -> str:
    """JSON text in which what is drawn, measured or a matter of the tokenizer is the same for all."""
    text = json.dumps(_without_measures(value), ensure_ascii=False)
    return re.sub(r'"(call_|chatcmpl-tool-)[0-9a-f]+"', r'"\1ID"', text)


def _without_measures(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_measures(item) for item in value]
    if isinstance(value, dict):
        measures: dict[str, Any] = {"logprob": 0, "top_logprobs": "…"}
        return {key: measures.get(key, _without_measures(item)) for key, item in value.items()}
    return value


def test_whole(sample: Sample, ask: Callable[[bool], bytes]) -> None:
    """A whole reply has the same choice, key by key and in the same order."""
    (choice,) = json.loads(ask(False))["choices"]
    expected = as_captured(sample.choice, sample.server)
    function = [json.dumps(call["function"], sort_keys=True) for call in choice["message"].get("tool_calls") or []]
    assert function == [
        json.dumps(call["function"], sort_keys=True) for call in expected["message"].get("tool_calls") or []
    ]
    assert masked(_sorted_calls(choice)) == masked(_sorted_calls(expected))


def _sorted_calls(choice: dict[str, Any]) -> dict[str, Any]:
    """The order of keys within a call is captured of no S; SGLang's own JSON isn't sorted, Cloudflare's is."""
    calls = choice["message"].get("tool_calls")
    if not calls:
        return choice
    calls = [json.loads(json.dumps(call, sort_keys=True)) for call in calls]
    return choice | {"message": choice["message"] | {"tool_calls": calls}}


def joined(chunks: list[dict[str, Any]], server: str) -> list[str]:
    """A stream's choices, those that only carry on joined, since each server's tokens end elsewhere."""
    joint: list[dict[str, Any]] = []
    for choice in chunks:
        if server == "sglang":
            choice = json.loads(json.dumps(choice, sort_keys=True))
        if joint and _outline(joint[-1]["delta"]) == _outline(choice["delta"]):
            delta = _sum(joint[-1]["delta"], choice["delta"])
            joint[-1] = choice | {"delta": delta, "logprobs": _both(joint[-1], choice)}
        else:
            joint.append(choice)
    return [masked(choice) for choice in joint]


def _outline(delta: dict[str, Any]) -> Any:
    """What must be the same of two deltas for one to carry the other on."""
    (call,) = delta.get("tool_calls") or [{}]
    opens = call.get("id") or (call.get("function") or {}).get("name")
    return [*delta, *call, call.get("index"), opens]


def _sum(delta: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    if "tool_calls" in delta:
        ((call,), (other,)) = (delta["tool_calls"], more["tool_calls"])
        arguments = call["function"]["arguments"] + other["function"]["arguments"]
        return delta | {"tool_calls": [call | {"function": call["function"] | {"arguments": arguments}}]}
    return {key: (value or "") + (more[key] or "") if value or more[key] else value for key, value in delta.items()}


def _both(choice: dict[str, Any], more: dict[str, Any]) -> Any:
    if choice["logprobs"] is None or more["logprobs"] is None:
        return choice["logprobs"]
    return {"content": [*choice["logprobs"]["content"], *more["logprobs"]["content"]]}


def test_stream(sample: Sample, ask: Callable[[bool], bytes]) -> None:
    """A stream has the same events in the same order, with the same keys and the same words."""
    expected = sample.chunks
    if sample.server == "vllm" and expected[-1]["delta"] == {}:
        expected[-1]["delta"] = {"content": ""}  # as captures of the live service have it
    assert joined(streamed_choices(ask(True)), sample.server) == joined(expected, sample.server)
