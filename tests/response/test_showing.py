"""What is handed out of a call's arguments as they come is, all in all, what the call has in the end."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_gemma.model.completion import Choice, ToolCall, ToolCallDelta
from cf_gemma.request.http_request import HttpRequest
from cf_gemma.response.answer import AnswerBuilder

SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "x": {"type": "number"},
        "on": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "integer"}},
        "none": {"type": "integer", "nullable": True},
    },
}
REQUEST: Final = HttpRequest("https://x.test", {}, b"", stream=True, tools={"go": SCHEMA})


def streamed(arguments: str, cuts: list[int]) -> tuple[list[str], Choice]:
    """The pieces of arguments that are handed out where they come cut at these places; and the choice."""
    answer, deltas = AnswerBuilder(request=REQUEST), []
    places = sorted({0, *(cut % (len(arguments) + 1) for cut in cuts), len(arguments)})
    pieces = [arguments[begin:end] for begin, end in pairwise(places)]
    opener = {"index": 0, "id": "a", "function": {"name": "go", "arguments": ""}}
    calls = [opener, *({"index": 0, "function": {"arguments": piece}} for piece in pieces)]
    for call in calls:
        answer.add({"id": "x", "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}, deltas)
    answer.add({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}, deltas)
    answer.close(deltas)
    shown = [delta.arguments for delta in deltas if isinstance(delta, ToolCallDelta)]
    return shown, answer.completion().choices[0]


@pytest.mark.parametrize(
    ("arguments", "args"),
    [
        ('{"city": "Paris", "days": 3}', {"city": "Paris", "days": 3}),
        ('{"city": "3", "days": "3", "x": "1e3"}', {"city": "3", "days": 3, "x": 1000.0}),
        ('{"on": "true", "tags": ["1", 2, "3"], "none": "null"}', {"on": True, "tags": [1, 2, 3], "none": None}),
        ('{"city": "a <| b", "days": "-7"}', {"city": "a <| b", "days": -7}),
        (r'{"city": "weather in Tokyo<|\"|>"}', {"city": "weather in Tokyo"}),
        (r'{"city": "say: \"3\", \"null\"", "days": "4"}', {"city": 'say: "3", "null"', "days": 4}),
        ('{"days": "007", "city": "x"}', {"days": 7, "city": "x"}),
        ("null", {}),
    ],
)
@given(cuts=st.lists(st.integers(0, 100), max_size=12))
def test_bent_arguments(arguments: str, args: dict[str, Any], cuts: list[int]) -> None:
    """However the arguments come, the pieces' sum is the text of the call's own arguments."""
    shown, choice = streamed(arguments, cuts)
    (call,) = choice.tool_calls
    assert call.args == args
    assert json.loads("".join(shown)) == args
    assert "".join(shown) == call.arguments


@pytest.mark.parametrize(
    "arguments", [r'{"city": "Paris", "France<|\"|>,days": "5"}', '{"city": "Pa', "[1]", "nul", "{"]
)
@given(cuts=st.lists(st.integers(0, 100), max_size=12))
def test_what_is_not_valid_is_shown_as_it_came(arguments: str, cuts: list[int]) -> None:
    """The pieces of a call that must not run are the text that came."""
    shown, choice = streamed(arguments, cuts)
    assert choice.tool_calls == ()
    assert "".join(shown) == arguments == choice.invalid_tool_calls[0].arguments


VALUES = st.recursive(
    st.one_of(
        st.text(), st.sampled_from(["3", "null", "1e3", "true", "<|", '<|"|>', "-", "t"]), st.integers(), st.none()
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    args=st.dictionaries(st.sampled_from(list(SCHEMA["properties"])) | st.text(), VALUES), cuts=st.lists(st.integers(0))
)
def test_any_arguments(args: dict[str, Any], cuts: list[int]) -> None:
    """Of any arguments, what was handed out is what the call has: as it was restored, or as it came."""
    arguments = json.dumps(args)
    shown, choice = streamed(arguments, cuts)
    (call,) = choice.calls
    same = call.arguments if isinstance(call, ToolCall) else arguments
    assert json.loads("".join(shown)) == json.loads(same)


def test_only_what_may_be_bent_waits() -> None:
    """Texts, and numbers in texts, go out as they come; from a bent value on, the rest waits for the end."""
    arguments = '{"city": "300 words", "tags": [1], "days": "3", "on": true}'
    shown, _ = streamed(arguments, list(range(len(arguments))))
    assert "".join(shown[:-1]) == '{"city": "300 words", "tags": [1], "days": '
    assert shown[-1] == '3, "on": true}'
