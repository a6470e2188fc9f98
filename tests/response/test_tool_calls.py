from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from cf_gemma.model.completion import Choice, InvalidToolCall, ToolCall, ToolCallDelta
from cf_gemma.response.tool_calls import ToolCallAssembler
from cf_gemma.response.validity import judged
from tests.response.wire import Call, ToolStyle, tool_pieces

Entry = dict[str, Any]

TWO = [Call("call_1", "add", '{"x":1,"y":[2]}'), Call("call_2", "add", '{"x":3}')]


def assembled(
    *arrays: list[Any], cut: bool = False
) -> tuple[list[ToolCallDelta], tuple[ToolCall, ...], tuple[InvalidToolCall, ...]]:
    """The deltas, the calls and the invalid calls of these `tool_calls` arrays, one a chunk."""
    assembler = ToolCallAssembler()
    deltas = [delta for array in arrays for delta in assembler.feed(array, "answer")]
    choice = Choice(calls=judged(assembler.close(cut=cut), None, None))
    return deltas, choice.tool_calls, choice.invalid_tool_calls


def entry(arguments: Any = None, *, name: str | None = None, id: str | None = None, index: int | None = 0) -> Entry:  # noqa: A002 - the wire's word
    """One entry, without the keys that are None."""
    function = {"name": name, "arguments": arguments}
    whole = {"id": id, "index": index, "function": {k: v for k, v in function.items() if v is not None}}
    return {name: value for name, value in whole.items() if value is not None}


def merged(deltas: list[ToolCallDelta]) -> dict[int, tuple[str | None, str | None, str]]:
    """What someone who only sees the deltas knows of each call; checks that id and name come first and once."""
    calls: dict[int, tuple[str | None, str | None, str]] = {}
    for delta in deltas:
        if delta.index in calls:
            assert (delta.id, delta.name) == (None, None)
            known = calls[delta.index]
            calls[delta.index] = known[0], known[1], known[2] + delta.arguments
        else:
            assert delta.id
            assert delta.name
            calls[delta.index] = delta.id, delta.name, delta.arguments
    return calls


@pytest.mark.parametrize("style", get_args(ToolStyle))
def test_two_calls_in_every_manner(style: ToolStyle) -> None:
    """Two parallel calls come out the same in every manner that has been met, and so do their deltas."""
    deltas, calls, invalid = assembled(*tool_pieces(TWO, style))
    assert calls == tuple(ToolCall(one.id, one.name, one.arguments, json.loads(one.arguments)) for one in TWO)
    assert invalid == ()
    assert merged(deltas) == {place: (one.id, one.name, one.arguments) for place, one in enumerate(TWO)}


@pytest.mark.parametrize(
    ("arrays", "names_and_arguments"),
    [
        pytest.param([[{"name": "f", "arguments": {"a": 1}}]], [("f", '{"a":1}')], id="native, object"),
        pytest.param([[{"name": "f", "arguments": '{"a": 1}'}]], [("f", '{"a": 1}')], id="native, text"),
        pytest.param(
            [[{"name": "f", "arguments": {}}] * 2], [("f", "{}"), ("f", "{}")], id="native, two"
        ),
        pytest.param(
            [[{"name": "f", "arguments": {}}], [{"name": "g", "arguments": {}}]], [("f", "{}"), ("g", "{}")],
            id="native, one a chunk",
        ),
        pytest.param([[entry(name="f", id="a")]], [("f", "{}")], id="no arguments"),
        pytest.param([[entry("", name="f", id="a")]], [("f", "{}")], id="empty arguments"),
        pytest.param([[entry(" \n", name="f", id="a")]], [("f", "{}")], id="blank arguments"),
        pytest.param([[entry('{"a"', name="f", id="a")], [entry(":1}")]], [("f", '{"a":1}')], id="begins with a piece"),
        pytest.param([[entry("{}", name="f", id="a", index=7)]], [("f", "{}")], id="index gap"),
        pytest.param(
            [[entry("{}", name="f", id="a", index=9)], [entry("{}", name="g", id="b", index=2)]],
            [("f", "{}"), ("g", "{}")],
            id="indices fall",
        ),
        pytest.param(
            [[entry('{"a"', name="f", id="a")], [entry(":1}", name="", id="")], [entry("")]], [("f", '{"a":1}')],
            id="empty name and id afterwards",
        ),
        pytest.param(
            [[entry('{"a"', name="f")], [entry(":1}", name="f")]], [("f", '{"a":1}')], id="name repeated, no id",
        ),
        pytest.param([[entry(name="f", id="a")], [None, "junk", 7, entry("{}")]], [("f", "{}")], id="junk beside it"),
        pytest.param([[{"id": None, "index": 0, "function": {"name": None, "arguments": ""}}]], [], id="nulls alone"),
        pytest.param([[{"id": "a", "index": True, "function": {"name": "f"}}]], [("f", "{}")], id="index true"),
        pytest.param([[]], [], id="empty array"),
    ],
)  # fmt: skip
def test_quirks(arrays: list[list[Any]], names_and_arguments: list[tuple[str, str]]) -> None:
    """Every known way to write a call gives that call."""
    deltas, calls, invalid = assembled(*arrays)
    assert [(call.name, call.arguments) for call in calls] == names_and_arguments
    assert invalid == ()
    assert [(name, arguments.strip() or "{}") for _, name, arguments in merged(deltas).values()] == names_and_arguments


