from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest

from cf_gemma import Gemma
from cf_gemma import errors as e
from tests.faultserver import (
    END,
    FIN,
    HOLD,
    RST,
    Action,
    FaultServer,
    chunk,
    error_reply,
    head,
    json_reply,
    reply,
    stream_head,
)
from tests.response.wire import V_FAILED_CALL, sse, text_chunk
from tests.transport.callers import TOKEN

if TYPE_CHECKING:
    from tests.transport.callers import Caller

GOOD = json_reply({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]})
STREAM = [stream_head(), chunk(sse([text_chunk("hi", "stop")])), END]
BUSY = error_reply(500, message="busy")

AGAIN: dict[str, tuple[list[list[Action]], list[float]]] = {
    # what comes of each request but the last, and the waits before the next
    "429 with Retry-After": ([[error_reply(429, retry_after="0.05")]] * 2, [0.05, 0.05]),
    "429 with milliseconds": ([[error_reply(429, retry_after_ms="50", retry_after="9")]], [0.05]),
    "429 with nonsense": ([[error_reply(429, retry_after=text)] for text in ("nan", "inf")], [0.5, 1.0]),
    "429 with more of it": ([[error_reply(429, retry_after=text)] for text in ("-1", "Fri, 29 Sep 9")], [0.5, 1.0]),
    "429 and nothing": ([[error_reply(429)]], [0.5]),
    "capacity": ([[error_reply(429, 3040)]] * 2, [2.0, 4.0]),
    "408": ([[error_reply(408, 3046)]], [0.5]),
    "409": ([[error_reply(409)]], [0.5]),
    "500": ([[BUSY], [error_reply(529)]], [0.5, 1.0]),
    "HTML 502": ([[reply("<html>Bad gateway</html>", 502, "text/html")]], [0.5]),
    "closed without a response": ([[FIN]], [0.5]),
    "reset without a response": ([[RST]], [0.5]),
    "junk for a status line": ([[b"\x15\x03\x01\x00\x02\x02\x16", FIN]], [0.5]),
    "body cut": ([[head(200, {"content-length": "1000", "content-type": "application/json"}), b'{"choi', FIN]], [0.5]),
    "stream reset before a delta": ([[stream_head(), RST]], [0.5]),
    "stream empty": ([[stream_head(), END], [stream_head(), chunk(b": ping\n\n"), END]], [0.5, 1.0]),
    "stream busy before a delta": ([[stream_head(), chunk(b'data: {"errors":[{"code":3040}]}\n\n'), END]], [2.0]),
}  # fmt: skip


@pytest.mark.parametrize("streams", [False, True], ids=["chat", "stream"])
@pytest.mark.parametrize("name", AGAIN)
def test_what_is_sent_again(caller: Caller, name: str, streams: bool) -> None:
    """What may pass by is tried again after its wait, and the answer is as if nothing had been."""
    faults, waits = AGAIN[name]
    with FaultServer(*faults, STREAM if streams else [GOOD]) as server:
        model = caller.model(server.url)
        completion = caller.stream(model)[-1] if streams else caller.chat(model, max_tokens=5)
        assert completion.text == "hi"
        assert caller.waits == waits
        assert len(server.requests) == len(faults) + 1
        assert len({request.body for request in server.requests}) == 1
        caller.close()
        assert server.wait_until_closed()


ONCE: dict[str, tuple[bytes, type[e.GemmaError], int | None]] = {
    "quota": (error_reply(429, 4006, "daily free allocation"), e.QuotaExhausted, 4006),
    "quota with a wait": (error_reply(429, 3036, retry_after="1"), e.QuotaExhausted, 3036),
    "credits": (reply('{"success":false,"error":[{"code":2021,"message":"x"}]}', 402), e.QuotaExhausted, 2021),
    "spend limit": (reply('{"success":false,"error":[{"code":2045,"message":"x"}]}', 429), e.QuotaExhausted, 2045),
    "too long a wait": (error_reply(429, retry_after="3600"), e.RateLimited, None),
    "400": (error_reply(400, 5006, "Bad input"), e.BadRequest, 5006),
    "401": (error_reply(401, 10000), e.AuthenticationError, 10000),
    "403": (error_reply(403, 5035), e.PermissionDenied, 5035),
    "404": (error_reply(404, 7003), e.NotFound, 7003),
    "405": (error_reply(405, 5019), e.BadRequest, 5019),
    "413": (error_reply(413, 3006), e.RequestTooLarge, 3006),
    "422": (error_reply(422, 5012), e.BadRequest, 5012),
    "window": (error_reply(413, 5021), e.ContextOverflow, 5021),
    "refusal in a 200": (error_reply(200, 8001), e.BadRequest, 8001),
    "HTML": (reply("<html>", content_type="text/html"), e.ProtocolError, None),
    "JSON that is no answer": (json_reply({"hello": "world"}), e.ProtocolError, None),
}


