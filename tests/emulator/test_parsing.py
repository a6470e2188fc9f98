"""What the back-ends' parsers make of a model's words, row by row."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_gemma.emulator import Fault, Reply, ToolCallSpec
from cf_gemma.emulator.backends.notation import close, is_whole, write_call, write_cut_call
from cf_gemma.emulator.edge.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Caller

NAMES = ("get_weather", "add")
TOOLS = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in NAMES]
NAMED = {"type": "function", "function": {"name": "add"}}
ROOM = {"max_tokens": 5_000}
PARIS = Reply(tool_calls=[ToolCallSpec("get_weather", {"city": "Paris in the south", "days": 3})])
ADD = Reply(tool_calls=[ToolCallSpec("add", {"a": 1})])
NOTATION = '<|tool_call>call:get_weather{city:<|"|>Paris in'
FUNCTION = {"name": "f", "arguments": "{}"}
RESULT: list[dict[str, Any]] = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": FUNCTION}]},
    {"role": "tool", "tool_call_id": "a", "content": "sunny"},
]


class Answer(NamedTuple):
    """What came, whole or streamed."""

    text: str
    reasoning: str
    calls: list[tuple[str, str]]
    """Names and arguments."""
    finish_reason: str
    stop: Any
    """`stop_reason` or `matched_stop`; a whole answer of S has none."""


def whole(caller: Caller, **options: Any) -> Answer:
    """A whole answer."""
    response = caller.run(**options)
    assert response.status_code == 200, response.text
    choice = response.json()["result"]["choices"][0]
    message = choice["message"]
    return Answer(
        message["content"] or "",
        message.get("reasoning") or message.get("reasoning_content") or "",
        [(call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls") or []],
        choice["finish_reason"],
        choice.get("stop_reason"),
    )


def streamed(caller: Caller, **options: Any) -> Answer:
    """A streamed one, its calls told apart by their openers."""
    choices = [event["choices"][0] for event in caller.events(caller.run(stream=True, **options))[:-3]]
    calls: list[tuple[str, str]] = []
    for piece in [piece for choice in choices for piece in choice["delta"].get("tool_calls") or []]:
        if piece["function"].get("name"):
            calls.append((piece["function"]["name"], ""))
        calls[-1] = (calls[-1][0], calls[-1][1] + piece["function"].get("arguments", ""))
    deltas = [choice["delta"] for choice in choices]
    return Answer(
        "".join(delta.get("content") or "" for delta in deltas),
        "".join(delta.get("reasoning") or delta.get("reasoning_content") or "" for delta in deltas),
        calls,
        choices[-1]["finish_reason"],
        choices[-1].get("stop_reason", choices[-1].get("matched_stop")),
    )


CUT = '{"city": "Paris in'
CLOSED = '{"city": "Paris in"}'
CUT_CALLS = {
    "S": (Answer(NOTATION, "", [], "length", None), Answer("", "", [("get_weather", "")], "length", None)),
    "V-0.22": (Answer(NOTATION, "", [], "length", None), Answer("", "", [("get_weather", CUT)], "length", None)),
    "V-0.25": (
        Answer("", "", [("get_weather", CLOSED)], "tool_calls", None),
        Answer("", "", [("get_weather", CLOSED)], "tool_calls", None),
    ),
    "V-0.32": (
        Answer("", "", [("get_weather", CLOSED)], "tool_calls", None),
        Answer("", "", [("get_weather", CLOSED)], "length", None),
    ),
}


@pytest.mark.parametrize("dialect", CUT_CALLS)
def test_cut_by_max_tokens(serve: Callable[..., Caller], dialect: str) -> None:
    """A call that `max_tokens` cut is closed, emptied or left raw, as each server and version does it."""
    caller = serve(PARIS, dialect=dialect, quirks=("cut_calls",))
    assert (whole(caller, max_tokens=3), streamed(caller, max_tokens=3)) == CUT_CALLS[dialect]


@pytest.mark.parametrize("dialect", CUT_CALLS)
def test_cut_without_the_quirk(serve: Callable[..., Caller], dialect: str) -> None:
    """Without the quirk it comes as far as it came, and says `length`."""
    caller = serve(PARIS, dialect=dialect, quirks=())
    expected = Answer("", "", [("get_weather", CUT)], "length", None)
    assert (whole(caller, max_tokens=3), streamed(caller, max_tokens=3)) == (expected, expected)


def test_cut_calls_are_drawn(serve: Callable[..., Caller]) -> None:
    """By default a cut call comes as the server makes it, or as far as it came, drawn for each request."""
    caller = serve(PARIS, dialect="V-0.32")
    calls = [call for _ in range(20) for call in whole(caller, max_tokens=3).calls]
    assert set(calls) == {("get_weather", CUT), ("get_weather", CLOSED)}


CUT_BY_STOP = {
    "S": (Answer(NOTATION, "", [], "stop", None), Answer("", "", [("get_weather", "")], "tool_calls", " the")),
    "V-0.22": (
        Answer(NOTATION, "", [], "stop", " the"),
        Answer("", "", [("get_weather", CUT)], "tool_calls", " the"),
    ),
    **dict.fromkeys(("V-0.25", "V-0.32"), (Answer("", "", [("get_weather", CLOSED)], "tool_calls", " the"),) * 2),
}


@pytest.mark.parametrize("dialect", CUT_BY_STOP)
def test_cut_by_a_stop_string(serve: Callable[..., Caller], dialect: str) -> None:
    """A stop string is looked for in arguments, too, and then stands where the number of a token would."""
    caller = serve(PARIS, dialect=dialect, quirks=("cut_calls",))
    assert (whole(caller, stop=" the"), streamed(caller, stop=" the")) == CUT_BY_STOP[dialect]


@pytest.mark.parametrize("dialect", CUT_CALLS)
def test_calls_before_the_cut_are_whole(serve: Callable[..., Caller], dialect: str) -> None:
    """Only the last call is cut; one that ends where `max_tokens` does isn't."""
    two = Reply(tool_calls=[*ADD.tool_calls, *PARIS.tool_calls])
    caller = serve(two, dialect=dialect, quirks=("cut_calls",))
    assert whole(caller, max_tokens=2).calls == streamed(caller, max_tokens=2).calls == [("add", '{"a": 1}')]
    assert streamed(caller, max_tokens=4).calls[0] == ("add", '{"a": 1}')


