"""The table of faults and bad inputs: what the server does, or what is passed; what must come of it.

Rows have one number for one kind of fault, and one line for each manner of it. The numbers without a line here are in
`ELSEWHERE`, with the tests that hold them and why they aren't a line.
"""

from __future__ import annotations

import gzip
import math
from typing import Final

from cf_gemma import errors as e
from tests.faults.scenarios import (
    AGAIN,
    CLOSING,
    DONE,
    EMPTY,
    GOOD,
    PINGS,
    SHORT,
    SHORTER,
    STOP,
    USAGE,
    A,
    B,
    Elsewhere,
    Refusal,
    Row,
    answered,
    bad,
    bomb,
    call,
    called,
    closed_port,
    cut,
    events,
    framed,
    passing,
    refused,
    spoilt,
    streamed,
)
from tests.faultserver import (
    END,
    FIN,
    HOLD,
    RST,
    Bytewise,
    Repeat,
    Wait,
    chunk,
    error_reply,
    head,
    json_reply,
    reply,
    stream_head,
)
from tests.response.wire import sse, text_chunk

WIRE: Final[list[Row]] = [
    Row(number=1, name="good", scenarios=streamed(A, B, STOP, USAGE, DONE), stream=True, prompt_tokens=7),
    Row(number=2, name="finish, no DONE", scenarios=[[stream_head(), chunk(A + B + STOP), END]], stream=True),
    Row(number=3, name="DONE, no finish", scenarios=[[stream_head(), chunk(A + B + DONE), END]], stream=True),
    *cut(4, "proper end, neither", stream_head(), chunk(A), END),
    *cut(5, "FIN, neither", CLOSING, A, FIN),
    *cut(6, "FIN in an event", CLOSING, A + B[:-9], FIN),
    *cut(7, "FIN in a chunk", stream_head(), chunk(A + B)[:-20], FIN),
    *cut(7, "FIN between chunks", stream_head(), chunk(A), FIN),
    *cut(8, "RST", stream_head(), chunk(A), Wait(0.05), RST),
    *passing(9, "RST before a delta", [stream_head(), RST], waits=[0.5]),
    Row(number=10, name="zero bytes", scenarios=[[stream_head(), END]], stream=True, error=e.StreamTruncated,
        requests=3, facts={"attempts": 3, "partial": None}),
    spoilt(11, "call cut", called([call('{"path": "/ho', name="wipe", index=0, id="x")]).partition(b"\n\n")[0][:-9],
           error=e.StreamTruncated),
    Row(number=11, name="call cut by the limit", stream=True, text="", reason="length", invalid=1,
        scenarios=streamed(called([call('{"path": "/ho', name="wipe", index=0, id="x")]).replace(
            b'"tool_calls"}', b'"length"}'))),
    Row(number=12, name="stall", scenarios=[[stream_head(), chunk(A), HOLD]], stream=True, error=e.StreamTimeout,
        partial="a", message=r"0\.15 s", settings=SHORT),
    Row(number=12, name="pings after a delta", scenarios=[[stream_head(), chunk(A), PINGS]], stream=True,
        error=e.StreamTimeout, partial="a", message=r"0\.15 s", settings=SHORT),
    *[Row(number=12, name=f"{name}, again and again", scenarios=[[stream_head(), chunk(A), noise]], stream=True,
          error=e.StreamTimeout, partial="a", settings=SHORT) for name, noise in EMPTY.items()],
    *[Row(number=13, name=f"{name}, from the beginning", scenarios=[[stream_head(), noise]], stream=True,
          error=e.StreamTimeout, requests=3, settings=SHORTER, remark=AGAIN) for name, noise in EMPTY.items()],
    Row(number=13, name="pings only", scenarios=[[stream_head(), PINGS]], stream=True, error=e.StreamTimeout,
        requests=3, facts={"attempts": 3, "partial": None}, settings=SHORTER, remark=AGAIN),
    Row(number=14, name="no headers", scenarios=[[HOLD]], error=e.RequestTimeout, requests=3,
        facts={"attempts": 3}, settings=SHORTER),
    Row(number=15, name="refused", scenarios=[[]], url=lambda _: f"http://127.0.0.1:{closed_port()}",
        error=e.ConnectionFailed, requests=0, facts={"attempts": 3}),
    Row(number=15, name="no such host", scenarios=[[]], url=lambda _: "https://nowhere.invalid",
        error=e.ConnectionFailed, requests=0, facts={"attempts": 3}, message="nowhere.invalid"),
    *passing(16, "no response", [FIN], waits=[0.5]),
    Row(number=17, name="kept-alive, dead", scenarios=[[GOOD, FIN]], asks=2, requests=2, waits=[]),
    Row(number=18, name="junk for TLS", scenarios=[[b"HTTP/1.1 400 Bad Request\r\n\r\n", FIN]], reads=False,
        url=lambda server: f"https://127.0.0.1:{server.port}", error=e.ConnectionFailed, requests=0,
        facts={"attempts": 3}),
    Row(number=18, name="junk for a status line", scenarios=[[b"SSH-2.0-OpenSSH_9.9\r\n", FIN]], requests=3,
        error=e.ConnectionFailed, facts={"attempts": 3}),
    Row(number=19, name="body cut", requests=3, error=e.ConnectionFailed, facts={"attempts": 3},
        scenarios=[[head(200, {"content-length": "1000", "content-type": "application/json"}), b'{"choic', FIN]]),
    *passing(20, "Retry-After", *[[error_reply(429, retry_after="0.05")]] * 2, waits=[0.05, 0.05]),
    Row(number=21, name="an hour", scenarios=[[error_reply(429, retry_after="3600")]], error=e.RateLimited,
        facts={"retry_after": 3600.0, "attempts": 1}, waits=[]),
    *[row for text in ("nan", "inf", "-1", "", "Fri, 29 Sep 100000 16:26:37 GMT", "soon")
      for row in passing(22, text or "empty", *[[error_reply(429, retry_after=text)]] * 2, waits=[0.5, 1.0])],
    *[Row(number=23, name=str(code), scenarios=[[error_reply(429, code, retry_after="1")]], error=e.QuotaExhausted,
          facts={"code": code, "attempts": 1}, waits=[]) for code in (3036, 4006, 2021, 2045)],
    *passing(24, "capacity", *[[error_reply(429, 3040)]] * 2, waits=[2.0, 4.0]),
    *[row for status in (408, 409, 500, 529)
      for row in passing(24, str(status), *[[error_reply(status)]] * 2, waits=[0.5, 1.0])],
    *[refused(*one) for one in ((400, 5006, e.BadRequest), (401, 10000, e.AuthenticationError),
                                (403, 5035, e.PermissionDenied), (404, 7003, e.NotFound), (405, 5019, e.BadRequest),
                                (413, 3006, e.RequestTooLarge), (422, None, e.BadRequest))],
    Row(number=26, name="HTML 502", scenarios=[[reply("<h1>Bad gateway</h1>" * 99, 502, "text/html")]], requests=3,
        error=e.ServerError, message=r"^502 from Workers AI: <h1>Bad.{10,200}… \(3 attempts\)$", facts={"status": 502}),
    Row(number=27, name="HTML, stream", scenarios=[[reply("<html>Log in", content_type="text/html")]], stream=True,
        error=e.ProtocolError, message="text/html.*Log in"),
    Row(number=27, name="HTML, JSON", scenarios=[[reply("<html>Log in", content_type="text/html")]],
        error=e.ProtocolError, message="text/html.*Log in"),
    Row(number=28, name="no success", scenarios=[[error_reply(200, 8001, "Invalid input")]], error=e.BadRequest,
        message="Invalid input", facts={"code": 8001}),
    *[spoilt(29, name, data, error=kind, message=message) for name, data, kind, message in (
        ("error event", b'event: error\ndata: {"message":"boom"}\n\n', e.ApiError, "boom"),
        ("error object", events('{"error":{"message":"boom","code":500}}'), e.ServerError, "boom"),
        ("error of OpenAI's", events('{"error":{"message":"x","type":"x","code":"503"}}'), e.ServerError, "x"),
        ("errors", events('{"errors":[{"code":3040,"message":"full"}],"success":false}'), e.CapacityExceeded, "full"),
        ("errors, empty", events('{"errors":[],"success":false}'), e.ApiError, "no reason given"))],
    *[spoilt(30, name, events(data), message=message) for name, data, message in (
        ("junk", b"junk", "junk"), ("array", b"[]", "not a JSON object"), ("number", b"7", "not a JSON object"),
        ("null", b"null", "not a JSON object"))],
    *[spoilt(31, name, events(b'{"choices":%s}' % data)) for name, data in (
        ("NaN", b"[NaN]"), ("infinity", b"[Infinity]"), ("nesting", b"[" * 100_000), ("5000 digits", b"9" * 5_000),
        ("half a pair", rb'["\ud800"]'))],
    Row(number=31, name="1e999", stream=True, scenarios=streamed(
        A + B + STOP + events('{"choices":[],"usage":{"prompt_tokens":1e999}}') + DONE)),
    *[Row(number=31, name=f"{name}, JSON", scenarios=[[reply(b'{"choices":%s}' % data)]], error=e.ProtocolError)
      for name, data in (("NaN", b"[NaN]"), ("nesting", b"[" * 100_000), ("half a pair", rb'["\ud800"]'))],
    *[Row(number=32, name=name, text=f"a{text}b", stream=True, scenarios=streamed(
        A + sse([text_chunk(text)], done=False) + B + STOP + DONE))
      for name, text in (("U+2028", "\u2028"), ("U+0085", "\x85"), ("VT and RS", "\x0b\x1e"))],
    Row(number=33, name="bytewise", text="a🦜b", stream=True, scenarios=[[stream_head(), Bytewise(b"".join(
        chunk(bytes([byte])) for byte in A + sse([text_chunk("🦜")], done=False) + B + STOP + DONE)), END]]),
    framed(34, "CR", (A + B + DONE).replace(b"\n", b"\r")),
    framed(34, "CRLF", (A + B + DONE).replace(b"\n", b"\r\n")),
    framed(34, "CR and LF cut", A.replace(b"\n", b"\r\n")[:-1], Wait(0.02), b"\n" + B + DONE),
    framed(34, "mixed", A.replace(b"\n", b"\r") + B.replace(b"\n", b"\r\n") + DONE),
    framed(34, "byte order mark", b"\xef\xbb\xbf" + A + B + DONE),
    framed(34, "no space", (A + B + DONE).replace(b"data: ", b"data:")),
    framed(34, "two data lines", A.replace(b'"choices"', b'\ndata: "choices"') + B + DONE),
    framed(34, "comments and unknown fields", b": hello\nid: 7\nretry: 9\nx: y\n" + A + B"" + B + b":\n\n" + DONE),
    framed(34, "event without data", A + b"event: ping\n\n" + B + DONE),
    Row(number=35, name="a lying charset", text="é", stream=True, scenarios=[[
        head(200, {"content-type": "text/event-stream; charset=iso-8859-1", "connection": "close"}),
        sse([text_chunk("é")]), FIN]]),
    Row(number=35, name="invalid UTF-8", text="a\ufffdb", stream=True, scenarios=streamed(
        A + sse([text_chunk("#")], done=False).replace(b"#", b"\xff") + B + DONE)),
    spoilt(36, "endless line", b"", scenarios=[[CLOSING, A + b"data: ", Repeat(b"x" * 65_536, times=3_000)]],
           error=e.ResponseTooLarge, message="8388608 bytes"),
    Row(number=37, name="bomb", scenarios=[[reply(bomb(300), content_encoding="gzip")]], error=e.ResponseTooLarge),
    Row(number=37, name="gzip stream", stream=True, scenarios=[[
        stream_head(content_encoding="gzip"), chunk(gzip.compress(A + B + DONE)), END]]),
    Row(number=37, name="gzip in two members", stream=True, scenarios=[[
        stream_head(content_encoding="gzip"), chunk(gzip.compress(A) + gzip.compress(B + DONE)), END]]),
    Row(number=37, name="bomb for an error", scenarios=[[reply(bomb(300), 400, content_encoding="gzip")]],
        error=e.BadRequest),
    Row(number=48, name="unknown finish reason", reason="eos", scenarios=[[
        answered(message={"content": "ab", "mood": "fine"}, finish_reason="eos", unknown={"x": 1})]]),
    Row(number=48, name="no content", text="", requests=2,
        scenarios=[[answered(message={"content": None}, finish_reason="stop")]]),
    Row(number=48, name="no choices", scenarios=[[json_reply({"choices": [], "usage": {}})]], error=e.ProtocolError,
        message="neither choices nor a response"),
    Row(number=48, name="odd chunks", stream=True, scenarios=streamed(events(
        '{"choices":[],"usage":null,"x":[]}') + A + events('{"choices":[{"delta":{"content":null}}]}') + B + STOP)),
    *[Row(number=49, name=name, text="", reason="tool_calls", calls=calls, invalid=invalid, stream=True,
          scenarios=streamed(called(*deltas))) for name, calls, invalid, deltas in (
        ("index gaps", [("f", {"x": 1}), ("g", {})], 0,
         [[call('{"x": 1}', name="f", index=3, id="1")], [call("{}", name="g", index=7, id="2")]]),
        ("interleaved", [("f", {"x": 1}), ("g", {"y": 2})], 0,
         [[call('{"x"', name="f", index=0, id="1")], [call('{"y"', name="g", index=1, id="2")],
          [call(": 1}", index=0)], [call(": 2}", index=1)]]),
        ("id only in the first", [("f", {"x": 1})], 0,
         [[call("", name="f", index=0, id="1")], [call('{"x": ', index=0)], [call("1}", index=0)]]),
        ("empty names", [("f", {"x": 1})], 0,
         [[call('{"x": ', name="f", index=0, id="1")], [call("1}", name="", index=0)]]),
        ("arguments as an object", [("f", {"x": 1})], 0, [[call({"x": 1}, name="f", index=0, id="1")]]),
        ("arguments that aren't JSON", [], 1, [[call('{"x": oops}', name="f", index=0, id="1")]]))],
]  # fmt: skip
"""Faults on the wire."""


