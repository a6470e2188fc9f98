"""How streamed tool calls are cut."""

from __future__ import annotations

import pytest

from cf_gemma.completion import TextDelta, ToolCallDelta
from cf_gemma.emulator.backends import DIALECTS
from cf_gemma.emulator.backends.styles import ToolCallStyle, cut
from cf_gemma.emulator.engines import Ending, Event, Opening, Step

EVENTS: list[Event] = [
    Opening(1),
    Step(TextDelta("Let me see.")),
    Step(ToolCallDelta(0, "a", "add", '{"x":')),
    Step(ToolCallDelta(0, arguments=" 1}")),
    Step(ToolCallDelta(1, "b", "now", "{}")),
    Ending("tool_calls", 1),
]


def calls(style: ToolCallStyle) -> list[ToolCallDelta]:
    """The tool-call deltas of EVENTS in this style."""
    events = cut(EVENTS, style, ["now", "mul", "add"])
    return [event.delta for event in events if isinstance(event, Step) and isinstance(event.delta, ToolCallDelta)]


def test_whole() -> None:
    """Each call comes complete, in one delta."""
    assert calls("whole") == [ToolCallDelta(0, "a", "add", '{"x": 1}'), ToolCallDelta(1, "b", "now", "{}")]


def test_fragments() -> None:
    """An opener has the name alone; the arguments follow in pieces without it."""
    opener, *pieces = calls("fragments")[:3]
    assert opener == ToolCallDelta(0, "a", "add", "")
    assert [(piece.id, piece.name, piece.arguments) for piece in pieces] == [(None, None, '{"x":'), (None, None, " 1}")]


def test_finaliser() -> None:
    """A delta that says nothing follows each call."""
    assert [i for i, delta in enumerate(calls("finaliser")) if delta == ToolCallDelta(delta.index)] == [3, 6]


def test_position() -> None:
    """Indices are the places of the tools in the request, not of the calls in the answer."""
    assert [delta.index for delta in calls("position")] == [2, 2, 2, 0, 0]


@pytest.mark.parametrize("style", ["whole", "fragments", "finaliser", "position"])
def test_nothing_is_lost(style: ToolCallStyle) -> None:
    """Whatever the style: the same arguments, the same tokens, the same order of everything else."""
    events = list(cut(EVENTS, style, ["now", "add"]))
    assert "".join(delta.arguments for delta in calls(style)) == '{"x": 1}{}'
    assert sum(event.tokens for event in events if isinstance(event, Step)) == 4
    assert [type(event) for event in events if not isinstance(event, Step)] == [Opening, Ending]


def test_finaliser_on_the_wire() -> None:
    """The null delta is spelled out on both back-ends."""
    step = Step(ToolCallDelta(0), 0)
    assert DIALECTS["V"].step(step)["delta"] == {
        "tool_calls": [{"id": None, "type": None, "index": 0, "function": {"name": None, "arguments": ""}}]
    }
    assert DIALECTS["S"].step(step)["delta"]["tool_calls"] == [
        {"function": {"arguments": "", "name": None}, "id": None, "index": 0, "type": None}
    ]


def test_openers_on_the_wire() -> None:
    """V's opener has no `arguments` key, and its pieces have nothing but arguments, as published."""
    opener = Step(ToolCallDelta(0, "chatcmpl-tool-1", "add_todo"))
    piece = Step(ToolCallDelta(0, arguments="go"))
    assert DIALECTS["V"].step(opener)["delta"] == {
        "tool_calls": [{"id": "chatcmpl-tool-1", "type": "function", "index": 0, "function": {"name": "add_todo"}}]
    }
    assert DIALECTS["V"].step(piece)["delta"] == {"tool_calls": [{"index": 0, "function": {"arguments": "go"}}]}
