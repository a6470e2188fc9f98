from __future__ import annotations

import gzip
import json
import zlib
from typing import TYPE_CHECKING

import pytest

from cf_gemma import errors as e
from cf_gemma.model.completion import TextDelta
from cf_gemma.request.http_request import HttpRequest
from cf_gemma.response.inflate import PIECE, Inflater
from cf_gemma.response.readers import BODY_LIMIT, ERROR_BODY_LIMIT
from cf_gemma.response.reception import Reception
from tests.response.wire import V_FAILED_CALL, sse, text_chunk

if TYPE_CHECKING:
    from cf_gemma.model.completion import Completion, Delta

STREAM = sse([text_chunk("a"), text_chunk("b", "stop")])
REPLY = b'{"choices":[{"message":{"content":"ab"},"finish_reason":"stop"}]}'


def received(
    *pieces: bytes,
    status: int = 200,
    stream: bool = True,
    requires_call: bool = False,
    named: str | None = None,
    **headers: str,
) -> tuple[list[Delta], Completion]:
    """What an answer in these pieces says."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    request = HttpRequest("https://api.test", {}, b"{}", stream=stream, requires_call=requires_call, named=named)
    reception = Reception.of_answer(request, status, fields, now=0.0)
    deltas = [delta for piece in pieces for delta in reception.feed(piece)]
    return [*deltas, *reception.close()], reception.result()


@pytest.mark.parametrize("asked", [True, False], ids=["asked for a stream", "asked for a reply"])
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (STREAM, "text/event-stream"),
        (STREAM, "text/event-stream; charset=iso-8859-1"),
        (STREAM, "Text/Event-Stream"),
        (REPLY, "application/json"),
        (REPLY, "text/plain"),
    ],
)
def test_the_content_type_says_how_to_read(body: bytes, kind: str, asked: bool) -> None:
    """Streams and replies are told apart by what came, not by what was asked for."""
    deltas, completion = received(body, stream=asked, content_type=kind)
    assert completion.text == "ab"
    assert deltas == ([TextDelta("a"), TextDelta("b")] if body is STREAM else [TextDelta("ab")])


@pytest.mark.parametrize("pieces", [(STREAM,), (b"\n", STREAM), (b"", b" ", STREAM), (b": ping\n\n", STREAM), (REPLY,),
                                    (b" \n", REPLY), (b"\xef\xbb\xbf", STREAM), (STREAM[:1], STREAM[1:])])  # fmt: skip
def test_without_a_content_type_the_first_byte_tells(pieces: tuple[bytes, ...]) -> None:
    """A stream that was asked for is known by how it begins."""
    assert received(*pieces)[1].text == "ab"


def test_html_in_place_of_an_answer() -> None:
    """A captive portal's page is a ProtocolError that names its type."""
    for kind in ({"content_type": "text/html"}, {}):
        with pytest.raises(e.ProtocolError, match="html"):
            received(b"<html>Log in</html>", **kind)


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP", "deflate"])
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_compressed_answers(encoding: str, size: int) -> None:
    """Compressed bodies are read, in pieces of any size, although they weren't asked for."""
    wire = zlib.compress(STREAM) if encoding == "deflate" else gzip.compress(STREAM)
    pieces = [wire[at : at + size] for at in range(0, len(wire), size)]
    assert received(*pieces, content_type="text/event-stream", content_encoding=encoding)[1].text == "ab"


@pytest.mark.parametrize(("encoding", "message"), [("br", "compressed with br"), ("gzip", "compressed body is broken")])
def test_compression_that_can_not_be_read(encoding: str, message: str) -> None:
    """An unknown or broken compression is a ProtocolError."""
    with pytest.raises(e.ProtocolError, match=message):
        received(REPLY, content_encoding=encoding)


def test_a_refusal_in_an_unknown_compression_is_still_a_refusal() -> None:
    """The status tells what happened, even where the body can't be read."""
    with pytest.raises(e.RateLimited, match="compressed with br") as caught:
        received(b"\x8b\x00", status=429, content_encoding="br", retry_after="7")
    assert caught.value.retry_after == 7.0


def test_a_bomb_is_unpacked_in_pieces() -> None:
    """However much a body unpacks to, no piece is large, and no more is unpacked than is taken."""
    packed = gzip.compress(bytes(50_000_000))
    pieces = Inflater("gzip").feed(packed)
    assert max(len(next(pieces)) for _ in range(20)) <= PIECE


@pytest.mark.parametrize("cut", [1, 5, 31, 1_000])
def test_a_body_of_several_members(cut: int) -> None:
    """A gzip body of several members is all of them, wherever the network cut it; zeros at its end say nothing."""
    packed = gzip.compress(b"one ") + gzip.compress(b"") + gzip.compress(b"two") + bytes(9)
    inflater = Inflater("gzip")
    pieces = [packed[place : place + cut] for place in range(0, len(packed), cut)]
    assert b"".join(part for piece in pieces for part in inflater.feed(piece)) == b"one two"
    with pytest.raises(e.ProtocolError, match="broken"):
        list(inflater.feed(b"and this is none"))


def test_a_stream_whose_compression_breaks_has_its_partial() -> None:
    """What was unpacked before is there, as it is for every other broken stream."""
    packed = gzip.compress(sse([text_chunk("a")], done=False))
    with pytest.raises(e.ProtocolError, match="broken") as caught:
        received(packed, b"junk", content_type="text/event-stream", content_encoding="gzip", stream=True)
    assert caught.value.partial is not None
    assert caught.value.partial.text == "a"


