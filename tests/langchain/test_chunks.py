"""What the model says, as chunks and as messages: the sum of the chunks is the message."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot
from langchain_core.load import dumpd
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.utils.json import parse_partial_json
from pydantic import BaseModel

from cf_gemma import Choice, Completion, InvalidToolCall, ReasoningDelta, TextDelta, ToolCall, ToolCallDelta, Usage
from langchain_cf_gemma.chunks import Chunks, breaking_suffix, cost_of, to_completion, to_message, to_result
from tests.alike import alike, bare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cf_gemma import Delta

MODEL = "@cf/google/gemma-4-26b-a4b-it"
USAGE = Usage(10, 5, 15, cached_tokens=4, neurons=0.25)
CUT = '{"path": "/home/an'


def completion(*choices: Choice, **facts: Any) -> Completion:
    """A completion of these choices, with all that the service tells beside them."""
    defaults = {
        "usage": USAGE,
        "id": "chatcmpl-1",
        "model": f"{MODEL}-external",
        "created": 1791402397,
        "headers": {"cf-ray": "ray-1", "cf-ai-req-id": "req-1"},
    }
    return Completion(choices=choices, **{**defaults, **facts})


def merged(items: Sequence[Delta | Completion], **settings: Any) -> AIMessageChunk:
    """The sum of a stream's chunks, as LangChain's users see it."""
    chunks = Chunks(MODEL, **settings)
    first, *rest = [chunk.message for thing in items for chunk in chunks.of(thing)]
    assert isinstance(first, AIMessageChunk)
    return add_ai_message_chunks(first, *[message for message in rest if isinstance(message, AIMessageChunk)])


ANSWER = completion(
    Choice(
        text="Sunny.",
        reasoning="Hm, so.",
        calls=(
            ToolCall("call_1", "weather", '{"city": "Rom"}', {"city": "Rom"}),
            InvalidToolCall("call_2", "delete", CUT, "the arguments are not a complete JSON object"),
        ),
        finish_reason="length",
        extra={"matched_stop": 106, "stop_reason": "END", "refusal": "no"},
    )
)
DELTAS: list[Delta] = [
    ReasoningDelta("Hm,"),
    ReasoningDelta(" so."),
    TextDelta("Sun"),
    TextDelta("ny."),
    ToolCallDelta(0, "call_1", "weather"),
    ToolCallDelta(1, "call_2", "delete", CUT[:9]),
    ToolCallDelta(0, arguments='{"city": '),
    ToolCallDelta(0, arguments='"Rom"}'),
    ToolCallDelta(1, arguments=CUT[9:]),
]


def test_message() -> None:
    """A completion's every fact has its place in the message, under LangChain's names."""
    (generation,) = to_result(ANSWER, MODEL).generations
    message = generation.message
    assert isinstance(message, AIMessage)
    assert message.model_dump(exclude_none=True) == snapshot(
        {
            "content": "Sunny.",
            "additional_kwargs": {"reasoning_content": "Hm, so."},
            "response_metadata": {
                "stop_reason": "END",
                "refusal": "no",
                "model_provider": "cloudflare",
                "model_name": "@cf/google/gemma-4-26b-a4b-it",
                "finish_reason": "length",
                "id": "chatcmpl-1",
                "created": 1791402397,
                "request_id": "req-1",
                "headers": {"cf-ray": "ray-1", "cf-ai-req-id": "req-1"},
                "token_usage": {
                    "prompt_tokens": 10,
                    "completion_tokens": 5,
                    "total_tokens": 15,
                    "prompt_tokens_details": {"cached_tokens": 4},
                    "neurons": 0.25,
                },
                "neurons": 0.25,
                "total_cost": 2.75e-06,
                "invalid_tool_calls": [
                    {
                        "id": "call_2",
                        "name": "delete",
                        "error": "the arguments are not a complete JSON object",
                        "cut": False,
                    }
                ],
            },
            "type": "ai",
            "tool_calls": [{"name": "weather", "args": {"city": "Rom"}, "id": "call_1", "type": "tool_call"}],
            "invalid_tool_calls": [
                {
                    "type": "invalid_tool_call",
                    "id": "call_2",
                    "name": "delete",
                    "args": '{"path": "/home/an',
                    "error": "the arguments are not a complete JSON object",
                }
            ],
            "usage_metadata": {
                "input_tokens": 10,
                "output_tokens": 5,
                "total_tokens": 15,
                "input_token_details": {"cache_read": 4},
            },
        }
    )


def test_stream_adds_up_to_the_message() -> None:
    """The sum of the chunks is the message in its every part, and a cut call is never a valid one."""
    whole = to_result(ANSWER, MODEL).generations[0].message
    total = merged([*DELTAS, ANSWER])
    assert isinstance(whole, AIMessage)
    assert total.chunk_position == "last"
    assert bare(total.response_metadata) == whole.response_metadata
    for name in ("content", "additional_kwargs", "tool_calls", "usage_metadata"):
        assert getattr(total, name) == getattr(whole, name), name
    (invalid,) = total.invalid_tool_calls
    assert (invalid["id"], invalid["name"]) == ("call_2", "delete")
    assert invalid["args"] == f'{CUT}"]'


def test_each_chunk_holds_one_kind() -> None:
    """Text, reasoning and tool calls come in chunks of their own; facts and usage in the last one alone."""
    chunks = Chunks(MODEL)
    messages = [chunk.message for thing in [*DELTAS, ANSWER] for chunk in chunks.of(thing)]
    for message in messages[:-1]:
        assert isinstance(message, AIMessageChunk)
        held = [bool(message.content), bool(message.additional_kwargs), bool(message.tool_call_chunks)]
        assert held.count(True) == 1
        assert message.response_metadata == {"model_provider": "cloudflare"}
        assert message.usage_metadata is None
        assert message.chunk_position is None


@pytest.mark.parametrize(
    ("item", "fields"),
    [
        (TextDelta("Hi"), {"content": "Hi"}),
        (ReasoningDelta("Hm"), {"content": "", "additional_kwargs": {"reasoning_content": "Hm"}}),
    ],
)
def test_a_chunk_is_as_its_constructors_make_it(item: Delta, fields: dict[str, Any]) -> None:
    """A copied chunk equals a constructed one in every field, and shares nothing that can be changed with another."""
    made = ChatGenerationChunk(message=AIMessageChunk(response_metadata={"model_provider": "cloudflare"}, **fields))
    chunks = Chunks(MODEL)
    (one,), (other,) = list(chunks.of(item)), list(chunks.of(item))
    assert alike(one, made)
    assert alike(one.message, made.message)
    assert dumpd(one.message) == dumpd(made.message)
    for model, twin in [(one, other), (one.message, other.message)]:
        shared = [name for name, value in vars(model).items() if value is vars(twin)[name]]
        assert not [name for name in shared if isinstance(vars(model)[name], dict | list | BaseModel)]


PIECE = st.sampled_from(
    ['{"a": 1}', '{"a', "{", "}", " {", "\n", "[1]", '"x"', "1", "null", "", "a", '{"a": "b"', "tru"]
)


@given(
    name=st.sampled_from([None, "tool"]),
    call_id=st.sampled_from([None, "call_1"]),
    pieces=st.lists(PIECE | st.text(max_size=5), max_size=4),
)
def test_a_piece_of_a_call_is_made_alike(name: str | None, call_id: str | None, pieces: list[str]) -> None:
    """Whether core reads a piece of arguments as a call, a broken one or nothing: it is as its constructor makes it."""
    arguments = "".join(pieces)
    delta = ToolCallDelta(0, id=call_id, name=name, arguments=arguments)
    (chunk,) = Chunks(MODEL).of(delta)
    call = tool_call_chunk(name=name, args=arguments, id=call_id, index=0)
    message = AIMessageChunk(content="", response_metadata={"model_provider": "cloudflare"}, tool_call_chunks=[call])
    assert alike(chunk.message, message)
    assert alike(chunk, ChatGenerationChunk(message=message))


def test_usage_can_be_left_out() -> None:
    """A stream without usage has all the other facts."""
    total = merged([TextDelta("Hi"), completion(Choice(text="Hi", finish_reason="stop"))], usage=False)
    assert total.usage_metadata is None
    assert total.response_metadata["finish_reason"] == "stop"


def test_unknown_is_absent() -> None:
    """What the service didn't say is left out, and the model's name is the one that was asked for."""
    bare = Completion(choices=(Choice(text="Hi", finish_reason="stop"),))
    result = to_result(bare, MODEL)
    (generation,) = result.generations
    assert isinstance(generation.message, AIMessage)
    assert result.llm_output == {"model_name": MODEL}
    assert generation.message.usage_metadata is None
    assert generation.message.response_metadata == {
        "model_provider": "cloudflare",
        "model_name": MODEL,
        "finish_reason": "stop",
    }


def test_every_choice_is_a_generation() -> None:
    """Several answers are several generations, and usage stands on the first."""
    several = completion(Choice(0, "A", finish_reason="stop"), Choice(1, "B", finish_reason="length"))
    messages = [generation.message for generation in to_result(several, MODEL).generations]
    assert [(message.text, message.response_metadata["finish_reason"]) for message in messages] == [
        ("A", "stop"),
        ("B", "length"),
    ]
    assert [getattr(message, "usage_metadata") is not None for message in messages] == [True, False]  # noqa: B009 - not every message has one


def test_call_without_a_name() -> None:
    """A call that never got its name, so that no delta showed it, is an invalid call in the stream too."""
    choice = Choice(
        calls=(InvalidToolCall("", "", '{"a": 1}', "the call has no function name"),),
        finish_reason="tool_calls",
    )
    total = merged([completion(choice)])
    assert total.tool_calls == []
    assert len(total.invalid_tool_calls) == len(to_message(completion(choice), choice, MODEL).invalid_tool_calls) == 1


def test_calls_come_in_the_order_in_which_they_began() -> None:
    """A call that has its name before one that began earlier waits for it; calls that are never named wait for none."""
    choice = Choice(
        calls=(
            InvalidToolCall("a", "delete", CUT, "cut"),
            ToolCall("b", "add", '{"x": 1}', {"x": 1}),
            ToolCall("c", "add", "", {}),
            InvalidToolCall("", "", '{"a": 1}', "the call has no function name"),
            InvalidToolCall("", "", "", "the call has no function name"),
        ),
        finish_reason="tool_calls",
    )
    deltas = [
        ToolCallDelta(2, "c", "add"),
        ToolCallDelta(1, "b", "add", '{"x'),
        ToolCallDelta(1, arguments='": 1}'),
        ToolCallDelta(0, "a", "delete", CUT),
    ]
    total = merged([*deltas, completion(choice)])
    assert [(call["id"], call["args"]) for call in total.tool_calls] == [("b", {"x": 1}), ("c", {})]
    assert [call["id"] for call in total.invalid_tool_calls] == ["a", None, None]
    assert [call["index"] for call in total.tool_call_chunks] == [0, 1, 2, 3, 4]


def test_one_choice_is_shown() -> None:
    """Of a stream with several choices, the first is shown, and nothing of the others gets into it."""
    whole = completion(Choice(0, "AB", finish_reason="stop"), Choice(1, "xy", finish_reason="stop"))
    others: list[Delta] = [TextDelta("x", 1), ReasoningDelta("y", 1), ToolCallDelta(0, "a", "add", "{}", 1)]
    total = merged([TextDelta("A"), *others, TextDelta("B"), whole])
    assert (total.content, total.additional_kwargs, total.tool_call_chunks) == ("AB", {}, [])


def test_message_and_back() -> None:
    """A completion that was made into a message can be read from it again."""
    (generation,) = to_result(ANSWER, MODEL).generations
    assert isinstance(generation.message, AIMessage)
    read = to_completion(generation.message)
    for name in ("text", "reasoning", "tool_calls", "invalid_tool_calls", "finish_reason", "usage", "id", "created"):
        assert getattr(read, name) == getattr(ANSWER, name), name
    assert (read.headers, read.model, read.request_id) == (ANSWER.headers, MODEL, "req-1")
    assert to_completion(AIMessage("Hi")) == Completion(choices=(Choice(text="Hi"),))


def test_fenced_json_comes_without_its_fence() -> None:
    """A JSON answer in a Markdown fence is freed of it, streamed or not."""
    pieces = ["``", "`json\n{", '"a": "``', '`"}', "\n`", "``"]
    whole = completion(Choice(text="".join(pieces), finish_reason="stop"))
    assert merged([*map(TextDelta, pieces), whole], unfenced=True).content == '{"a": "```"}'
    assert to_result(whole, MODEL, unfenced=True).generations[0].text == '{"a": "```"}'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(value=st.dictionaries(st.text(max_size=5), JSON, min_size=1, max_size=3) | JSON, data=st.data())
def test_broken_arguments_are_never_repaired(value: Any, data: st.DataObject) -> None:
    """However JSON was cut, core can't make a valid call of it once it bears the suffix."""
    text = json.dumps(value, ensure_ascii=data.draw(st.booleans()))
    cut = text[: data.draw(st.integers(0, len(text)))]
    marked = cut + breaking_suffix(cut)
    try:
        repaired = parse_partial_json(marked)
    except ValueError:
        return
    assert not isinstance(repaired, dict)