@pytest.mark.parametrize(
    "arguments",
    [
        '{"a',
        '{"a": 1',
        '{"a": 1}}',
        "[1]",
        "7",
        "null",
        '"text"',
        '{"a": NaN}',
        "{'a': 1}",
        "[" * 100_000,
        '{"a": "\\ud800"}',
    ],
)
def test_what_is_no_json_object_never_becomes_a_valid_call(arguments: str) -> None:
    """Cut or broken arguments make an invalid call that keeps them as they came."""
    _, calls, invalid = assembled([entry(arguments, name="f", id="a")])
    assert calls == ()
    assert [(call.id, call.name, call.arguments) for call in invalid] == [("a", "f", arguments)]
    assert "JSON" in invalid[0].error


@pytest.mark.parametrize("arrays", [[[entry(name="f", id="a")]], [[entry("", name="f", id="a")]]])
def test_a_call_that_was_cut_before_its_arguments_is_invalid(arrays: list[list[Entry]]) -> None:
    """Where the answer was cut, no arguments are not "no arguments needed": the call must not be executed."""
    _, calls, invalid = assembled(*arrays, cut=True)
    assert calls == ()
    assert [call.name for call in invalid] == ["f"]


def test_a_whole_call_stays_valid_in_a_cut_answer() -> None:
    """Arguments that are a complete object can't have been cut."""
    _, calls, invalid = assembled(
        [entry('{"a":1}', name="f", id="a")], [entry('{"b', name="g", id="b", index=1)], cut=True
    )
    assert [call.name for call in calls] == ["f"]
    assert [call.name for call in invalid] == ["g"]


def test_a_call_without_a_name_is_invalid() -> None:
    """Arguments whose function never gets a name are kept, and are no call; no delta shows them."""
    deltas, calls, invalid = assembled([entry('{"a":1}', id="a")])
    assert (deltas, calls) == ([], ())
    assert [(call.id, call.name, call.arguments) for call in invalid] == [("a", "", '{"a":1}')]


@pytest.mark.parametrize("ids", [(None, None), ("same", "same"), ("", "")])
def test_ids_are_unique_and_the_same_each_time(ids: tuple[str | None, str | None]) -> None:
    """Ids that the wire left out or gave twice are made, alike whenever the same answer is read again."""
    arrays = [[entry("{}", name="f", id=one, index=place) for place, one in enumerate(ids)]]
    first, second = assembled(*arrays)[1], assembled(*arrays)[1]
    assert first == second
    assert len({call.id for call in first}) == 2
    assert all(call.id for call in first)


