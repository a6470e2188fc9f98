from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cf_gemma.errors import GemmaError, StreamTruncated
from cf_gemma.model.completion import ReasoningDelta, TextDelta, ToolCallDelta
from tests.response.wire import Call, Dialect, ToolStyle, UsageStyle, Written, replied, sse, streamed, streaming

if TYPE_CHECKING:
    from collections.abc import Callable

    from cf_gemma.model.completion import Choice, Completion, Delta

values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
arguments = st.dictionaries(st.text(max_size=6), values, max_size=3).map(
    lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))
)
ids = st.uuids().map(lambda one: f"call_{one.hex[:24]}")
calls = st.lists(
    st.builds(Call, ids, st.sampled_from(["add", "grep"]), arguments), max_size=3, unique_by=lambda call: call.id
)
pieces = st.lists(st.text(max_size=6), max_size=5)
answers = st.builds(
    Written,
    reasoning=pieces,
    text=pieces,
    calls=calls,
    finish_reason=st.sampled_from(["stop", "tool_calls", "content_filter"]),
    prompt_tokens=st.integers(1, 10**6),
    cached_tokens=st.integers(0, 64),
    dialect=st.sampled_from(get_args(Dialect)),
    tool_style=st.sampled_from(get_args(ToolStyle)),
    usage_style=st.sampled_from(get_args(UsageStyle)),
)


def split(data: st.DataObject, wire: bytes) -> list[bytes]:
    """These bytes, cut at a few places."""
    cuts = sorted(data.draw(st.sets(st.integers(0, len(wire)), max_size=8)))
    return [wire[start:end] for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]


def joined(deltas: list[Delta]) -> tuple[str, str, dict[int, tuple[str | None, str | None, str]]]:
    """What someone who only sees the deltas knows: the reasoning, the text, and id, name and arguments of each call."""
    reasoning = "".join(one.text for one in deltas if isinstance(one, ReasoningDelta))
    text = "".join(one.text for one in deltas if isinstance(one, TextDelta))
    made: dict[int, tuple[str | None, str | None, str]] = {}
    for one in deltas:
        if isinstance(one, ToolCallDelta):
            call = made.get(one.index, (one.id, one.name, ""))
            made[one.index] = call[0], call[1], call[2] + one.arguments
    return reasoning, text, made


def shown(choice: Choice) -> tuple[str, str, dict[int, tuple[str | None, str | None, str]]]:
    """The same of a whole choice."""
    made = {place: (call.id, call.name, call.arguments) for place, call in enumerate(choice.calls)}
    return choice.reasoning, choice.text, made


@given(answers, st.booleans())
def test_a_merged_stream_equals_the_plain_reply(answer: Written, done: bool) -> None:
    """Whatever the back-end, the manner of the calls and that of the usage: both ways give one and the same answer."""
    deltas, from_stream = streamed(sse(answer.chunks(), done=done))
    same_deltas, from_reply = replied(answer.reply())
    assert from_stream == from_reply
    assert joined(deltas) == shown(from_stream.choices[0]) == joined(same_deltas)
    assert not from_stream.invalid_tool_calls or answer.finish_reason == "content_filter"


@given(st.data(), answers, st.booleans(), st.sampled_from(["\n", "\r\n", "\r"]))
def test_any_split_of_the_bytes_gives_the_same_deltas(
    data: st.DataObject, answer: Written, ensure_ascii: bool, end: str
) -> None:
    """Neither the deltas nor the answer depend on how the network cut the bytes."""
    wire = sse(answer.chunks(), ensure_ascii=ensure_ascii).replace(b"\n", end.encode())
    assert streamed(*split(data, wire)) == streamed(wire)


@given(answers, st.data())
def test_a_cut_stream_is_an_error_whose_partial_is_a_beginning(answer: Written, data: st.DataObject) -> None:
    """Cut before its finish: a typed error, whose partial holds what the deltas said, and no call cut short."""
    whole = sse(list(answer.chunks()), done=False)
    finish = whole.index(b'"finish_reason": "')
    wire = whole[: data.draw(st.integers(0, finish))]
    stream = streaming()
    deltas = [*stream.feed(wire), *stream.close()]
    with pytest.raises(StreamTruncated) as caught:
        stream.result()
    partial = caught.value.partial
    if partial is None:
        assert deltas == []
        return
    assert joined(deltas)[:2] == (partial.reasoning, partial.text)
    assert partial.finish_reason is None
    assert {(call.id, call.arguments) for call in partial.tool_calls} <= {(c.id, c.arguments) for c in answer.calls}


@given(answers)
def test_a_completion_read_back_is_itself(answer: Written) -> None:
    """`to_dict()` is a chat.completion that reads as the same answer."""
    completion = replied(replace(answer, usage_style="closing total").reply())[1]
    assert replied(completion.to_dict())[1] == completion


NAMES = (
    *("id", "choices", "delta", "message", "content", "index", "tool_calls", "function", "name", "arguments", "usage"),
    *("prompt_tokens", "neurons", "response", "error", "errors", "code", "finish_reason", "logprobs", "created", "x"),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=30,
)


def is_answer_or_typed_error(read: Callable[[], tuple[list[Delta], Completion]]) -> bool:
    """Whether reading gives an answer that can be shown, or a GemmaError that says something."""
    try:
        _, completion = read()
    except GemmaError as error:
        return bool(str(error))
    return bool(completion.to_dict()) and (completion.usage is None or completion.usage.cost >= 0)


@settings(max_examples=200)
@given(st.lists(json_values, max_size=4))
def test_any_json_gives_an_answer_or_a_typed_error(events: list[Any]) -> None:
    """Whatever JSON comes, streamed or whole: an answer that can be shown, or a GemmaError. Never anything else."""
    assert is_answer_or_typed_error(lambda: streamed(sse(events)))
    assert is_answer_or_typed_error(lambda: replied(events[0] if events else {}))


@given(st.binary(max_size=200))
def test_any_bytes_give_an_answer_or_a_typed_error(wire: bytes) -> None:
    """Whatever bytes come, streamed or whole: an answer or a GemmaError."""
    assert is_answer_or_typed_error(lambda: streamed(wire))
    assert is_answer_or_typed_error(lambda: streamed(b"data: " + wire))
    assert is_answer_or_typed_error(lambda: replied(wire))
