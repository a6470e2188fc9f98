"""What real servers made of known words is read as what the model said, whole and streamed."""

from __future__ import annotations

from typing import Any

import pytest

from cf_gemma.model.completion import Completion, ReasoningDelta, TextDelta
from tests.engines_bytes.replays import CASES, Case

THOUGHT = "The user wants the weather.\nStep 1: call it."
PARIS = ("get_weather", {"city": "Paris", "days": 3})
BOOKED = {
    "note": 'He said "hi"\n\\ {a:1} é😀',
    "nothing": None,
    "tags": ["a,b", "c"],
    "who": {"age": -1.5, "name": "Zoë", "vip": True},
    "x": 1000.0,
}
SAID: dict[str, dict[str, Any]] = {
    "text": {"text": "Hello there, it is sunny."},
    "thinking": {"text": "It is sunny.", "reasoning": THOUGHT},
    "thinking_cut": {"reasoning": "The user wants the weather.\nStep 1: call it."[:10]},
    "thinking_on_no_channel": {"text": "It is sunny."},
    "behind_tool_result": {"text": "It is sunny in Paris."},
    "tool_one": {"calls": [PARIS]},
    "tool_one_thinking": {"calls": [PARIS], "reasoning": THOUGHT},
    "tool_two": {"calls": [PARIS, ("get_weather", {"city": "Rome"})]},
    "tool_cut_args": {"calls": []},
    "tool_required_text": {"text": "I would rather not."},
    "tool_nested": {"calls": [("book", BOOKED)]},
    "json_schema": {"text": '{"name": "Zoë", "age": 3}'},
    "logprobs": {"text": "Zoë 😀 ok"},
}
"""What the model was made to say, by case."""


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_the_model_said(case: Case) -> None:
    """Text, reasoning and calls are what the model said, whatever fields the server filed them under."""
    deltas, completion = case.read()
    expected = SAID[case.name]
    if "text" in expected:
        assert completion.text == expected["text"]
    if case.name == "thinking_cut":
        assert completion.reasoning.startswith(expected["reasoning"])
        assert completion.thought_only
    elif "reasoning" in expected:
        assert completion.reasoning.strip() == expected["reasoning"]
    if "calls" in expected:
        assert [(call.name, call.args) for call in completion.tool_calls] == expected["calls"]
    assert _joined(deltas, TextDelta) == completion.text
    assert _joined(deltas, ReasoningDelta) == completion.reasoning
    assert "<|" not in completion.text


@pytest.mark.parametrize("case", [case for case in CASES if case.name == "tool_cut_args"], ids=str)
def test_a_cut_call_is_not_executed(case: Case) -> None:
    """A call that `max_tokens` cut is invalid, however well the server closed its JSON, and nothing else is there."""
    completion = case.read()[1]
    assert completion.tool_calls == ()
    assert [call.name for call in completion.invalid_tool_calls] == ["get_weather"]
    assert completion.text == ""


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("tool_blank_name", [("get_weather", {"city": "Rome"})]),
        ("tool_no_name", []),
        ("tool_json", []),
        ("tool_in_tool", []),
    ],
)
def test_what_the_server_misread(name: str, calls: list[Any], streamed: bool) -> None:
    """A call that the model wrote badly is what it meant, or invalid."""
    completion = Case("vllm/slips", name, streamed).read()[1]
    assert [(call.name, call.args) for call in completion.tool_calls] == calls
    assert len(completion.invalid_tool_calls) == 1 - len(calls)


def _joined(deltas: list[Any], kind: type) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, kind))


def test_every_case_is_told_what_was_said() -> None:
    """The table names all recorded cases, and no others."""
    assert {case.name for case in CASES} == set(SAID)
    assert isinstance(CASES[0].read()[1], Completion)
