from __future__ import annotations

import json
from typing import Any

import pytest

from cf_gemma.errors import (
    ApiError,
    CapacityExceeded,
    ContextOverflow,
    GemmaError,
    ProtocolError,
    QuotaExhausted,
    ResponseTooLarge,
    StreamTruncated,
)
from cf_gemma.model.completion import (
    Choice,
    Completion,
    Delta,
    InvalidToolCall,
    ReasoningDelta,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from tests.response.wire import (
    S_REPLY,
    S_STREAM,
    V_FAILED_CALL,
    V_REPLY,
    V_TOOL_REPLY,
    replied,
    sse,
    streamed,
    streaming,
    text_chunk,
)

Chunk = dict[str, Any]


def delta(message: Chunk | None, finish_reason: str | None = None, **choice: Any) -> Chunk:
    """A chunk with one delta."""
    return {"id": "a", "choices": [{"index": 0, "delta": message, "finish_reason": finish_reason, **choice}]}


def read(*chunks: object, done: bool = True, choices: int = 1) -> tuple[list[Delta], Completion]:
    """What a stream of these chunks says."""
    return streamed(sse(chunks, done=done), choices=choices)


def failure(body: bytes) -> GemmaError:
    """The error that this stream comes to."""
    with pytest.raises(GemmaError) as caught:
        streamed(body)
    return caught.value


STOP = text_chunk("", "stop")
A, B, R = TextDelta("a"), TextDelta("b"), ReasoningDelta("r")
AS_TEXT = TextDelta("r")


def test_captured_stream_of_back_end_s() -> None:
    """The captured stream gives its text, its finish, what else it told, and the tail's exact usage."""
    deltas, completion = streamed(S_STREAM.encode(), headers={"cf-ray": "ray", "server": "cloudflare"})
    assert deltas == [TextDelta("أ")]
    assert completion == Completion(
        choices=(Choice(text="أ", finish_reason="stop", extra={"matched_stop": 106}),),
        usage=Usage(147, 16, 163, cached_tokens=0, neurons=1.7727271914482117),
        id="f962191d3d2f47418286b60056319eb5",
        model="@cf/google/gemma-4-26b-a4b-it-external",
        created=1791402526,
        headers={"cf-ray": "ray"},
    )


@pytest.mark.parametrize(
    ("capture", "choice"),
    [
        (S_REPLY, Choice(text="أهلاً بك يا صديقي! أنت رائع جداً اليوم.", finish_reason="stop")),
        (V_REPLY, Choice(reasoning="1.  **Analyze…", finish_reason="length")),
        (
            V_TOOL_REPLY,
            Choice(
                reasoning="I need to find…",
                calls=(
                    ToolCall(
                        "chatcmpl-tool-99199f627f866dcf",
                        "grep",
                        '{"pattern": "processOrder"}',
                        {"pattern": "processOrder"},
                    ),
                ),
                finish_reason="tool_calls",
            ),
        ),
        (V_FAILED_CALL, Choice(finish_reason="tool_calls", extra={"stop_reason": 106})),
    ],
)
def test_captured_replies(capture: str, choice: Choice) -> None:
    """Captured replies give the same bare and in the envelope."""
    bare = replied(capture.encode())[1]
    enveloped = replied({"result": json.loads(capture), "success": True, "errors": [], "messages": []})[1]
    assert bare == enveloped
    assert bare.choices == (choice,)


@pytest.mark.parametrize(
    ("chunks", "deltas", "finish_reason"),
    [
        pytest.param([text_chunk("a"), STOP], [A], "stop", id="plain"),
        pytest.param([text_chunk("a"), {"response": "", "usage": {}}], [A], "stop", id="native tail"),
        pytest.param([text_chunk("a"), {"id": "a", "choices": []}, STOP], [A], "stop", id="no choices"),
        pytest.param([text_chunk("a"), {"id": "a", "choices": None}, STOP], [A], "stop", id="null choices"),
        pytest.param([text_chunk("a"), STOP, STOP, STOP], [A], "stop", id="finish repeated"),
        pytest.param([text_chunk("a", "stop"), text_chunk("b", "length")], [A, B], "length",
                     id="text after the finish"),
        pytest.param([text_chunk("a", "eaten_by_a_grue")], [A], "eaten_by_a_grue", id="unknown finish"),
        pytest.param([text_chunk("a")], [A], "stop", id="no finish"),
        pytest.param([delta({"content": None}), delta({}), delta(None), STOP], [], "stop", id="nothing"),
        pytest.param([delta({"content": []}), STOP], [], "stop", id="no parts"),
        pytest.param([delta({"content": 1}), delta({"content": 0}), STOP], [TextDelta("1"), TextDelta("0")], "stop",
                     id="numbers"),
        pytest.param([delta({"content": True}), delta({"content": 1.5}), STOP], [TextDelta("true"), TextDelta("1.5")],
                     "stop", id="other JSON"),
        pytest.param([delta({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}), STOP],
                     [TextDelta("ab")], "stop", id="parts"),
        pytest.param([delta({"content": {"a": 1}}), STOP], [TextDelta('{"a":1}')], "stop", id="object"),
        pytest.param([{"choices": [{"delta": {"content": "a"}}]}, STOP], [A], "stop", id="no index"),
        pytest.param([{"choices": [{"text": "a", "finish_reason": "stop"}]}], [A], "stop", id="text"),
        pytest.param([{"response": "a", "p": "x"}, {"response": "b"}], [A, B], "stop", id="native"),
        pytest.param([{"response": 3}, {"response": None}, {"response": False}], [TextDelta("3"), TextDelta("false")],
                     "stop", id="native, JSON"),
        pytest.param([{"tool_calls": [], "p": "x"}, {"response": "a"}], [A], "stop", id="native, no calls"),
        pytest.param([{"response": "a", "finish_reason": "length"}], [A], "length", id="native finish"),
        pytest.param([delta({"reasoning_content": "r", "content": None}), STOP], [R, AS_TEXT], "stop", id="S thinks"),
        pytest.param([delta({"reasoning": "r", "tool_calls": None}), STOP], [R, AS_TEXT], "stop", id="V thinks"),
        pytest.param([delta({"reasoning": "r", "reasoning_content": "r"}), STOP], [R, AS_TEXT], "stop", id="twice"),
        pytest.param([delta({"reasoning": "r", "reasoning_content": None}), STOP], [R, AS_TEXT], "stop", id="null"),
        pytest.param([delta({"reasoning": "r", "content": "a"}), STOP], [R, A], "stop",
                     id="thought and text"),
    ],
)  # fmt: skip
def test_what_chunks_say(chunks: list[Chunk], deltas: list[Delta], finish_reason: str) -> None:
    """Every shape of chunk that has been met gives its deltas and the finish reason, and so does each whole answer."""
    shown, completion = read(*chunks)
    assert shown == deltas
    assert (completion.finish_reason, completion.extra) == (finish_reason, {})
    assert completion.text == "".join(one.text for one in deltas if isinstance(one, TextDelta))
    assert completion.reasoning == "".join(one.text for one in deltas if isinstance(one, ReasoningDelta))


def test_native_calls() -> None:
    """Calls of the older native shape, at the top of a chunk, are calls; the finish reason follows from them."""
    deltas, completion = read({"response": "", "tool_calls": [{"name": "f", "arguments": {"a": 1}}]})
    call = completion.tool_calls[0]
    assert (call.name, call.args, completion.finish_reason) == ("f", {"a": 1}, "tool_calls")
    assert deltas == [ToolCallDelta(0, call.id, "f", '{"a":1}')]


def test_an_older_function_call_is_a_call() -> None:
    """`function_call`, the predecessor of `tool_calls`, isn't lost."""
    completion = read(delta({"function_call": {"name": "f", "arguments": "{}"}}, "function_call"))[1]
    assert [call.name for call in completion.tool_calls] == ["f"]


@pytest.mark.parametrize(
    ("arguments", "finish_reason", "valid"),
    [(None, "length", False), (None, "tool_calls", True), ("{}", "length", False)],
)
def test_a_call_that_length_cut_before_its_arguments_is_invalid(
    arguments: str | None, finish_reason: str, valid: bool
) -> None:
    """A call that ends the answer counts when the model finished it, and not when `max_tokens` cut the answer there."""
    opener = {"index": 0, "id": "a", "function": {"name": "wipe_disk"}}
    pieces = [] if arguments is None else [delta({"tool_calls": [{"index": 0, "function": {"arguments": arguments}}]})]
    completion = read(delta({"tool_calls": [opener]}), *pieces, delta({}, finish_reason))[1]
    assert [bool(completion.tool_calls), bool(completion.invalid_tool_calls)] == [valid, not valid]


def test_a_cut_stream_shows_no_call_as_whole() -> None:
    """The partial of a stream that was cut within a call has it among the invalid ones, as far as it came."""
    opener = {"index": 0, "id": "a", "function": {"name": "f"}}
    for pieces, arguments in ([], ""), (['{"a'], '{"a'):
        more = [delta({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}) for piece in pieces]
        partial = failure(sse([delta({"tool_calls": [opener]}), *more], done=False)).partial
        assert partial is not None
        assert partial.tool_calls == ()
        assert [(call.name, call.arguments) for call in partial.invalid_tool_calls] == [("f", arguments)]
        assert all(isinstance(call, InvalidToolCall) for call in partial.invalid_tool_calls)


def test_what_this_version_does_not_know_is_kept() -> None:
    """Unknown fields of the answer, its choices and its messages are in `extra`, whichever chunk they come in."""
    first = delta({"content": "a", "annotations": [1], "refusal": "no"}) | {"system_fingerprint": "fp", "p": "x"}
    second = delta({"annotations": [2], "refusal": "pe"}) | {"timings": {"ms": 7}, "service_tier": None}
    last = delta({}, "stop", matched_stop=106, token_ids=None, novelty=1)
    completion = read(first, second, last, {"response": "", "late": True})[1]
    assert completion.extra == {"system_fingerprint": "fp", "timings": {"ms": 7}, "late": True}
    assert completion.choices[0].extra == {"annotations": [1, 2], "refusal": "nope", "matched_stop": 106, "novelty": 1}


def test_logprobs_are_joined() -> None:
    """The log probabilities of the pieces are those of the whole."""
    chunks = [delta({"content": text}, logprobs={"content": [{"token": text}], "refusal": None}) for text in "ab"]
    completion = read(*chunks, STOP)[1]
    assert completion.choices[0].logprobs == {"content": [{"token": "a"}, {"token": "b"}]}


def test_several_choices() -> None:
    """Interleaved choices are told apart, in deltas and in the whole."""
    chunks = (
        *(text_chunk("b", index=1), text_chunk("a", index=0)),
        *(text_chunk("B", "length", 1), text_chunk("A", "stop", 0)),
    )
    deltas, completion = read(*chunks, choices=2)
    assert deltas == [TextDelta("b", 1), TextDelta("a", 0), TextDelta("B", 1), TextDelta("A", 0)]
    assert [(one.index, one.text, one.finish_reason) for one in completion.choices] == [
        (0, "aA", "stop"),
        (1, "bB", "length"),
    ]


@pytest.mark.parametrize(
    ("body", "whole"),
    [
        pytest.param(sse([text_chunk("a"), STOP]), True, id="finish and DONE"),
        pytest.param(sse([text_chunk("a"), STOP], done=False), True, id="finish, no DONE"),
        pytest.param(sse([text_chunk("a")]), True, id="DONE, no finish"),
        pytest.param(sse([text_chunk("a")])[:-2], True, id="DONE without a blank line"),
        pytest.param(sse([text_chunk("a"), STOP], done=False)[:-2], True, id="finish without a blank line"),
        pytest.param(sse([text_chunk("a")]) * 2, True, id="DONE twice"),
        pytest.param(sse([text_chunk("a")]) + b"data: junk\n\n", True, id="junk after DONE"),
        pytest.param(sse([text_chunk("a")], done=False), False, id="neither"),
        pytest.param(sse([text_chunk("a"), STOP], done=False)[:-9], False, id="cut within the finish"),
        pytest.param(sse([text_chunk("a")])[:-4], False, id="cut within DONE"),
        pytest.param(b": ping\n\n" * 3, False, id="pings"),
        pytest.param(b"data: [DONE]", False, id="DONE alone"),
        pytest.param(b"", False, id="nothing"),
    ],
)
def test_completeness(body: bytes, whole: bool) -> None:
    """An answer is whole if `[DONE]` or every choice's finish reason came; else it is a StreamTruncated."""
    if whole:
        assert streamed(body)[1].finish_reason == "stop"
    else:
        error = failure(body)
        assert isinstance(error, StreamTruncated)
        if body.startswith(b"data: {"):
            assert error.partial is not None
            assert error.partial.text == "a"
        else:
            assert error.partial is None


def test_every_choice_must_end() -> None:
    """One of two choices is no whole answer."""
    with pytest.raises(StreamTruncated):
        read(text_chunk("a", "stop", 0), text_chunk("b", None, 1), done=False, choices=2)


@pytest.mark.parametrize(
    ("event", "kind", "code", "message"),
    [
        (b'data: {"errors":[{"code":3040,"message":"AiError: full"}]}', CapacityExceeded, 3040, "full"),
        (b'data: {"errors":[{"code":"4006","message":"used up"}]}', QuotaExhausted, 4006, "used up"),
        (b'data: {"error":{"message":"boom"}}', ApiError, None, "boom"),
        (b'data: {"error":{"code":"invalid_prompt","message":"5021: too long"}}', ContextOverflow, 5021, "too long"),
        (b'data: {"error":[{"code":2021,"message":"credits"}],"name":"x"}', QuotaExhausted, 2021, "credits"),
        (b'data: {"error":"boom"}', ApiError, None, "boom"),
        (b'data: {"error":{}}', ApiError, None, "no reason given"),
        (b'data: {"success":false}', ApiError, None, "no reason given"),
        (b'data: {"success":false,"errors":[],"result":null}', ApiError, None, "no reason given"),
        (b'data: {"code":3040,"message":"busy"}', CapacityExceeded, 3040, "busy"),
        (b'data: {"choices":[],"error":{"code":3040,"message":"busy"}}', CapacityExceeded, 3040, "busy"),
        (b'event: error\ndata: {"message":"boom"}', ApiError, None, "boom"),
        (b"event: error\ndata: 3040: no capacity", CapacityExceeded, 3040, "no capacity"),
        (b"event: error\ndata:", ApiError, None, "no reason given"),
    ],
)  # fmt: skip
def test_errors_in_the_stream(event: bytes, kind: type[GemmaError], code: int | None, message: str) -> None:
    """An error event of any shape is a typed error with its code, and has what came before it."""
    error = failure(sse([text_chunk("a")], done=False) + event + b"\n\n" + sse([STOP]))
    assert type(error) is kind
    assert (error.code, error.status) == (code, None)
    assert message in str(error)
    assert error.partial is not None
    assert error.partial.text == "a"
    assert error.partial.finish_reason is None
    assert failure(event + b"\n\n").partial is None


@pytest.mark.parametrize(
    "data",
    ["not JSON", "[]", "7", "null", '"text"', '{"a":', '{"a":NaN}', "[" * 100_000, "9" * 5_000, '{"a":"\\ud800"}',
     '{"choices":7}', '{"choices":[7]}', '{"choices":[{"delta":7}]}', '{"choices":[{"delta":{"tool_calls":7}}]}',
     '{"choices":[{"logprobs":7}]}', '{"choices":[{"delta":{}}],"usage":7}'],
)  # fmt: skip
def test_an_event_that_is_no_chunk(data: str) -> None:
    """What isn't a chunk is a ProtocolError with a short excerpt and what came before."""
    error = failure(sse([text_chunk("a")], done=False) + f"data: {data}\n\n".encode())
    assert type(error) is ProtocolError
    assert len(str(error)) < 400
    assert error.partial is not None
    assert error.partial.text == "a"


@pytest.mark.parametrize(
    ("chunk", "kind"),
    [
        ({**text_chunk("b"), "error": {"code": 3040, "message": "busy"}}, CapacityExceeded),
        ({**text_chunk("b"), "usage": 7}, ProtocolError),
        ({"id": "a", "choices": [{"delta": {"content": "b", "tool_calls": 7}}]}, ProtocolError),
    ],
)
def test_words_beside_trouble_are_handed_out_first(chunk: Chunk, kind: type[GemmaError]) -> None:
    """What an event says before what is wrong with it is a delta, and is in the error's partial."""
    stream = streaming()
    with pytest.raises(kind) as caught:
        list(stream.feed(sse([text_chunk("a"), chunk, text_chunk("c")])))
    assert caught.value.partial is not None
    assert caught.value.partial.text == "ab"
    stream = streaming()
    pieces = stream.feed(sse([text_chunk("a"), chunk, text_chunk("c")]))
    assert [next(pieces), next(pieces)] == [TextDelta("a"), TextDelta("b")]
    with pytest.raises(kind):
        next(pieces)


def test_trouble_in_a_whole_reply_has_what_could_be_read() -> None:
    """A reply that goes wrong in its middle carries what came before it."""
    with pytest.raises(ProtocolError) as caught:
        replied({"choices": [{"message": {"content": "ab"}, "finish_reason": "stop"}], "usage": 7})
    assert caught.value.partial is not None
    assert caught.value.partial.text == "ab"


def test_every_choice_that_was_asked_for_must_end() -> None:
    """A stream of two answers of which only one came is not whole, although that one is."""
    one = sse([text_chunk("a", "stop")], done=False)
    both = sse([text_chunk("a", "stop"), text_chunk("b", "stop", 1)], done=False)
    for body, whole in ((one, False), (both, True)):
        stream = streaming(choices=2)
        list(stream.feed(body))
        assert stream.finished is whole


def test_token_ids_are_joined() -> None:
    """Lists that come with each chunk add up."""
    chunks = [delta({"content": text}, token_ids=[number]) for number, text in enumerate("ab")]
    assert streamed(sse([*chunks, STOP]))[1].choices[0].extra["token_ids"] == [0, 1]


def test_made_ids_differ_from_answer_to_answer() -> None:
    """A call without an id, in an answer without one, gets one of the request's."""
    call = {"choices": [{"message": {"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}}]}
    ids = [replied(call, headers={"cf-ray": ray})[1].tool_calls[0].id for ray in ("one", "two", "two")]
    assert ids[0] != ids[1] == ids[2]


def test_numbers_that_overflow_are_harmless() -> None:
    """1e999, which is infinity once decoded, breaks nothing, wherever it stands."""
    wire = (
        b'data: {"created":1e999,"choices":[{"index":1e999,"delta":{"content":1e999}}],"usage":{"prompt_tokens":1e999}}'
    )
    completion = streamed(wire + b"\n\n" + sse([STOP]))[1]
    assert (completion.created, completion.usage) == (0, Usage())


def test_bytes_that_are_not_utf_8_become_replacement_characters() -> None:
    """One broken byte costs one character, not the answer."""
    wire = sse([text_chunk("aXb", "stop")]).replace(b"X", b"\xff")
    assert streamed(wire)[1].text == "a\ufffdb"


@pytest.mark.parametrize("text", ["a\u2028b", "a\u0085b", "a\u2029b", "🦜", "\u0000"])
def test_odd_characters_are_intact(text: str) -> None:
    """Characters that others take for line ends, and those of several bytes, arrive as they were, byte by byte."""
    wire = sse([text_chunk(text, "stop")])
    assert streamed(*(bytes([byte]) for byte in wire))[1].text == text


def test_an_event_over_the_limit_carries_what_had_come() -> None:
    """The cap's error has the answer so far."""
    stream = streaming(event_limit=1_000)
    list(stream.feed(sse([text_chunk("a")], done=False)))
    with pytest.raises(ResponseTooLarge) as caught:
        list(stream.feed(b"data: " + b"x" * 2_000))
    assert caught.value.partial is not None
    assert caught.value.partial.text == "a"