HOSTILE: Final = (
    *("../canary", "canary/../..", "canary?x=1", "canary#x", "canary%2f", "canary\r\nx: y", "canary\n", "canary\0"),
    *("canary canary", "canaryé", "//canary", "canary;x", " canary", "canary@x"),
)


REFUSED: Final[list[Refusal]] = [
    *bad(41, "api_token", r"api_token \(CLOUDFLARE_API_TOKEN\)", "cf-canary-x\n", "cf-canary-é", "Bearer cf-canary-x",
         "'cf-canary-x'", "cf-canary x"),
    Refusal(number=41, name="empty api_token", message=r"api_token \(CLOUDFLARE_API_TOKEN\) is empty",
            settings={"api_token": ""}),
    *bad(42, "account_id", "account_id", *HOSTILE),
    *bad(42, "gateway", "gateway", *HOSTILE),
    *bad(42, "session_affinity", "session_affinity", "canary\r\nx: y", "canary\n", "canary\0", "canary é", " canary"),
    *[Refusal(number=42, name=f"model {value!r}", message="model", secret=value, options={"model": value})
      for value in HOSTILE],
    *[Refusal(number=42, name=f"header {value!r}", message="default_headers", secret=value.strip(),
              settings={"default_headers": {"x-a": value}})
      for value in ("canary\r\nx: y", "canary\n", "canary\0", "canaryé", " canary")],
    *[Refusal(number=43, name=value, message=r"base_url \(CLOUDFLARE_BASE_URL\)", secret="canary",
              settings={"base_url": value})
      for value in ("http://canary.test", "https://canary:canary@canary.test", "https://canary.test/?x=1",
                    "canary.test/v4", "file:///canary", "https://canary.test/#x", "https://xn--canary9999.test")],
    Refusal(number=47, name="half a pair", message="half a surrogate pair", prompt="\ud800", error=e.InvalidRequest),
    *[Refusal(number=47, name=f"temperature {value}", message="temperature must be", options={"temperature": value},
              error=e.InvalidRequest) for value in (math.nan, math.inf)],
    Refusal(number=47, name="NaN in extra_body", message="NaN", options={"extra_body": {"top_k": math.nan}},
            error=e.InvalidRequest),
    Refusal(number=47, name="an object in extra_body", message="a Python object",
            options={"extra_body": {"x": object()}}, error=e.InvalidRequest),
]  # fmt: skip
"""Bad inputs."""


