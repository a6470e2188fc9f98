"""The scripted engine's rules."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from cf_gemma.emulator import Fault, Reply, ScriptedEngine, ToolCallSpec
from cf_gemma.emulator.chat import ChatRequest
from cf_gemma.emulator.engines import Ending, Event, Opening, Step
from cf_gemma.emulator.faults import Refusal
from cf_gemma.model.completion import ReasoningDelta, TextDelta, ToolCallDelta

if TYPE_CHECKING:
    from collections.abc import Callable


def request(**options: Any) -> ChatRequest:
    """A checked request."""
    return ChatRequest.from_body({"messages": [{"role": "user", "content": "How are you?"}], **options})


def events(reply: Reply | str | Fault, **options: Any) -> list[Event]:
    """Everything that a script of one reply gives."""
    return list(ScriptedEngine([reply]).generate(request(**options), threading.Event()))


def pieces(reply: Reply | str, **options: Any) -> list[str]:
    """The words of each delta."""
    deltas = [event.delta for event in events(reply, **options) if isinstance(event, Step)]
    return [delta.arguments if isinstance(delta, ToolCallDelta) else delta.text for delta in deltas]


def ending(reply: Reply | str, **options: Any) -> Ending:
    """How it ends."""
    last = events(reply, **options)[-1]
    assert isinstance(last, Ending)
    return last


def test_a_string_is_a_reply() -> None:
    """A bare string is enough; it comes word by word, and no character is lost."""
    assert events("Hello  there!\n") == [
        Opening(3),
        Step(TextDelta("Hello")),
        Step(TextDelta("  there!")),
        Step(TextDelta("\n")),
        Ending("stop", 1),
    ]


def test_pieces_go_out_as_they_are() -> None:
    """A text given in pieces is sent in exactly those."""
    assert pieces(Reply(["Hel", "lo", "", " you"])) == ["Hel", "lo", "", " you"]


def test_chunks_hold_several_tokens() -> None:
    """`chunk` tokens make a delta, and are counted with it."""
    steps = [event for event in events(Reply("a b c", chunk=2)) if isinstance(event, Step)]
    assert steps == [Step(TextDelta("a b"), 2), Step(TextDelta(" c"), 1)]


def test_reasoning_follows_the_switch() -> None:
    """Reasoning comes first, unless the request switches thinking off; other switches do nothing."""
    reply = Reply("Fine.", reasoning="Hm.")
    assert pieces(reply) == ["Hm.", "Fine."]
    assert pieces(reply, chat_template_kwargs={"enable_thinking": False}) == ["Fine."]
    assert pieces(reply, enable_thinking=False, reasoning={"effort": "none"}) == ["Hm.", "Fine."]


def test_tool_calls() -> None:
    """A call opens with its name, its arguments follow, spaced as the back-ends space them."""
    reply = Reply(tool_calls=[ToolCallSpec("add", {"a": 1, "b": 2}), ToolCallSpec("now", id="x")])
    deltas = [event.delta for event in events(reply) if isinstance(event, Step)]
    assert deltas[0] == ToolCallDelta(0, None, "add", '{"a":')
    assert deltas[-1] == ToolCallDelta(1, "x", "now", "{}")
    assert "".join(pieces(reply)) == '{"a": 1, "b": 2}{}'
    assert ending(reply).finish_reason == "tool_calls"
    assert pieces(Reply(tool_calls=[ToolCallSpec("broken", '{"a": ')])) == ['{"a":', " "]


def test_max_tokens_cuts() -> None:
    """Reasoning, text and arguments share the budget; what doesn't fit is gone and the reason is `length`."""
    reply = Reply("three four", reasoning="one two")
    assert pieces(reply, max_tokens=3) == ["one", " two", "three"]
    assert ending(reply, max_tokens=3) == Ending("length", 0)
    assert pieces(reply, max_completion_tokens=1, max_tokens=3) == ["one"]
    assert ending(reply, max_tokens=4) == Ending("stop", 1)


