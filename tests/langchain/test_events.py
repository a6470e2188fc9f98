"""The native stream of events (v3): its order, and blocks that are finished as soon as they are complete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models.chat_model_stream import ChatModelStream
from langchain_tests.utils.stream_lifecycle import assert_valid_event_stream

from cf_gemma import Choice, Completion, InvalidToolCall, ReasoningDelta, TextDelta, ToolCall, ToolCallDelta
from cf_gemma.emulator import Reply, ToolCallSpec
from cf_gemma.errors import ProtocolError
from langchain_cf_gemma.events import Events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cf_gemma import Delta
    from tests.langchain.conftest import Emulate

pytestmark = pytest.mark.filterwarnings("ignore:.*is in beta")

CUT = '{"path": "/home/an'
END = Completion(
    choices=(
        Choice(
            text="Let me see.",
            reasoning="Hm.",
            calls=(
                ToolCall("a", "add", '{"x": 1}', {"x": 1}),
                ToolCall("b", "now", "", {}),
                InvalidToolCall("c", "delete", CUT, "cut"),
            ),
            finish_reason="length",
        ),
    )
)
DELTAS: list[Delta] = [
    ReasoningDelta("Hm."),
    TextDelta("Let me "),
    TextDelta("see."),
    ToolCallDelta(0, "a", "add", '{"x": 1}'),
    ToolCallDelta(1, "b", "now"),
    ToolCallDelta(2, "c", "delete", CUT),
]


def events_of(items: Sequence[Delta | Completion], **settings: Any) -> list[dict[str, Any]]:
    """All events of a stream."""
    events = Events("lc_run--1", "gemma", **settings)
    parts = [event for thing in items for event in events.of(thing)]
    return [dict(event) for event in (*parts, *events.end())]


def output(events: list[dict[str, Any]]) -> Any:
    """The message that core makes of the events."""
    stream = ChatModelStream()
    for event in events:
        stream.dispatch(event)
    return stream.output_message


def test_blocks_finish_early() -> None:
    """Reasoning is finished when the text begins, text when a call begins, a complete call when the next one begins."""
    events = events_of([*DELTAS, END])
    assert_valid_event_stream(events)
    order = [(event["event"].removeprefix("content-block-"), event.get("index")) for event in events]
    assert order.index(("finish", 0)) < order.index(("start", 1))
    assert order.index(("finish", 1)) < order.index(("start", 2))
    assert order.index(("finish", 2)) < order.index(("start", 3))


def test_message() -> None:
    """Core makes of the events the message that was said, with its cut call among the invalid ones."""
    message = output(events_of([*DELTAS, END]))
    assert message.id == "lc_run--1"
    assert message.text == "Let me see."
    assert message.additional_kwargs == {"reasoning_content": "Hm."}
    assert [(call["id"], call["args"]) for call in message.tool_calls] == [("a", {"x": 1}), ("b", {})]
    (invalid,) = message.invalid_tool_calls
    assert (invalid["id"], invalid["args"], invalid["error"]) == ("c", CUT, "cut")
    assert message.response_metadata["finish_reason"] == "length"


def test_interleaved_calls() -> None:
    """Calls whose arguments come in turns stay open until they are complete."""
    end = Completion(
        choices=(
            Choice(
                calls=(
                    ToolCall("a", "add", '{"x": 1}', {"x": 1}),
                    ToolCall("b", "add", '{"x": 2}', {"x": 2}),
                ),
                finish_reason="tool_calls",
            ),
        )
    )
    deltas = [
        ToolCallDelta(0, "a", "add", '{"x"'),
        ToolCallDelta(1, "b", "add", '{"x"'),
        ToolCallDelta(0, arguments=": 1}"),
        ToolCallDelta(1, arguments=": 2}"),
    ]
    events = events_of([*deltas, end])
    assert_valid_event_stream(events)
    assert [call["args"] for call in output(events).tool_calls] == [{"x": 1}, {"x": 2}]


def test_call_without_a_name() -> None:
    """A call that never got its name is an invalid call."""
    nameless = InvalidToolCall("", "", '{"a": 1}', "the call has no function name")
    events = events_of([Completion(choices=(Choice(calls=(nameless,), finish_reason="tool_calls"),))])
    assert_valid_event_stream(events)
    assert len(output(events).invalid_tool_calls) == 1


def test_call_that_goes_on() -> None:
    """Arguments after a call that was finished can't be taken back, so they are an error, with all that had come."""
    more = [*DELTAS[3:5], ToolCallDelta(0, arguments="}")]
    spoiled = InvalidToolCall("a", "add", '{"x": 1}}', "the arguments are not a complete JSON object")
    now = ToolCall("b", "now", "", {})
    end = Completion(choices=(Choice(calls=(spoiled, now), finish_reason="tool_calls"),))
    with pytest.raises(ProtocolError, match="complete") as caught:
        events_of([*more, end])
    assert caught.value.partial is end


