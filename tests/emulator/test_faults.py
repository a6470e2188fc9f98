"""The error table, and the header that asks for an error."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest

from cf_gemma import Gemma
from cf_gemma.emulator import CUT, Fault, Reply
from cf_gemma.emulator.edge.injection import Injection, Injections
from cf_gemma.emulator.faults import Refusal
from cf_gemma.errors import ConnectionFailed
from cf_gemma.errors.codes import CODES

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Caller

ID = "0b9c7c1e-6a1f-4a55-9d7e-0c8f4b2f6a11"


def service(message: str, code: int) -> str:
    """The envelope of the model's own refusals."""
    return f'{{"errors":[{{"message":"{message}","code":{code}}}],"success":false,"result":{{}},"messages":[]}}'


UNMET = (
    "oneOf at '/' not met, 0 matches: required properties at '/' are 'prompt', "
    "Type mismatch of '/messages/0/content', 'array' not in 'string'"
)
SMALL = "Invalid data for image - reason image dimensions must be at least 10px (got 1x1)"
OVER = (
    "The estimated number of input and maximum output tokens (155740) "
    "exceeded this model context window limit (128000)."
)
ALLOCATION = (
    "you have used up your daily free allocation of 10,000 neurons, please upgrade to Cloudflare's Workers Paid plan "
    "if you would like to continue usage."
)
PUBLISHED = [
    (
        Fault.of(10000),
        401,
        '{"result":null,"success":false,"errors":[{"code":10000,"message":"Authentication error"}],"messages":[]}',
    ),
    (Fault.of(5006, UNMET), 400, service(f"AiError: Bad input: Error: {UNMET}", 5006)),
    (
        Fault.of(5007, "No such model gpt-oss-120b or task"),
        400,
        service("AiError: No such model: No such model gpt-oss-120b or task (ID)", 5007),
    ),
    (Fault.of(8006, SMALL), 400, service(f"AiError: AiError: {SMALL} (ID)", 8006)),
    (Fault.of(3046), 408, service("AiError: AiError: Request timeout (ID)", 3046)),
    (Fault.overflow(155740, 128000), 413, service(f"AiError: AiError: {OVER} (ID)", 5021)),
    (Fault.of(4006), 429, service(f"AiError: AiError: {ALLOCATION} (ID)", 4006)),
    (Fault.of(3040), 429, service("AiError: AiError: Capacity temporarily exceeded, please try again. (ID)", 3040)),
    (
        Fault(500),
        500,
        '{"errors":[{"message":"AiError: AiError: Internal server error (ID)"}],'
        '"success":false,"result":{},"messages":[]}',
    ),
    (
        Fault.of(2021),
        402,
        '{"success":false,"result":[],"messages":[],'
        '"error":[{"code":2021,"message":"Insufficient AI Gateway credits"}],'
        '"name":"AiGatewayError","httpCode":402,"internalCode":2021}',
    ),
]


@pytest.mark.parametrize(("fault", "status", "body"), PUBLISHED, ids=[str(fault.code) for fault, *_ in PUBLISHED])
def test_published_bodies(fault: Fault, status: int, body: str) -> None:
    """The error bodies that users have published come out byte for byte."""
    assert fault.status == status
    assert fault.body(ID) == (body.replace("ID", ID).encode(), "application/json")


@pytest.mark.parametrize("code", CODES)
def test_every_code_renders(code: int) -> None:
    """Each code that the client knows can be rehearsed: it is named in its own shape, and in those of the servers."""
    fault = Fault.of(code)
    body = json.loads(fault.body(ID)[0])
    assert (body.get("errors") or body["error"])[0]["code"] == code
    assert json.loads(fault.as_server("V").body(ID)[0])["error"]["code"] == code
    assert json.loads(fault.as_server("S").body(ID)[0])["code"] == code
    assert fault.status >= 400


def test_own_words_and_status() -> None:
    """A fault can be given any status and words; the table fills in the rest."""
    assert Fault(503, 3040, "later").to_dict(ID)["errors"] == [
        {"message": f"AiError: AiError: later ({ID})", "code": 3040}
    ]
    assert Fault(400, message="no").message == "no"


def test_pages() -> None:
    """A 5xx without a code is a proxy's page, as is what asks for it."""
    assert Fault(524).body(ID)[1] == "text/html"
    assert Fault(429, 1015, envelope="text").body(ID) == (b"error code: 1015", "text/plain")


@pytest.mark.parametrize(
    ("header", "injection"),
    [
        ("429-3040", Injection(Fault(429, 3040))),
        ("429-3040;times=2", Injection(Fault(429, 3040), times=2)),
        ("4006 ; after=3", Injection(Fault.of(4006), after=3)),
        ("503;retry-after=1.5", Injection(Fault(503, retry_after=1.5))),
        ("html", Injection(Fault(502))),
        ("cut;after=1;times=1", Injection(CUT, 1, 1)),
    ],
)
def test_header(header: str, injection: Injection) -> None:
    """The header's forms."""
    assert Injection.parse(header) == injection