def test_default_budget() -> None:
    """A request that names no budget gets 256 tokens, as the service gives."""
    assert len(pieces("word " * 300)) == 256


def test_stop_strings_cut() -> None:
    """The text ends before the earliest stop string, which is named; reasoning is not searched."""
    reply = Reply("one two three", reasoning="two")
    assert "".join(pieces(reply, stop=["three", "two"])) == "twoone "
    assert ending(reply, stop=["three", "two"]).stop == "two"
    assert ending(reply, stop="absent").stop is None


def test_finish_reason_can_be_told() -> None:
    """A script may say any reason, such as a tool choice that failed open."""
    assert ending(Reply(finish_reason="tool_calls")) == Ending("tool_calls", 1)


def test_usage_can_be_told() -> None:
    """Usage that is told is reported, and spread over the deltas without a rest."""
    answered = events(Reply("a b c", usage=(147, 16)))
    assert answered[0] == Opening(147)
    assert sum(event.tokens for event in answered if not isinstance(event, Opening)) == 16


def test_prompt_is_counted() -> None:
    """Words of every message and of the tools count, and an image for 280."""
    image = {"type": "image_url", "image_url": {"url": "data:"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "two words"}, image]}, {"role": "assistant"}]
    assert events("x", messages=messages)[0] == Opening(282)
    assert events("x", tools=[{"type": "function", "function": {"name": "f"}}])[0] == Opening(3 + 2)


def test_logprobs() -> None:
    """Each token of the text has an entry, with as many alternatives as asked for."""
    steps = [event for event in events(Reply("a b", chunk=2), logprobs=True, top_logprobs=2) if isinstance(event, Step)]
    assert [[entry["token"] for entry in step.logprobs or ()] for step in steps] == [["a", " b"]]
    assert len((steps[0].logprobs or ())[0]["top_logprobs"]) == 2


def test_list_is_used_in_order() -> None:
    """Each request takes the next reply."""
    engine = ScriptedEngine(["one", "two"])
    answers = [list(engine.generate(request(), threading.Event()))[1] for _ in range(2)]
    assert answers == [Step(TextDelta("one")), Step(TextDelta("two"))]


def test_running_out_is_refused() -> None:
    """The request after the last reply is refused, not retried, and told why."""
    engine = ScriptedEngine(["one"])
    list(engine.generate(request(), threading.Event()))
    with pytest.raises(Refusal, match="request 2 came, and there are 1 replies; ScriptedEngine") as caught:
        next(engine.generate(request(), threading.Event()))
    assert caught.value.fault.status == 400


@pytest.mark.parametrize("engine", [ScriptedEngine(["one"], repeat=True), ScriptedEngine("one")])
def test_repeating(engine: ScriptedEngine) -> None:
    """With repeat=True, or a single reply, the script never runs out."""
    for _ in range(3):
        assert list(engine.generate(request(), threading.Event()))[1] == Step(TextDelta("one"))


def test_function_sees_the_body() -> None:
    """A function gets the request's JSON body and may answer with anything a list may hold."""
    engine = ScriptedEngine(lambda body: Reply(reasoning=body["messages"][0]["content"]))
    assert list(engine.generate(request(), threading.Event()))[1] == Step(ReasoningDelta("How"))


def test_function_that_raises() -> None:
    """What the function raises is told to the client, so that a failed assertion is not a mystery."""
    engine = ScriptedEngine(lambda body: body["absent"])
    with pytest.raises(Refusal, match="the reply function raised KeyError\\('absent'\\)"):
        next(engine.generate(request(), threading.Event()))


@pytest.mark.parametrize(("reply", "shown"), [(None, "None"), (["Hello!"], "a list")])
def test_function_that_gives_no_reply(reply: Any, shown: str) -> None:
    """What a function gives is checked when it does, and refused, not retried, in a line that says what it may give."""
    with pytest.raises(Refusal, match=f"the reply function returned {shown}; it must return a str, Reply") as caught:
        next(ScriptedEngine(lambda body: reply).generate(request(), threading.Event()))
    assert caught.value.fault.status == 400