@pytest.mark.parametrize("streams", [False, True], ids=["chat", "stream"])
@pytest.mark.parametrize("name", ONCE)
def test_what_is_not_sent_again(caller: Caller, name: str, streams: bool) -> None:
    """What another try can't mend is told at once, by its class and Cloudflare's code."""
    response, kind, code = ONCE[name]
    with FaultServer([response]) as server:
        model = caller.model(server.url)
        with pytest.raises(e.GemmaError) as caught:
            caller.stream(model) if streams else caller.chat(model, max_tokens=5)
        error = caught.value
        assert type(error) is kind
        assert (error.code, error.attempts, caller.waits, len(server.requests)) == (code, 1, [], 1)
        if name == "too long a wait":
            assert error.retry_after == 3600


@pytest.mark.parametrize("max_retries", [0, 1, 3])
def test_the_number_of_attempts(caller: Caller, max_retries: int) -> None:
    """`max_retries` more than one are made, and the error says how many there were."""
    with FaultServer([BUSY]) as server:
        with pytest.raises(e.ServerError) as caught:
            caller.chat(caller.model(server.url, max_retries=max_retries))
        assert caught.value.attempts == len(server.requests) == max_retries + 1
        assert caller.waits == [0.5, 1.0, 2.0][:max_retries]
        assert ("attempts" in str(caught.value)) is (max_retries > 0)


def test_silence_before_an_answer(caller: Caller) -> None:
    """A service that takes the request and says nothing is a RequestTimeout, after the attempts."""
    with FaultServer([HOLD]) as server:
        start = time.monotonic()
        with pytest.raises(e.RequestTimeout, match=r"no answer within 0\.1 s") as caught:
            caller.chat(caller.model(server.url, timeout=(1.0, 0.1)))
        assert time.monotonic() - start < 5
        assert caught.value.attempts == len(server.requests) == 3
        assert server.wait_until_closed()


def test_silence_within_a_reply(caller: Caller) -> None:
    """A reply that stops half-way is one, too."""
    with FaultServer([head(200, {"content-length": "1000"}), b'{"choices"', HOLD]) as server:
        with pytest.raises(e.RequestTimeout, match=r"0\.1 s") as caught:
            caller.chat(caller.model(server.url, timeout=(1.0, 0.1), max_retries=0), max_tokens=5)
        assert caught.value.attempts == 1
        assert server.wait_until_closed()


def test_nobody_listens(caller: Caller) -> None:
    """A refused connection is a ConnectionFailed, after the attempts."""
    with FaultServer([HOLD]) as server:
        url = server.url
    with pytest.raises(e.ConnectionFailed) as caught:
        caller.chat(caller.model(url))
    assert caught.value.attempts == 3
    assert caller.waits == [0.5, 1.0]


def test_junk_before_a_request(caller: Caller) -> None:
    """What isn't HTTP at all is a ConnectionFailed."""
    with FaultServer([b"SSH-2.0-OpenSSH_9.9\r\n", FIN], reads=False) as server:
        with pytest.raises(e.ConnectionFailed):
            caller.chat(caller.model(server.url, max_retries=1))
        assert server.connections == 2


def test_junk_in_place_of_tls(caller: Caller) -> None:
    """So is what answers a TLS handshake with anything else."""
    with FaultServer([b"HTTP/1.1 400 Bad Request\r\n\r\n", FIN], reads=False) as server:
        with pytest.raises(e.ConnectionFailed, match="ConnectError"):
            caller.chat(caller.model(f"https://127.0.0.1:{server.port}", max_retries=1))
        assert server.connections == 2


def tool(name: str) -> dict[str, Any]:
    """A tool."""
    return {"type": "function", "function": {"name": name, "parameters": {}}}


MADE = {"tool_calls": [{"id": "x", "function": {"name": "f", "arguments": "{}"}}]}
PREAMBLE = {"content": "Let me see.", "reasoning": "Hm.", "tool_calls": []}


def spoken(message: dict[str, Any]) -> list[Action]:
    """A stream that says this."""
    event = {"id": "a", "choices": [{"index": 0, "delta": message, "finish_reason": "tool_calls"}]}
    return [stream_head(), chunk(sse([event])), END]


@pytest.mark.parametrize("wire_streaming", [True, False])
@pytest.mark.parametrize("silent", [True, False], ids=["says nothing", "says something"])
def test_a_required_call_is_asked_for_twice(caller: Caller, wire_streaming: bool, silent: bool) -> None:
    """A call that was required and not made is asked for once more; a second failure carries the answer."""
    missing = {"content": ""} if silent else PREAMBLE
    if wire_streaming:
        without, with_call = spoken(missing), spoken(MADE)
    else:
        without, with_call = ([json_reply({"choices": [{"message": message}]})] for message in (missing, MADE))
    options = {"tools": [tool("f"), tool("g")], "tool_choice": "required"}
    with FaultServer(without, with_call, without) as server:
        model = caller.model(server.url, wire_streaming=wire_streaming)
        assert [call.name for call in caller.chat(model, **options).tool_calls] == ["f"]
        assert (len(server.requests), caller.waits) == (2, [0.0])
        with pytest.raises(e.ToolChoiceNotHonoured) as caught:
            caller.chat(model, **options)
        assert (caught.value.attempts, len(server.requests)) == (2, 4)
        assert caught.value.partial is not None
        assert caught.value.partial.text == missing["content"]