def test_length_rides_on_the_last_words_of_v(serve: Callable[..., Caller]) -> None:
    """V has no chunk of its own for `length`: it stands with the last text, thought or arguments, as S's never does."""
    replies = [Reply("a b c"), Reply(reasoning="a b c"), Reply(tool_calls=[ToolCallSpec("add", '{"a": 1, "b": 2}')])]
    for dialect, expected in (("V", [{"content"}, {"reasoning"}, {"tool_calls"}]), ("S", [{"reasoning_content"}] * 3)):
        caller = serve(replies, dialect=dialect, tool_calls="fragments")
        last = [caller.events(caller.run(stream=True, max_tokens=2))[-4] for _ in replies]
        assert [set(chunk["choices"][0]["delta"]) for chunk in last] == expected
        assert {chunk["choices"][0]["finish_reason"] for chunk in last} == {"length"}
        assert [chunk["usage"]["completion_tokens"] for chunk in last] == [1 if dialect == "V" else 0] * 3


@pytest.mark.parametrize("tool_calls", ["server", "whole", "fragments", "finaliser", "position"])
@pytest.mark.parametrize("dialect", CUT_CALLS)
@pytest.mark.parametrize("quirks", [(), ("cut_calls",)])
def test_order_of_a_cut_call(serve: Callable[..., Caller], dialect: str, tool_calls: str, quirks: Any) -> None:
    """However it is cut into deltas, the name of a call comes first, its arguments in order, and the reason last."""
    caller = serve(PARIS, dialect=dialect, tool_calls=tool_calls, quirks=quirks)
    _, expected = CUT_CALLS[dialect] if quirks else (None, Answer("", "", [("get_weather", CUT)], "length", None))
    assert streamed(caller, max_tokens=3, tools=TOOLS) == expected
    choices = [event["choices"][0] for event in caller.events(caller.run(stream=True, max_tokens=3))[:-3]]
    assert [choice["finish_reason"] for choice in choices[:-1]] == [None] * (len(choices) - 1)
    pieces = [piece for choice in choices for piece in choice["delta"].get("tool_calls") or []]
    assert (pieces[-1]["function"] == {"name": None, "arguments": ""}) is (tool_calls == "finaliser")


@pytest.mark.parametrize("dialect", ["S", "V"])
def test_what_ends_an_answer(serve: Callable[..., Caller], dialect: str) -> None:
    """106 ends a text, 50 a turn of calls, a stop string itself, and `length` has nothing."""
    caller = serve(lambda body: ADD if "tools" in body else "one two three", dialect=dialect)
    ends = [streamed(caller, **options).stop for options in ({}, {"tools": TOOLS}, {"stop": "two"}, {"max_tokens": 1})]
    assert ends == [106, 50, "two", None]