@pytest.mark.parametrize(
    ("arguments", "suffix"),
    [
        ("", "]"),
        ("{", "]"),
        ('{"a": "x', '"]'),
        ('{"a": ["x', '"}'),
        ('{"a": [1', "}"),
        ('{"a": "x\\', '""]'),
        ("[1]", ""),
    ],
)
def test_suffix_is_short(arguments: str, suffix: str) -> None:
    """The mark on a cut call is the shortest that works."""
    assert breaking_suffix(arguments) == suffix


def test_an_answer_plus_an_answer() -> None:
    """The chunks of two answers can be added up, as a RunnableLambda does with all that it yields; nothing is lost."""
    whole = completion(Choice(text="A", finish_reason="stop", logprobs={"content": [{"token": "A", "logprob": -0.5}]}))
    costs = [replace(whole, usage=Usage(1, 2, 3, neurons=neurons), extra={"load": neurons}) for neurons in (0.25, 0.5)]
    first, second = (merged([TextDelta("A"), one]) for one in costs)
    both = first + second
    assert both.text == "AA"
    assert both.usage_metadata["total_tokens"] == 6
    assert both.response_metadata["neurons"] == [0.25, 0.5]
    assert both.response_metadata["token_usage"]["neurons"] == [0.25, 0.5]
    assert to_completion(both).usage.neurons == 0.75
    assert cost_of(both) == pytest.approx(0.75 * 0.011 / 1_000)
    assert cost_of(to_message(costs[0], whole.choices[0], "m")) == pytest.approx(0.25 * 0.011 / 1_000)
