"""Chat requests in llama.cpp's words, and its chunks in the engines'."""

from __future__ import annotations

from typing import Any

import pytest

from cf_gemma.emulator.edge.validation import check
from cf_gemma.emulator.engines import Ending, Event, Opening, Step
from cf_gemma.emulator.engines.llama_chat import (
    call_body,
    events,
    folded,
    native_body,
    pick_body,
    text_body,
    tools_to_call,
)
from cf_gemma.emulator.faults import Refusal
from cf_gemma.model.completion import ReasoningDelta, TextDelta, ToolCallDelta

USER = {"role": "user", "content": "What is 6 times 7?"}
ADD = {
    "name": "add",
    "description": "Adds.",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
}
NOW = {"name": "now"}
CALL = {"id": "c", "type": "function", "function": {"name": "multiply", "arguments": '{"a": 6, "b": 7}'}}
TOOL_ROUND = [
    USER,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "42"}]},
]


def request(**options: Any):
    """A checked request with two tools."""
    tools = [{"type": "function", "function": tool} for tool in (ADD, NOW)]
    return check({"messages": [USER], "tools": tools, **options})


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk as llama.cpp makes it."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {"choices": choices, "model": "/secret/path.gguf", "timings": {}, **more}


CHUNKS = [
    chunk({"role": "assistant", "content": None}, prompt_progress={"total": 36, "cache": 4, "processed": 0}),
    chunk({"content": "Hel"}),
    chunk({"content": "lo"}),
    chunk({}, "stop"),
    chunk(usage={"completion_tokens": 4, "prompt_tokens": 36}),
]


def test_tool_results_follow_the_question() -> None:
    """Turns are system, user and assistant only; a call without words is no turn, its result is told to the model."""
    assert folded(TOOL_ROUND) == [
        {
            "role": "user",
            "content": 'What is 6 times 7?\n\nThe result of multiply with {"a": 6, "b": 7} is: 42',
        }
    ]


def test_other_turns_are_kept() -> None:
    """Words beside a call stay, developers speak as the system, and a result without its call is told all the same."""
    messages = [
        {"role": "developer", "content": "Be brief."},
        USER,
        {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "unknown", "content": "42"},
    ]
    assert folded(messages) == [
        {"role": "system", "content": "Be brief."},
        USER,
        {"role": "assistant", "content": "Let me see."},
        {"role": "user", "content": "The result of the tool is: 42"},
    ]


def test_image_is_refused() -> None:
    """A model that reads text only says so."""
    with pytest.raises(Refusal, match="image_url - reason this stand-in model reads text only"):
        folded([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}])


def test_when_a_tool_is_called() -> None:
    """Only a request that requires it gets a call: the named tool, or one of all, until a result has come."""
    assert tools_to_call(request()) == []
    assert tools_to_call(request(tool_choice="none")) == []
    assert tools_to_call(request(tool_choice="required")) == [ADD, NOW]
    named = {"type": "function", "function": {"name": "now"}}
    assert tools_to_call(request(tool_choice=named, max_tokens=4_096)) == [NOW]
    assert tools_to_call(request(messages=TOOL_ROUND, tool_choice="required")) == []


def test_call_is_held_to_the_schema() -> None:
    """The arguments are constrained by the tool's own parameters; a tool without any takes none."""
    body = call_body(request(), ADD)
    assert body["response_format"]["json_schema"]["schema"] == ADD["parameters"]
    assert body["messages"][0]["content"] == (
        "Function add(a: integer): Adds.. Reply with the arguments of the call as JSON."
    )
    assert call_body(request(), NOW)["response_format"]["json_schema"]["schema"] == {"type": "object", "properties": {}}
    assert pick_body(request(), [ADD, NOW])["response_format"]["json_schema"]["schema"]["properties"] == {
        "tool": {"enum": ["add", "now"]}
    }


def test_one_system_turn() -> None:
    """An instruction joins the system turn that is there."""
    messages = [{"role": "system", "content": "Be brief."}, USER]
    system, user = call_body(request(messages=messages), NOW)["messages"]
    assert system["content"].startswith("Be brief.\n\nFunction now()")
    assert user == USER


def test_repeatable_requests_forgo_the_cache() -> None:
    """With a seed, or a temperature of 0, the prompt cache is off; further choices get further seeds."""
    assert text_body(request())["cache_prompt"] is True
    assert text_body(request(temperature=0))["cache_prompt"] is False
    assert [text_body(request(seed=5), choice)["seed"] for choice in (0, 1)] == [5, 6]
    assert text_body(request(seed=5))["cache_prompt"] is False