ELSEWHERE: Final = [
    Elsewhere(36, "also measured, in a process of its own", ["faults/test_memory.py::test_memory_stays_small"]),
    Elsewhere(37, "also measured, in a process of its own", ["faults/test_memory.py::test_memory_stays_small"]),
    Elsewhere(
        38,
        "the reader leaves, not the server; each of the six in its own manner",
        [
            "faults/test_leaving.py::test_leaving_early",
            "transport/test_connections.py::test_cancelling_closes_the_connection",
            "transport/test_connections.py::test_an_abandoned_stream_is_closed",
        ],
    ),
    Elsewhere(39, "needs loops of its own", ["faults/test_loops.py::test_three_loops_in_a_row"]),
    Elsewhere(
        40,
        "needs threads, loops and processes of its own",
        [
            "faults/test_loops.py::test_two_loops_at_once",
            "faults/test_loops.py::test_sixteen_threads",
            "transport/test_connections.py::test_a_forked_child_has_its_own_connection",
        ],
    ),
    Elsewhere(44, "needs a second server, which must see nothing", ["faults/test_table.py::test_redirects"]),
    Elsewhere(
        45,
        "needs a proxy and the environment",
        [
            "faults/test_proxies.py::test_a_proxy_is_used",
            "faults/test_proxies.py::test_a_proxy_that_can_not_be_used",
        ],
    ),
    Elsewhere(46, "images are passed in each framework's own form", ["faults/test_table.py::test_images_not_fetched"]),
    Elsewhere(
        47, "tool arguments are part of the history", ["request/test_messages.py::test_what_is_no_message_is_refused"]
    ),
    Elsewhere(
        50, "no request", ["faults/test_secrets.py::test_what_is_written_down", "faults/test_secrets.py::test_copies"]
    ),
]
"""Rows that are whole tests."""