@pytest.mark.parametrize(
    ("dialect", "whole_reason", "streamed_reason"), [("V", "tool_calls", "stop"), ("S", "stop", "stop")]
)
def test_required_call_that_is_not_made(
    serve: Callable[..., Caller], dialect: str, whole_reason: str, streamed_reason: str
) -> None:
    """V enforces no required call: a whole answer without one says `tool_calls`, a stream `stop`."""
    caller = serve("I would rather not.", dialect=dialect)
    options: dict[str, Any] = {"tools": TOOLS, "tool_choice": "required"}
    answers = whole(caller, **options), streamed(caller, **options)
    assert [answer.finish_reason for answer in answers] == [whole_reason, streamed_reason]
    assert [(answer.text, answer.calls) for answer in answers] == [("I would rather not.", [])] * 2


@pytest.mark.parametrize(
    ("dialect", "reason"), [("V-0.22", "stop"), ("V-0.25", "tool_calls"), ("V-0.32", "tool_calls"), ("S", "tool_calls")]
)
def test_named_call(serve: Callable[..., Caller], dialect: str, reason: str) -> None:
    """A named call ends with `stop` where vLLM still enforces it, and otherwise like any call, or isn't made."""
    caller = serve(lambda body: ADD if body["seed"] else "No.", dialect=dialect)
    options: dict[str, Any] = {"tools": TOOLS, "tool_choice": NAMED, **ROOM}
    for answer in (whole(caller, seed=1, **options), streamed(caller, seed=1, **options)):
        assert (answer.finish_reason, answer.calls) == (reason, [("add", '{"a": 1}')])
    assert whole(caller, seed=0, **options).finish_reason == "stop"


SUNNY = Answer("It is sunny.", "", [], "stop", 106)
AS_REASONING = Answer("", "It is sunny.", [], "stop", 106)


@pytest.mark.parametrize("dialect", ["S", "V"])
@pytest.mark.parametrize("thinking", [True, False])
@pytest.mark.parametrize("behind_result", [True, False])
def test_answer_that_comes_as_reasoning(
    serve: Callable[..., Caller], dialect: str, *, thinking: bool, behind_result: bool
) -> None:
    """An answer in no channel is reasoning to S while thinking is on, to V in streams behind a tool's result only."""
    caller = serve(Reply("It is sunny.", as_reasoning=True), dialect=dialect)
    options: dict[str, Any] = {"chat_template_kwargs": {"enable_thinking": thinking}}
    if behind_result:
        options["messages"] = RESULT
    of_s, of_v = thinking, thinking and behind_result
    assert whole(caller, **options)[:3] == (AS_REASONING if dialect == "S" and of_s else SUNNY)[:3]
    assert streamed(caller, **options) == (AS_REASONING if (of_s if dialect == "S" else of_v) else SUNNY)


def test_call_that_comes_as_reasoning(serve: Callable[..., Caller]) -> None:
    """Its call is no call then, but Gemma's own notation."""
    caller = serve(Reply(tool_calls=ADD.tool_calls, as_reasoning=True), dialect="S")
    expected = Answer("", "<|tool_call>call:add{a:1}<tool_call|>", [], "stop", None)
    assert whole(caller, tools=TOOLS) == expected
    assert streamed(caller, tools=TOOLS) == expected._replace(stop=106)
    thoughtless = {"chat_template_kwargs": {"enable_thinking": False}}
    assert whole(caller, tools=TOOLS, **thoughtless).calls == [("add", '{"a": 1}')]


def test_stray_quote_token(serve: Callable[..., Caller]) -> None:
    """Arguments with a stray quote token come as they are, but for a stream of S, which loses them all."""
    arguments = json.dumps({"query": 'weather in Tokyo<|"|>'})
    for dialect, in_stream in (("V", arguments), ("S", "")):
        caller = serve(Reply(tool_calls=[ToolCallSpec("search", arguments)]), dialect=dialect, tool_calls="server")
        assert whole(caller).calls == [("search", arguments)]
        assert streamed(caller).calls == [("search", in_stream)]


@pytest.mark.parametrize("tool_calls", ["server", "whole", "fragments", "finaliser"])
@pytest.mark.parametrize("dialect", ["S", "V"])
def test_call_that_breaks_off(serve: Callable[..., Caller], dialect: str, tool_calls: str) -> None:
    """What had come of a call before an error goes out before it, however calls are cut."""
    script = Reply(tool_calls=PARIS.tool_calls, error=Fault.of(3040))
    caller = serve(script, dialect=dialect, tool_calls=tool_calls)
    *_, before, error = caller.events(caller.run(stream=True))
    assert error["errors"][0]["code"] == 3040
    assert before["choices"][0]["delta"]["tool_calls"]