WRONG: list[tuple[type[Reply | ToolCallSpec], dict[str, Any], type[Exception], str]] = [
    (Reply, {"text": None}, TypeError, "text must be a str, or a list of them; not None"),
    (Reply, {"reasoning": [1]}, TypeError, "reasoning must be"),
    (Reply, {"tool_calls": [{"name": "f"}]}, TypeError, r'a list of ToolCallSpec objects, such as ToolCallSpec\("add"'),
    (Reply, {"tool_calls": ToolCallSpec("f")}, TypeError, "a list of ToolCallSpec objects"),
    (Reply, {"finish_reason": 1}, TypeError, "finish_reason must be"),
    (Reply, {"usage": (1,)}, TypeError, "usage must be two ints"),
    (Reply, {"chunk": "1"}, TypeError, "chunk must be an int"),
    (Reply, {"error": 429}, TypeError, "error must be a Fault, such as CUT"),
    (Reply, {"delay": "1"}, TypeError, "delay must be seconds"),
    (Reply, {"chunk": 0}, ValueError, "chunk must be at least 1"),
    (Reply, {"gap": -1}, ValueError, "must not be negative"),
    (ToolCallSpec, {"name": None}, TypeError, "name must be a str; not a NoneType"),
    (ToolCallSpec, {"name": "f", "args": [1]}, TypeError, "args must be a dict, or a str of JSON; not a list"),
    (ToolCallSpec, {"name": "f", "args": {"a": {1}}}, TypeError, "args of f can't be written as JSON"),
]


@pytest.mark.parametrize(("make", "fields", "error", "words"), WRONG)
def test_a_reply_is_checked_at_once(
    make: Callable[..., Reply], fields: dict[str, Any], error: type[Exception], words: str
) -> None:
    """A field that isn't what it must be is named where the reply is written."""
    with pytest.raises(error, match=words):
        make(**fields)


def test_fault_before_a_word() -> None:
    """A Fault in the place of a reply is refused at once."""
    with pytest.raises(Refusal) as caught:
        events(Fault(429, 3040))
    assert caught.value.fault.code == 3040


def test_error_after_some_words() -> None:
    """A reply's error comes behind what was said, and nothing ends."""
    generated = ScriptedEngine(Reply("Hi", error=Fault(429, 3040))).generate(request(), threading.Event())
    assert [next(generated), next(generated)] == [Opening(3), Step(TextDelta("Hi"))]
    with pytest.raises(Refusal):
        next(generated)


def test_choices_take_replies_each() -> None:
    """`n` choices take `n` replies, and come interleaved."""
    engine = ScriptedEngine(["a b", "c d e"])
    deltas = [event.delta for event in engine.generate(request(n=2), threading.Event()) if isinstance(event, Step)]
    assert [(delta.choice, delta.text) for delta in deltas if isinstance(delta, TextDelta)] == [
        (0, "a"), (1, "c"), (0, " b"), (1, " d"), (1, " e"),
    ]  # fmt: skip


def test_gap_paces_and_cancel_ends() -> None:
    """Between deltas the engine waits, and does not outlive its listener."""
    cancelled = threading.Event()
    generated = ScriptedEngine(Reply("a b c", gap=30)).generate(request(), cancelled)
    began = time.monotonic()
    assert [next(generated), next(generated)] == [Opening(3), Step(TextDelta("a"))]
    cancelled.set()
    assert list(generated) == []
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("script", [[123], ["fine", None], None, (text for text in ["one"])])
def test_a_script_is_checked_at_once(script: Any) -> None:
    """What isn't a reply is refused when the engine is made, not at the first request."""
    with pytest.raises(TypeError, match="a script is of str, Reply and Fault"):
        ScriptedEngine(script)
