"""How streamed tool calls are cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import pytest

from cf_gemma.emulator.backends import DIALECTS
from cf_gemma.emulator.backends.styles import ToolCallStyle, cut
from cf_gemma.emulator.edge.validation import check
from cf_gemma.emulator.engines import Ending, Event, Opening, Step
from cf_gemma.model.completion import TextDelta, ToolCallDelta

if TYPE_CHECKING:
    from collections.abc import Sequence

EVENTS: list[Event] = [
    Opening(1),
    Step(TextDelta("Let me see.")),
    Step(ToolCallDelta(0, "a", "add", '{"x":')),
    Step(ToolCallDelta(0, arguments=" 1}")),
    Step(ToolCallDelta(1, "b", "now", "{}")),
    Ending("tool_calls", 1),
]


def styled(
    style: ToolCallStyle, dialect: str = "V", tools: Sequence[str] = ("now", "mul", "add"), **options: Any
) -> list[Event]:
    """EVENTS in this style, as the answer to a request with these tools."""
    functions = [{"type": "function", "function": {"name": name}} for name in tools]
    chat = check({"prompt": "Hi", "tools": functions, **options})
    return list(cut(EVENTS, style, DIALECTS[dialect][0], chat))


def calls(style: ToolCallStyle, dialect: str = "V", **options: Any) -> list[ToolCallDelta]:
    """The tool-call deltas of them."""
    events = styled(style, dialect, **options)
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


def test_manner_of_s() -> None:
    """S opens each call with its name and gives all arguments in one delta, both under the place of the tool."""
    assert calls("server", "S") == [
        ToolCallDelta(2, "a", "add", ""),
        ToolCallDelta(2, None, None, '{"x": 1}'),
        ToolCallDelta(0, "b", "now", ""),
        ToolCallDelta(0, None, None, "{}"),
    ]


def test_manner_of_s_with_an_unknown_tool() -> None:
    """A tool that the request doesn't have is at -1."""
    assert [delta.index for delta in calls("server", "S", tools=["now"])] == [-1, -1, 0, 0]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add"}}])
def test_manner_of_s_where_a_call_is_forced(choice: Any) -> None:
    """Where a grammar forces the call, S gives its arguments in small pieces, under the call's own index."""
    assert calls("server", "S", tool_choice=choice, max_tokens=4096) == calls("fragments")


def test_manner_of_v() -> None:
    """V gives the arguments in pieces."""
    assert calls("server", "V") == calls("fragments")


@pytest.mark.parametrize("dialect", ["S", "V"])
@pytest.mark.parametrize("style", get_args(ToolCallStyle))
def test_nothing_is_lost(style: ToolCallStyle, dialect: str) -> None:
    """Whatever the style: the same arguments, the same tokens, the same order of everything else."""
    events = styled(style, dialect)
    assert "".join(delta.arguments for delta in calls(style, dialect)) == '{"x": 1}{}'
    assert sum(event.tokens for event in events if isinstance(event, Step)) == 4
    assert [type(event) for event in events if not isinstance(event, Step)] == [Opening, Ending]


def test_finaliser_on_the_wire() -> None:
    """The null delta is spelled out on both back-ends."""
    step = Step(ToolCallDelta(0), 0)
    assert DIALECTS["V"][0].step(step)["delta"] == {
        "tool_calls": [{"id": None, "type": None, "index": 0, "function": {"name": None, "arguments": ""}}]
    }
    assert DIALECTS["S"][0].step(step)["delta"]["tool_calls"] == [
        {"function": {"arguments": "", "name": None}, "id": None, "index": 0, "type": None}
    ]


def test_openers_on_the_wire() -> None:
    """V's opener has no `arguments` key, and its pieces have nothing but arguments, as published."""
    opener = Step(ToolCallDelta(0, "chatcmpl-tool-1", "add_todo"))
    piece = Step(ToolCallDelta(0, arguments="go"))
    assert DIALECTS["V"][0].step(opener)["delta"] == {
        "tool_calls": [{"id": "chatcmpl-tool-1", "type": "function", "index": 0, "function": {"name": "add_todo"}}]
    }
    assert DIALECTS["V"][0].step(piece)["delta"] == {"tool_calls": [{"index": 0, "function": {"arguments": "go"}}]}