UNREADABLE = [
    ("x", "must be a number, not 'x'"),
    ("429-", "the code must be a number"),
    ("-1-", "the status must be a number"),
    ("999", r"must be 400 to 599 \(got 999\)"),
    ("200", r"must be 400 to 599 \(got 200\)"),
    ("429-3040;times", "times must be a number"),
    ("429-3040;times=x", "times must be a number, not 'x'"),
    ("429-3040;times=0", "times must be at least 1"),
    ("429-3040;after=-1", "after must be 0 or more"),
    ("429-3040;retry-after=nan", "retry_after must be 0 or more"),
    ("429-3040;often=2", "'often' is not a setting"),
]


@pytest.mark.parametrize(("header", "why"), UNREADABLE, ids=[header for header, _ in UNREADABLE])
def test_header_that_is_not_understood(header: str, why: str) -> None:
    """A header that can't be read is refused in words that say why, and list what is valid."""
    with pytest.raises(Refusal, match=f"x-emulator-fault: .*{why}.*It takes cut, html, .*3040.*times=") as refused:
        Injection.parse(header)
    assert refused.value.fault.status == 400


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Fault(200), ValueError, r"400 to 599 \(got 200\).*CUT"),
        (lambda: Fault(3040), ValueError, "Fault.of takes Cloudflare's codes"),
        (lambda: Fault(cast("int", "429")), TypeError, r"Fault\(429, 3040\); not '429'"),
        (lambda: Fault(429, cast("int", "3040")), TypeError, r"not 429, '3040'"),
        (lambda: Fault(429, retry_after=cast("float", "1")), TypeError, "are numbers"),
        (lambda: Fault(429, retry_after=-1), ValueError, "retry_after must be 0 or more"),
        (lambda: Fault(429, envelope=cast("Any", "xml")), ValueError, "envelope must be one of service, .*not 'xml'"),
    ],
)
def test_a_fault_is_checked_at_once(make: Callable[[], Fault], error: type[Exception], words: str) -> None:
    """A fault that can't be is refused where it is written, in words that say what can."""
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("header", ["cut", "cut;after=0", "cut;after=1"])
def test_header_that_cuts(serve: Callable[..., Caller], header: str, *, stream: bool) -> None:
    """The connection is really cut, before the answer begins or within it, on both routes."""
    caller = serve("one two three")
    for ask in (caller.run, caller.chat):
        with pytest.raises(httpx.RemoteProtocolError):
            ask({"x-emulator-fault": header}, stream=stream)


@pytest.mark.parametrize("stream", [False, True])
def test_cuts_are_counted(serve: Callable[..., Caller], *, stream: bool) -> None:
    """As many connections are cut as the header says, and then requests pass."""
    caller = serve("one two three")
    for ask in (caller.run, caller.chat):
        with pytest.raises(httpx.RemoteProtocolError):
            ask({"x-emulator-fault": "cut;times=2"}, stream=stream)
    assert caller.run({"x-emulator-fault": "cut;times=2"}, stream=stream).status_code == 200


def test_a_cut_is_tried_again(serve: Callable[..., Caller]) -> None:
    """The client takes it for the loss that it is, and asks again."""
    emulator = serve("Hello!").emulator
    settings: dict[str, Any] = {"base_url": emulator.base_url, "default_headers": {"x-emulator-fault": "cut;times=1"}}
    with Gemma(emulator.account_id, emulator.api_token, max_retries=0, **settings) as gemma:
        with pytest.raises(ConnectionFailed):
            gemma.chat("Hi")
        assert gemma.chat("Hi").text == "Hello!"


def test_a_fault_that_cannot_be_is_answered(serve: Callable[..., Caller]) -> None:
    """A status that HTTP doesn't know is the caller's mistake, told as such."""
    response = serve("Hello!").run({"x-emulator-fault": "999"})
    assert response.status_code == 400
    assert "400 to 599 (got 999)" in response.text


def test_times() -> None:
    """A fault for a number of times hits that many requests with the same header, and no others."""
    injections = Injections()
    for _ in range(2):
        with pytest.raises(Refusal):
            injections.take("429-3040;times=2")
    assert injections.take("429-3040;times=2") is None
    assert injections.take(None) is None
    with pytest.raises(Refusal):
        injections.take("3046;times=1")


def test_the_log(serve: Callable[..., Caller], caplog: pytest.LogCaptureFixture) -> None:
    """Each request is one line, with its fault, also where that came in the midst of an answer."""
    late = Reply("a b c", usage=(4, 3), error=Fault(500))
    with caplog.at_level("INFO", "cf_gemma.emulator.requests"):
        caller = serve([Reply("a b c", usage=(4, 3)), Fault.of(3040), late, CUT])
        for _ in range(2):
            caller.run()
        caller.run(stream=True)
        with pytest.raises(httpx.TransportError):
            caller.run()
        caller.http.get("/nowhere")
        end = time.monotonic() + 5
        while len(caplog.records) < 5 and time.monotonic() < end:  # a line comes behind its answer
            time.sleep(0.01)
    lines = [re.sub(r"  \d\.\d\d s", "", record.getMessage()) for record in caplog.records]
    path = "/ai/run/@cf/google/gemma-4-26b-a4b-it"
    assert lines == [
        f"{path}  4 + 3 tokens",
        f"{path}  0 + 0 tokens  429 (3040) Capacity temporarily exceeded, please try again.",
        f"{path}  4 + 2 tokens  500 Internal server error",
        f"{path}  0 + 0 tokens  the connection was cut",
        "/nowhere  0 + 0 tokens  404 (7000) No route for that URI",
    ]