def test_pieces_without_an_index_go_by_their_id() -> None:
    """Arguments that come alone, with an id and no index, belong to the call of that id."""
    openers = [entry("", name=name, id=name, index=None) for name in ("f", "g")]
    pieces = [entry(text, id=name, index=None) for name, text in (("f", '{"x":1}'), ("g", '{"y":'), ("g", "2}"))]
    _, calls, invalid = assembled(openers, *[[piece] for piece in pieces])
    assert [(call.name, call.args) for call in calls] == [("f", {"x": 1}), ("g", {"y": 2})]
    assert invalid == ()


def test_another_name_is_another_call() -> None:
    """Calls without ids and arguments, one after the other, are all there."""
    _, calls, invalid = assembled([{"name": "ping"}], [{"name": "pong"}])
    assert [(call.name, call.args) for call in calls] == [("ping", {}), ("pong", {})]
    assert invalid == ()


def test_a_call_that_is_told_twice_is_one() -> None:
    """The same whole call again says nothing new."""
    deltas, calls, invalid = assembled(*[[entry('{"x":1}', name="f", id="call_1")]] * 2)
    assert [(call.id, call.args) for call in calls] == [("call_1", {"x": 1})]
    assert (len(deltas), invalid) == (1, ())


@pytest.mark.parametrize("second", [("g", '{"q":2}'), ("f", '{"q":2}')])
def test_calls_that_share_an_id(second: tuple[str, str]) -> None:
    """Two calls under one id, without indices, are two; the second gets an id of its own."""
    name, arguments = second
    together = [entry('{"q":1}', name="f", id="x", index=None), entry(arguments, name=name, id="x", index=None)]
    for arrays in ([together], [[one] for one in together]):
        _, calls, invalid = assembled(*arrays)
        assert [(call.name, call.args) for call in calls] == [("f", {"q": 1}), (name, {"q": 2})]
        assert len({call.id for call in calls}) == 2
        assert invalid == ()


@pytest.mark.parametrize("id_", ["x", None])
@pytest.mark.parametrize("index", [0, None])
@pytest.mark.parametrize(("rest", "valid"), [("\n", True), ("  ", True), ("}", False), ("x", False)])
def test_what_comes_after_whole_arguments_makes_no_call(
    id_: str | None, index: int | None, rest: str, valid: bool
) -> None:
    """Id and name that come again with a last blank, or with junk, never make a second call that could be executed."""
    _, calls, invalid = assembled(*[[entry(text, name="wipe", id=id_, index=index)] for text in ('{"x":1}', rest)])
    assert [call.args for call in calls] == ([{"x": 1}] if valid else [])
    assert len(invalid) == (0 if valid else 1)


def test_pieces_of_two_calls_that_share_an_id() -> None:
    """What comes under a shared id, without an index, goes on with the later call."""
    first, second = entry('{"q":1}', name="f", id="x", index=None), entry('{"q":', name="g", id="x", index=None)
    _, calls, invalid = assembled([first], [second], [entry("2}", id="x", index=None)])
    assert [(call.name, call.args) for call in calls] == [("f", {"q": 1}), ("g", {"q": 2})]
    assert invalid == ()


def test_calls_stand_in_the_models_own_order() -> None:
    """Valid or not, a call's place is the index of its deltas."""
    assembler = ToolCallAssembler()
    entries = [entry('{"x":', name="f", id="1"), entry("{}", name="g", id="2", index=1), entry("{}", index=2)]
    deltas = list(assembler.feed(entries, "answer"))
    calls = assembler.close(cut=False)
    assert {delta.id: delta.index for delta in deltas} == {call.id: i for i, call in enumerate(calls) if call.name}
    assert [isinstance(call, ToolCall) for call in calls] == [False, True, False]


def test_calls_keep_the_order_in_which_they_began() -> None:
    """A call whose name comes late keeps its place among the others, in the deltas and at the end."""
    deltas, calls, _ = assembled(
        [entry('{"a":', id="a", index=0)], [entry("{}", name="g", id="b", index=1)], [entry("1}", name="f", index=0)]
    )
    assert [call.name for call in calls] == ["f", "g"]
    assert merged(deltas) == {1: ("b", "g", "{}"), 0: ("a", "f", '{"a":1}')}
