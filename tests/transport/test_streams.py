from __future__ import annotations

import gzip
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from cf_gemma import errors as e
from cf_gemma.model.completion import Completion, TextDelta
from tests.faultserver import (
    END,
    FIN,
    HOLD,
    RST,
    Action,
    Bytewise,
    FaultServer,
    Repeat,
    Wait,
    chunk,
    head,
    json_reply,
    reply,
    stream_head,
)
from tests.response.wire import S_STREAM, V_REPLY, sse, text_chunk

if TYPE_CHECKING:
    from tests.transport.callers import Caller

A, B = (sse([text_chunk(text)], done=False) for text in "ab")
STOP = sse([text_chunk("", "stop")], done=False)
DONE = b"data: [DONE]\n\n"
CLOSING = head(200, {"content-type": "text/event-stream", "connection": "close"})
BOMB = gzip.compress(bytes(100_000_000), compresslevel=1)
SHORT = (1.0, 0.15)
"""A limit of silence that a test can wait for."""


def call_of(piece: str, **more: Any) -> bytes:
    """A chunk with a piece of a tool call."""
    call = {"index": 0, "function": {"arguments": piece, **more}, "id": "x"}
    return sse(
        [{"id": "a", "choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]}], done=False
    )


WHOLE: dict[str, list[Action]] = {
    "finish and DONE": [stream_head(), chunk(A + B), chunk(STOP), chunk(DONE), END],
    "finish, no DONE": [stream_head(), chunk(A + B + STOP), END],
    "DONE, no finish": [stream_head(), chunk(A + B + DONE), END],
    "finish, then end": [CLOSING, A + B + STOP, FIN],
    "finish, then RST": [stream_head(), chunk(A + B + STOP), Wait(0.05), RST],
    "finish, then FIN": [stream_head(), chunk(A + B + STOP), FIN],
    "finish, then a cut event": [CLOSING, A + B + STOP + DONE[:7], FIN],
    "every byte on its own": [stream_head(), Bytewise(b"".join(chunk(bytes([b])) for b in A + B + STOP + DONE)), END],
    "a byte order mark": [CLOSING, b"\xef\xbb\xbf" + A + B + DONE, FIN],
    "carriage returns": [CLOSING, (A + B + DONE).replace(b"\n", b"\r"), FIN],
    "both, cut between": [CLOSING, A.replace(b"\n", b"\r\n")[:-1], Wait(0.02), b"\n" + B + DONE, FIN],
    "pings between": [stream_head(), *[chunk(b": ping\n\n") + chunk(piece) for piece in (A, B, STOP, DONE)], END],
    "a lying charset": [head(200, {"content-type": "text/event-stream; charset=iso-8859-1"}), A + B + DONE, FIN],
    "no content type": [head(200), A + B + DONE, FIN],
    "gzip": [stream_head(content_encoding="gzip"), chunk(gzip.compress(A + B + DONE)), END],
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_stream(caller: Caller, name: str) -> None:
    """A stream is whole once `[DONE]` or the finish reason came, however it is sent and whatever comes after."""
    with FaultServer(WHOLE[name]) as server:
        items = caller.stream(caller.model(server.url))
        assert items[:-1] == [TextDelta("a"), TextDelta("b")]
        assert isinstance(items[-1], Completion)
        assert (items[-1].text, items[-1].finish_reason) == ("ab", "stop")
        assert len(server.requests) == 1
        caller.close()
        assert server.wait_until_closed()


CUT: dict[str, list[Action]] = {
    "proper end, neither finish nor DONE": [stream_head(), chunk(A), END],
    "FIN": [CLOSING, A, FIN],
    "FIN within an event": [CLOSING, A + B[:-9], FIN],
    "FIN within a character": [CLOSING, A + b'data: {"x":"\xf0\x9f', FIN],
    "FIN between chunks": [stream_head(), chunk(A), FIN],
    "FIN within a chunk": [stream_head(), chunk(A + B)[:-20], FIN],
    "RST": [stream_head(), chunk(A), Wait(0.05), RST],
    "within a tool call": [CLOSING, A + call_of('{"path": "/ho', name="wipe"), FIN],
}


@pytest.mark.parametrize("name", CUT)
def test_a_cut_stream(caller: Caller, name: str) -> None:
    """A stream that was cut after its first delta is a StreamTruncated with what had come, not asked for again."""
    with FaultServer(CUT[name]) as server:
        items: list[Any] = []
        with pytest.raises(e.StreamTruncated) as caught:
            caller.stream(caller.model(server.url), into=items)
        error = caught.value
        assert items[0] == TextDelta("a")
        assert error.partial is not None
        assert (error.partial.text, error.partial.finish_reason, error.partial.tool_calls) == ("a", None, ())
        assert (error.attempts, len(server.requests), caller.waits) == (1, 1, [])
        caller.close()
        assert server.wait_until_closed()


@pytest.mark.parametrize("silence", [HOLD, Repeat(chunk(b": ping\n\n"), every=0.02)], ids=["nothing", "pings"])
def test_a_stream_that_stalls(caller: Caller, silence: Action) -> None:
    """After the limit of silence a stream is given up with what had come; pings aren't words."""
    with FaultServer([stream_head(), chunk(A), silence]) as server:
        start = time.monotonic()
        with pytest.raises(e.StreamTimeout, match=r"said nothing for 0\.15 s") as caught:
            caller.stream(caller.model(server.url, timeout=SHORT))
        assert 0.15 <= time.monotonic() - start < 5
        assert caught.value.partial is not None
        assert (caught.value.partial.text, caught.value.attempts, len(server.requests)) == ("a", 1, 1)
        assert server.wait_until_closed()


def test_pings_alone(caller: Caller) -> None:
    """A stream that never says a word is given up at the limit, and asked for again: no answer had begun."""
    with FaultServer([stream_head(), Repeat(chunk(b": ping\n\n"), every=0.02)]) as server:
        with pytest.raises(e.StreamTimeout) as caught:
            caller.stream(caller.model(server.url, timeout=SHORT, max_retries=1))
        assert (caught.value.partial, caught.value.attempts, len(server.requests)) == (None, 2, 2)
        assert server.wait_until_closed()


def test_a_slow_stream_is_no_stall(caller: Caller) -> None:
    """The limit is for one silence, not for the answer."""
    events = [Wait(0.06), chunk(A)] * 4
    with FaultServer([stream_head(), *events, chunk(DONE), END]) as server:
        assert len(caller.stream(caller.model(server.url, timeout=SHORT))) == 5


BAD: dict[str, tuple[list[Action], type[e.GemmaError], str]] = {
    "HTML": ([reply("<html>Log in</html>", content_type="text/html")], e.ProtocolError, "text/html.*Log in"),
    "no event": ([CLOSING, A + b"data: junk\n\n", FIN], e.ProtocolError, "junk"),
    "an array": ([CLOSING, A + b"data: []\n\n", FIN], e.ProtocolError, "not a JSON object"),
    "NaN": ([CLOSING, A + b'data: {"choices":[NaN]}\n\n', FIN], e.ProtocolError, "NaN"),
    "nesting": ([CLOSING, A + b"data: " + b"[" * 100_000 + b"\n\n", FIN], e.ProtocolError, "not a JSON object"),
    "an endless line": ([CLOSING, A + b"data: ", Repeat(b"x" * 65_536)], e.ResponseTooLarge, "8388608 bytes"),
    "an error": ([CLOSING, A + b'data: {"errors":[{"code":3040}]}\n\n', HOLD], e.CapacityExceeded, "3040"),
    "an error event": ([CLOSING, A + b'event: error\ndata: {"message":"boom"}\n\n', HOLD], e.ApiError, "boom"),
    "another compression": ([stream_head(content_encoding="br"), HOLD], e.ProtocolError, "br"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_stream(caller: Caller, name: str) -> None:
    """What doesn't belong into a stream is a typed error at once, with what had come, and the connection is closed."""
    actions, kind, message = BAD[name]
    with FaultServer(actions) as server:
        with pytest.raises(e.GemmaError, match=message) as caught:
            caller.stream(caller.model(server.url))
        assert type(caught.value) is kind
        if A in b"".join(action for action in actions if isinstance(action, bytes)):
            assert caught.value.partial is not None
            assert caught.value.partial.text == "a"
        assert (caught.value.attempts, len(server.requests)) == (1, 1)
        caller.close()
        assert server.wait_until_closed()


def test_a_reply_in_place_of_a_stream(caller: Caller) -> None:
    """Some models ignore the wish for a stream: their reply is the answer all the same."""
    with FaultServer([reply(V_REPLY)]) as server:
        *deltas, completion = caller.stream(caller.model(server.url))
        assert [delta.text for delta in deltas] == [completion.reasoning] == ["1.  **Analyze…"]
        assert server.requests[0].json["stream"] is True


def test_a_stream_in_place_of_a_reply(caller: Caller) -> None:
    """The other way round, too."""
    with FaultServer([stream_head(), chunk(S_STREAM), END]) as server:
        assert caller.chat(caller.model(server.url), max_tokens=5).text == "أ"
        assert "stream" not in server.requests[0].json


def test_chat_streams_on_the_wire(caller: Caller) -> None:
    """A long answer is streamed on the wire and comes as a whole, with the exact usage and the answer's own headers."""
    with FaultServer([stream_head(cf_ray="ray", cf_ai_req_id="req"), chunk(S_STREAM), END]) as server:
        completion = caller.chat(caller.model(server.url))
        assert (completion.text, completion.request_id) == ("أ", "req")
        assert completion.usage is not None
        assert completion.usage.completion_tokens == 16
        assert server.requests[0].json["stream"] is True


def test_what_goes_out(caller: Caller) -> None:
    """The request is what the service takes: its address, its headers, its body."""
    with FaultServer([json_reply({"response": "hi"})]) as server:
        caller.chat(caller.model(server.url, gateway="gate"), max_tokens=5, extra_headers={"cf-aig-cache-ttl": "60"})
        request = server.requests[0]
        assert (request.method, request.path) == ("POST", "/accounts/acc/ai/run/@cf/google/gemma-4-26b-a4b-it")
        assert request.headers["authorization"] == "Bearer cf-canary-0123456789"
        assert request.headers["accept-encoding"] == "identity"
        assert request.headers["content-type"] == "application/json"
        assert request.headers["cf-aig-gateway-id"] == "gate"
        assert request.headers["cf-aig-cache-ttl"] == "60"
        assert request.headers["user-agent"].startswith("cf-gemma/")
        assert request.json["max_tokens"] == 5


def test_a_gzip_bomb_is_bounded(caller: Caller) -> None:
    """A small body that unpacks to a huge one is given up at the cap."""
    with FaultServer([reply(BOMB, content_encoding="gzip")]) as server:
        with pytest.raises(e.ResponseTooLarge):
            caller.chat(caller.model(server.url), max_tokens=5)
        caller.close()
        assert server.wait_until_closed()


def test_a_redirect_is_refused(caller: Caller) -> None:
    """No redirect is followed: the other host doesn't see a connection, let alone the token."""
    with FaultServer([json_reply({"response": "caught"})]) as other:
        for status in (301, 302, 303, 307, 308):
            with FaultServer([reply("<html>moved</html>", status, "text/html", location=f"{other.url}/x")]) as server:
                for client in (None, caller.http_client(follow_redirects=True)):
                    with pytest.raises(e.ApiError, match="never followed") as caught:
                        caller.chat(caller.model(server.url, client))
                    assert caught.value.status == status
                    if client is not None:
                        caller.close_http_client(client)
                assert len(server.requests) == 2
        assert other.connections == 0


@pytest.mark.parametrize("timeout", [120, None])
@pytest.mark.parametrize("kind", [httpx.ConnectTimeout, httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout])
def test_a_timeout_of_the_operating_system(
    caller: Caller, kind: type[httpx.TimeoutException], timeout: int | None
) -> None:
    """What the system itself gives up is a RequestTimeout, also where no limit of ours was set."""

    def give_up(request: httpx.Request) -> httpx.Response:
        raise kind("[Errno 110] Connection timed out")

    client = caller.http_client(transport=httpx.MockTransport(give_up))
    with pytest.raises(e.RequestTimeout) as caught:
        caller.chat(caller.model("http://127.0.0.1:9", client, timeout=timeout))
    assert (caught.value.attempts, len(caller.waits)) == (3, 2)
    caller.close_http_client(client)