@pytest.mark.parametrize("stream", [True, False])
def test_an_endless_answer_is_refused(stream: bool) -> None:
    """An answer over the cap is given up, packed or not."""
    with pytest.raises(e.ResponseTooLarge, match=str(BODY_LIMIT)):
        received(*[bytes(1_000_000)] * 40, content_type="application/json", stream=stream)
    with pytest.raises(e.ResponseTooLarge):
        received(gzip.compress(bytes(40_000_000)), content_encoding="gzip", content_type="application/json")


def test_an_endless_error_is_cut_off() -> None:
    """Enough of an error is enough: the rest isn't waited for."""
    reception = Reception.of_answer(HttpRequest("", {}, b"", stream=True), 500, {}, now=0.0)
    for _ in range(ERROR_BODY_LIMIT // 1_000):
        assert not reception.reader.done
        assert list(reception.feed(b"x" * 1_000)) == []
    list(reception.feed(b"x" * 1_000_000))
    assert reception.reader.done
    with pytest.raises(e.ServerError):
        list(reception.close())


def test_retry_after_is_on_the_error() -> None:
    """What the service asks to wait is told with its refusal."""
    with pytest.raises(e.RateLimited) as caught:
        received(b'{"errors":[{"message":"slow down"}]}', status=429, retry_after="7")
    assert caught.value.retry_after == 7.0


@pytest.mark.parametrize(
    ("body", "called"),
    [
        (V_FAILED_CALL.encode(), False),
        (REPLY, False),
        (b'{"choices":[{"message":{"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}}]}', True),
        (b'{"choices":[{"message":{"tool_calls":[{"function":{"name":"f","arguments":"{"}}]}}]}', True),
        (b'{"choices":[{"message":{"content":"a"},"finish_reason":"length"}]}', True),
    ],
)
def test_a_required_call_that_was_not_made(body: bytes, called: bool) -> None:
    """It is an error that carries the answer; a cut answer has its finish reason, and a broken call is one."""
    assert received(body)[1]
    if called:
        assert received(body, requires_call=True)[1]
    else:
        with pytest.raises(e.ToolChoiceNotHonoured) as caught:
            received(body, requires_call=True, cf_ray="ray")
        assert caught.value.partial == received(body, cf_ray="ray")[1]
        assert caught.value.request_id == "ray"


@pytest.mark.parametrize(
    ("calls", "honoured"),
    [([("f", "{}")], True), ([("g", "{}"), ("f", "{}")], True), ([("g", "{}")], False), ([("g", "{")], True)],
)
def test_a_named_call_that_was_not_made(calls: list[tuple[str, str]], honoured: bool) -> None:
    """A call of another tool is none of the named one, unless it is broken: then so may be its name."""
    wire = [{"function": {"name": name, "arguments": arguments}} for name, arguments in calls]
    body = json.dumps({"choices": [{"message": {"tool_calls": wire}, "finish_reason": "stop"}]}).encode()
    assert received(body, requires_call=True)[1]
    if honoured:
        assert received(body, requires_call=True, named="f")[1]
    else:
        with pytest.raises(e.ToolChoiceNotHonoured, match="a call of f was required"):
            received(body, requires_call=True, named="f")


def test_a_cut_or_silent_stream_carries_what_had_come() -> None:
    """A lost connection and a silence are typed by whether an answer had begun, and carry it."""
    request = HttpRequest("", {}, b"", stream=True)
    streaming = Reception.of_answer(request, 200, {"content-type": "text/event-stream", "cf-ray": "ray"}, now=0.0)
    list(streaming.feed(sse([text_chunk("a")], done=False)))
    for error, kind in (
        (streaming.reader.cut("reset"), e.StreamTruncated),
        (streaming.reader.silent(5), e.StreamTimeout),
    ):
        assert type(error) is kind
        assert error.partial is not None
        assert (error.partial.text, error.partial.finish_reason, error.request_id) == ("a", None, "ray")
    whole = Reception.of_answer(request, 200, {"content-type": "application/json"}, now=0.0)
    assert type(whole.reader.cut("reset")) is e.ConnectionFailed
    assert type(whole.reader.silent(5)) is e.RequestTimeout


@pytest.mark.parametrize("kind", ["text/event-stream", "text/event-stream; charset=utf-8", ""])
def test_a_body_under_the_name_of_a_stream(kind: str) -> None:
    """JSON is read as JSON whatever it is called: a refusal keeps its code, and an answer is whole."""
    request = HttpRequest("https://x.test", {}, b"", stream=True)
    refusal = Reception.of_answer(request, 200, {"content-type": kind}, now=0)
    list(refusal.feed(b'\n{"success": false, "errors": [{"code": 4006, "message": "used up"}]}'))
    with pytest.raises(e.QuotaExhausted):
        list(refusal.close())
    answer = Reception.of_answer(request, 200, {"content-type": kind}, now=0)
    list(answer.feed(b'{"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}'))
    assert list(answer.close()) == [TextDelta("hi")]
    assert answer.result().text == "hi"


def test_a_stream_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream of ordinary words that never ends is given up, with what had arrived."""
    monkeypatch.setattr("cf_gemma.response.stream.STREAM_LIMIT", 10_000)
    stream = Reception.of_answer(
        HttpRequest("https://x.test", {}, b"", stream=True), 200, {"content-type": "text/event-stream"}, now=0
    )
    words = (delta for _ in range(1_000) for delta in stream.feed(sse([text_chunk("word ")], done=False)))
    with pytest.raises(e.ResponseTooLarge, match="10000 bytes") as caught:
        list(words)
    assert caught.value.partial is not None
    assert caught.value.partial.text.startswith("word word")