def test_options_are_passed_on() -> None:
    """Sampling, stop strings, schema and the thinking switch reach llama.cpp."""
    schema = {"type": "json_schema", "json_schema": {"type": "object"}}
    body = text_body(
        request(top_p=0.5, stop="x", response_format=schema, chat_template_kwargs={"enable_thinking": False})
    )
    assert (body["top_p"], body["stop"], body["max_tokens"]) == (0.5, ["x"], 256)
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert body["chat_template_kwargs"] == {"enable_thinking": False}


def test_repeating() -> None:
    """A small model is kept from repeating itself, save where it has to: in JSON, and what a tool found."""
    schema = {"type": "json_schema", "json_schema": {"type": "object"}}
    assert text_body(request())["repeat_penalty"] > 1
    others = [request(response_format=schema), request(messages=TOOL_ROUND)]
    bodies = [*map(text_body, others), call_body(request(), NOW), native_body(request())]
    assert not any("repeat_penalty" in body for body in bodies)


def test_stop_strings_spare_constrained_answers() -> None:
    """A stop string could only break the JSON of a call, so calls know none."""
    assert "stop" not in call_body(request(stop="}"), NOW)
    assert "stop" not in pick_body(request(stop="}"), [ADD, NOW])


def test_native_body() -> None:
    """A model that knows tools gets messages and tools as they came."""
    body = native_body(request(messages=TOOL_ROUND, tool_choice="auto"))
    assert body["messages"] == TOOL_ROUND
    assert [tool["function"] for tool in body["tools"]] == [ADD, NOW]
    assert body["tool_choice"] == "auto"


def test_events() -> None:
    """Chunks become an opening with the prompt's tokens, steps, and an ending with the tokens nobody saw."""
    assert list(events(CHUNKS, request())) == [
        Opening(36, 4),
        Step(TextDelta("Hel")),
        Step(TextDelta("lo")),
        Ending("stop", 2),
    ]


def test_events_of_a_call() -> None:
    """In a call the text is its arguments, and it ends as calls do unless it was cut."""
    opener = Step(ToolCallDelta(0, name="add"), 0)
    assert list(events(CHUNKS, request(), 0, opener)) == [
        Opening(36, 4),
        opener,
        Step(ToolCallDelta(0, arguments="Hel")),
        Step(ToolCallDelta(0, arguments="lo")),
        Ending("tool_calls", 2),
    ]
    cut = [*CHUNKS[:3], chunk({}, "length"), CHUNKS[4]]
    assert list(events(cut, request(), 0, opener))[-1] == Ending("length", 2)


def test_events_of_a_thinking_model() -> None:
    """Reasoning and native tool calls of a better model come through."""
    function = {"name": "add", "arguments": ""}
    streamed = [
        chunk({"reasoning_content": "Hm."}, prompt_progress={"total": 3}),
        chunk({"tool_calls": [{"index": 0, "id": "x", "type": "function", "function": function}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
        chunk({}, "tool_calls"),
        chunk(usage={"completion_tokens": 3}),
    ]
    expected: list[Event] = [
        Opening(3),
        Step(ReasoningDelta("Hm.")),
        Step(ToolCallDelta(0, "x", "add")),
        Step(ToolCallDelta(0, arguments="{}")),
        Ending("tool_calls", 0),
    ]
    assert list(events(streamed, request())) == expected


def test_logprobs_in_the_published_shape() -> None:
    """Entries lose the token's number, which only llama.cpp gives."""
    entry = {"id": 1, "token": "a", "bytes": [97], "logprob": -1.0}
    listed = chunk({"content": "a"})
    listed["choices"][0]["logprobs"] = {"content": [entry | {"top_logprobs": [entry]}]}
    step = list(events([listed], request(logprobs=True)))[1]
    bare = {"token": "a", "logprob": -1.0, "bytes": [97]}
    assert step == Step(TextDelta("a"), 1, (bare | {"top_logprobs": [bare]},))
    assert list(events([listed], request()))[1] == Step(TextDelta("a"))


def test_refusals() -> None:
    """llama.cpp's errors are refused with the service's codes."""
    overflow = {"type": "exceed_context_size_error", "n_prompt_tokens": 9031, "n_ctx": 8192, "message": "x"}
    with pytest.raises(Refusal, match=r"\(9031\) exceeded .* \(8192\)") as caught:
        list(events([{"error": overflow}], request()))
    assert caught.value.fault.code == 5021
    with pytest.raises(Refusal, match="Invalid input: bad schema") as caught:
        list(events([{"error": {"message": "bad schema"}}], request()))
    assert caught.value.fault.code == 8001