def test_arguments_that_are_no_json_are_not_finished_early() -> None:
    """NaN is no JSON: such a call is invalid here, too, and the next one valid."""
    deltas: list[Delta] = [ToolCallDelta(0, "a", "f", '{"x": NaN}'), ToolCallDelta(1, "b", "g", "{}")]
    wrong = InvalidToolCall("a", "f", '{"x": NaN}', "the arguments are not a complete JSON object")
    right = ToolCall("b", "g", "{}", {})
    end = Completion(choices=(Choice(calls=(wrong, right), finish_reason="tool_calls"),))
    events = events_of([*deltas, end])
    assert_valid_event_stream(events)
    message = output(events)
    assert ([call["id"] for call in message.tool_calls], [call["id"] for call in message.invalid_tool_calls]) == (
        ["b"],
        ["a"],
    )


def test_one_choice_is_shown() -> None:
    """Of a stream with several choices, the first is shown, and nothing of the others gets into it."""
    end = Completion(choices=(Choice(0, "AB", finish_reason="stop"), Choice(1, "xy", finish_reason="stop")))
    others: list[Delta] = [TextDelta("x", 1), ReasoningDelta("y", 1), ToolCallDelta(0, "a", "add", "{}", 1)]
    events = events_of([TextDelta("A"), *others, TextDelta("B"), end])
    assert_valid_event_stream(events)
    assert [event["index"] for event in events if event["event"] == "content-block-start"] == [0]
    assert output(events).text == "AB"


@pytest.mark.parametrize("way", ["stream_events", "astream_events"])
async def test_tracers_see_the_text(emulate: Emulate, way: str) -> None:
    """Callbacks are told each piece of the text as it comes: tracers take the time to the first token from that."""
    tokens: list[str] = []

    class Tracer(BaseCallbackHandler):
        def on_llm_new_token(self, token: str, **_: Any) -> None:
            tokens.append(token)

    emulated = emulate([Reply("Rome is sunny.", reasoning="Hm.")])
    if way == "stream_events":
        list(emulated.model.stream_events("Hi", {"callbacks": [Tracer()]}, version="v3"))
    else:
        stream = await emulated.model.astream_events("Hi", {"callbacks": [Tracer()]}, version="v3")
        assert [event async for event in stream]
    assert len(tokens) > 1
    assert "".join(tokens) == "Rome is sunny."


def test_fenced_json() -> None:
    """A JSON answer in a Markdown fence is freed of it here, too."""
    end = Completion(choices=(Choice(text='```json\n{"a": 1}\n```', finish_reason="stop"),))
    items = [TextDelta("```json\n"), TextDelta('{"a": 1}'), TextDelta("\n```"), end]
    assert output(events_of(items, unfenced=True)).text == '{"a": 1}'


@pytest.mark.parametrize("tool_calls", ["whole", "fragments", "finaliser", "position"])
async def test_over_the_wire(emulate: Emulate, tool_calls: str) -> None:
    """What a user gets, sync and async, is a valid stream that ends with usage."""
    calls = [ToolCallSpec("add", {"x": 1}), ToolCallSpec("add", {"x": 2})]
    emulated = emulate([Reply("Let me see.", reasoning="Hm.", tool_calls=calls)] * 2, tool_calls=tool_calls)
    events = list(emulated.model.stream_events("Hi", version="v3"))
    assert_valid_event_stream(events)
    assert events[-1]["usage"]["output_tokens"] > 0
    aevents = [event async for event in await emulated.model.astream_events("Hi", version="v3")]
    assert_valid_event_stream(aevents)
    assert [event["event"] for event in aevents] == [event["event"] for event in events]


async def test_projections(emulate: Emulate) -> None:
    """Text, reasoning and tool calls can be read as they come, each for itself."""
    emulated = emulate([Reply("Let me see.", reasoning="Hm, so.", tool_calls=[ToolCallSpec("add", {"x": 1}, id="a")])])
    stream = emulated.model.stream_events("Hi", version="v3")
    assert "".join(stream.reasoning) == "Hm, so."
    assert "".join(stream.text) == "Let me see."
    assert stream.tool_calls.get()[0]["args"] == {"x": 1}