def test_a_streamed_required_call_is_not_asked_for_again_once_something_was_said(caller: Caller) -> None:
    """What was handed out can't be taken back: the error comes at the end, with the answer."""
    with FaultServer(spoken(PREAMBLE)) as server:
        items: list[Any] = []
        with pytest.raises(e.ToolChoiceNotHonoured) as caught:
            caller.stream(caller.model(server.url), into=items, tools=[tool("f")], tool_choice="required")
        assert [item.text for item in items] == ["Hm.", "Let me see."]
        assert (caught.value.attempts, len(server.requests)) == (1, 1)


def test_chat_begins_anew_where_a_stream_was_cut(caller: Caller) -> None:
    """Nothing of a whole answer was handed out yet, so a cut one is asked for again, and the texts aren't mixed."""
    cut = [stream_head(), chunk(sse([text_chunk("lost")], done=False)), FIN]
    with FaultServer(cut, STREAM) as server:
        assert caller.chat(caller.model(server.url)).text == "hi"
        assert (len(server.requests), caller.waits) == (2, [0.5])
    with FaultServer(cut) as server:
        with pytest.raises(e.StreamTruncated) as caught:
            caller.chat(caller.model(server.url))
        assert caught.value.attempts == len(server.requests) == 3
        assert caught.value.partial is not None
        assert caught.value.partial.text == "lost"


def test_retries_are_logged_without_secrets(caller: Caller, caplog: pytest.LogCaptureFixture) -> None:
    """The log says what was waited for and why, in one line each, and shows neither token, account nor prompt."""
    caplog.set_level(logging.DEBUG, "cf_gemma")
    with FaultServer([BUSY], [GOOD]) as server:
        caller.chat(caller.model(server.url), "my secret prompt", max_tokens=5)
    lines = [record.getMessage() for record in caplog.records if record.name == "cf_gemma"]
    assert lines == ["sending again in 0.50 s after attempt 1: ServerError"]


@pytest.mark.parametrize(
    "fault", [[BUSY], [FIN], [HOLD], [reply("<html>", content_type="text/html")], [stream_head(), END]]
)
def test_no_error_shows_the_token(caller: Caller, fault: list[Action]) -> None:
    """Neither the error nor what it came from has the token in its text."""
    with FaultServer(fault) as server:
        with pytest.raises(e.GemmaError) as caught:
            caller.chat(caller.model(server.url, timeout=(1.0, 0.05), max_retries=1))
        error: BaseException | None = caught.value
        while error is not None:
            assert TOKEN not in f"{error!s} {error!r} {json.dumps(vars(error), default=repr)}"
            error = error.__cause__ or error.__context__


def test_thinking_that_used_up_the_room_is_logged(caller: Caller, caplog: pytest.LogCaptureFixture) -> None:
    """An answer that is all reasoning comes as it is, with one warning that says what to do."""
    message = {"content": None, "reasoning": "Hm."}
    with FaultServer([json_reply({"choices": [{"message": message, "finish_reason": "length"}]})]) as server:
        completion = caller.chat(caller.model(server.url), max_tokens=5)
    assert (completion.text, completion.reasoning, completion.finish_reason) == ("", "Hm.", "length")
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "raise max_tokens, or set thinking=False" in warnings[0]


def test_the_captured_failure_to_call(caller: Caller) -> None:
    """The captured answer without the call that was required is known for what it is."""
    with FaultServer([reply(V_FAILED_CALL)]) as server:
        with pytest.raises(e.ToolChoiceNotHonoured) as caught:
            caller.chat(caller.model(server.url), max_tokens=5_000, tools=[tool("f")], tool_choice="required")
        assert caught.value.partial is not None
        assert caught.value.partial.choices[0].extra == {"stop_reason": 106}
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("status", "remedy"), [(401, "check api_token"), (403, "the token"), (404, "model and base_url")]
)
def test_errors_of_a_server_of_ones_own(status: int, remedy: str) -> None:
    """They speak of that server, not of Workers AI, an account or Cloudflare's variables."""
    own: dict[str, Any] = {"account_id": None, "api_token": "t", "endpoint": "chat_completions"}
    with (
        FaultServer([json_reply({"error": "no"}, status=status)]) as server,
        Gemma(**own, base_url=server.url) as model,
        pytest.raises(e.ApiError) as caught,
    ):
        model.chat("Hi")
    assert str(caught.value).startswith(f"{status} from the server: ")
    assert remedy in str(caught.value)
    assert "CLOUDFLARE" not in str(caught.value)
    assert "account" not in str(caught.value)