def test_grammar(serve: Callable[..., Caller]) -> None:
    """By default, a script that calls a tool against `response_format` is refused in words that say so."""
    caller = serve(lambda body: ADD if body["seed"] else "{}")
    options: dict[str, Any] = {"tools": TOOLS, "response_format": {"type": "json_object"}}
    for stream in (False, True):
        assert "response_format forbids tool calls" in caller.run(seed=1, stream=stream, **options).text
    assert whole(caller, seed=0, **options).text == "{}"
    assert whole(caller, seed=1, tools=TOOLS).calls == [("add", '{"a": 1}')]
    assert whole(serve(ADD, quirks=()), **options).calls == [("add", '{"a": 1}')]


@pytest.mark.parametrize(("dialect", "status"), [("S", 400), ("V", 200)])
@pytest.mark.parametrize("arguments", ['"{"', "[1]", "null"])
def test_history(serve: Callable[..., Caller], dialect: str, status: int, arguments: str) -> None:
    """By default, S refuses earlier arguments that are JSON and no object; V makes do with them."""
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    messages = [RESULT[0], {"role": "assistant", "tool_calls": [call]}, RESULT[2]]
    response = serve("Hello!", dialect=dialect).run(messages=messages)
    assert response.status_code == status
    assert status == 200 or "must be a JSON object" in response.text
    assert serve("Hello!", dialect=dialect, quirks=()).run(messages=messages).status_code == 200


def test_quirks_of_one_request(serve: Callable[..., Caller]) -> None:
    """A header names the quirks of a request; one that there isn't is refused in words that list what there is."""
    caller = serve(PARIS, dialect="V-0.32", quirks=())
    quirky = caller.run({"x-emulator-quirks": "grammar, cut_calls"}, max_tokens=3).json()["result"]["choices"][0]
    assert quirky["message"]["tool_calls"][0]["function"]["arguments"] == CLOSED
    assert whole(caller, max_tokens=3).calls == [("get_weather", CUT)]
    refused = caller.run({"x-emulator-quirks": "cut"})
    assert refused.status_code == 400
    assert "x-emulator-quirks must be random or a tuple of cut_calls, grammar, history, not ('cut',)" in refused.text


@pytest.mark.parametrize("stream", [True, False])
def test_logprobs_of_v(serve: Callable[..., Caller], *, stream: bool) -> None:
    """V has an entry for each token of a character, empty but for the last, and one for the token that ended it."""
    caller = serve(Reply(["Hi ", "😀"]), dialect="V")
    response = caller.run(logprobs=True, top_logprobs=1, stream=stream)
    choices = (
        [event["choices"][0] for event in caller.events(response)[:-3]]
        if stream
        else response.json()["result"]["choices"]
    )
    entries = [entry for choice in choices for entry in (choice["logprobs"] or {"content": []})["content"]]
    assert [entry["token"] for entry in entries] == ["Hi ", "", "", "", "😀", "<turn|>"]
    assert [entry["bytes"] for entry in entries if not entry["token"]] == [[]] * 3
    of_s = serve(Reply(["Hi ", "😀"]), dialect="S").run(logprobs=True).json()["result"]["choices"][0]
    assert [entry["token"] for entry in of_s["logprobs"]["content"]] == ["Hi ", "😀"]


@pytest.mark.parametrize(("name", "versions"), [("S", 1), ("V", 3), ("V-0.25", 1)])
def test_every_version_of_v_is_drawn(name: Any, versions: int) -> None:
    """V alone stands for all its versions, S for one."""
    settings = Settings(dialect=name)
    assert len({id(settings.draw(settings.random(number)).dialect) for number in range(40)}) == versions


def test_notation() -> None:
    """Gemma's own notation: bare keys, texts between quote tokens, all else as JSON has it."""
    arguments = json.dumps({"note": 'a "b" {c}', "tags": ["x", "y"], "who": {"age": -1.5, "vip": True}, "no": None})
    assert write_call("book", arguments) == (
        '<|tool_call>call:book{note:<|"|>a "b" {c}<|"|>,tags:[<|"|>x<|"|>,<|"|>y<|"|>],who:{age:-1.5,vip:true},no:null}'
        "<tool_call|>"
    )
    assert write_call("now", "{}") == "<|tool_call>call:now{}<tool_call|>"
    assert write_cut_call("f", '{"a": ["x", "y') == '<|tool_call>call:f{a:[<|"|>x<|"|>,<|"|>y'
    assert write_cut_call("f", "") == "<|tool_call>call:f{"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), VALUES, max_size=4), st.integers(0, 200))
def test_a_cut_object_can_be_closed(value: dict[str, Any], length: int) -> None:
    """Wherever the JSON of an object is cut, closing it gives an object, and all of it that was there."""
    arguments = json.dumps(value)
    begun = arguments[: min(length, len(arguments))]
    closed = json.loads(close(begun))
    assert isinstance(closed, dict)
    assert is_whole(close(begun))
    assert close(arguments) == json.dumps(value, ensure_ascii=False)
    assert list(closed) == list(value)[: len(closed)]
