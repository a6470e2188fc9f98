"""The table of faults: each row through Gemma, AsyncGemma, and both faces of both adapters."""

from __future__ import annotations

import ast
import base64
import logging
import pickle
import socket
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from llama_index.core.base.llms.types import ImageBlock

from cf_gemma import errors as e
from tests.faults.faces import ACCOUNT, CANARY, FACES, PROMPT, TOKEN, Face, Said
from tests.faults.rows import ELSEWHERE, REFUSED, WIRE
from tests.faults.scenarios import GOOD, Refusal, Row
from tests.faultserver import FaultServer, reply

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).parent.parent
LONGEST = 10.0
"""Seconds that a row may take; what waits or hangs takes longer, also on a busy machine."""
_getaddrinfo = socket.getaddrinfo


@pytest.fixture(params=FACES.values(), ids=list(FACES))
def face(request: pytest.FixtureRequest) -> Iterator[Face]:
    """The six faces in turn."""
    face = request.param()
    yield face
    face.close()


@pytest.fixture(autouse=True)
def _no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name but a loopback one has an address, and nobody is asked for it."""

    def look_up(host: Any, *arguments: Any, **more: Any) -> Any:
        if host not in ("127.0.0.1", b"127.0.0.1", "::1", "localhost"):
            raise socket.gaierror(socket.EAI_NONAME, f"{host} is not known")
        return _getaddrinfo(host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def row_name(row: Row | Refusal) -> str:
    """Number and name."""
    return f"{row.number:02} {row.name}"


@pytest.mark.parametrize("row", WIRE, ids=row_name)
def test_wire(row: Row, face: Face, caplog: pytest.LogCaptureFixture) -> None:
    """The right answer or the right error, in time, with so many requests, no connection left and no secret shown."""
    caplog.set_level(logging.DEBUG)
    with FaultServer(*row.scenarios, reads=row.reads) as server:
        face.begin(base_url=row.url(server), **row.settings)
        begin = time.monotonic()
        for _ in range(row.asks):
            _ask(row, face)
            assert row.asks == 1 or server.wait_until_closed()
        assert time.monotonic() - begin < LONGEST
        assert len(server.requests) == row.requests
        assert row.waits is None or face.waits == row.waits
        face.close()
        assert server.wait_until_closed()
    _assert_no_secret(_records(caplog))


def _ask(row: Row, face: Face) -> None:
    pieces: list[str] = []
    options = {"max_tokens": 5} if row.json and not row.stream else {}
    if row.error is None:
        answer = face.ask(stream=row.stream, pieces=pieces, **options)
        assert answer == Said(row.text, row.reason, answer.prompt_tokens, list(row.calls), row.invalid)
        assert row.prompt_tokens in (None, answer.prompt_tokens)
        assert not row.stream or "".join(pieces) == row.text
        return
    with pytest.raises(row.error, match=row.message or None) as caught:
        face.ask(stream=row.stream, pieces=pieces, **options)
    error = caught.value
    _assert_error(error, row.error)
    assert {name: getattr(error, name) for name in row.facts} == row.facts
    if row.partial is not None:
        assert error.partial is not None
        assert (error.partial.text, error.partial.finish_reason) == (row.partial, None)
        assert error.partial.tool_calls == ()
        assert not row.stream or "".join(pieces) == row.partial


# An adapter's coroutines belong to the very object that refuses a setting: once is enough there.
REFUSALS = [(row, name) for row in REFUSED for name in FACES if not (row.settings and name.endswith(" async"))]


@pytest.mark.parametrize(("row", "name"), REFUSALS, ids=[f"{name}-{row_name(row)}" for row, name in REFUSALS])
def test_refused(row: Refusal, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A bad input is refused by its name, not by its value, and nothing is sent."""
    caplog.set_level(logging.DEBUG)
    face = FACES[name]()
    with FaultServer([GOOD]) as server:
        with pytest.raises(row.error, match=row.message) as caught:
            _refused(row, face, server)
        _assert_error(caught.value, row.error)
        if row.secret:
            assert row.secret not in str(caught.value)
            assert row.secret not in repr(caught.value)
        assert server.connections == 0
    face.close()
    _assert_no_secret(_records(caplog))


def _refused(row: Refusal, face: Face, server: FaultServer) -> None:
    face.begin(**{"base_url": server.url, **row.settings})
    face.ask(stream=False, pieces=[], prompt=row.prompt or PROMPT, **row.options)


def _assert_error(error: e.GemmaError, kind: type[e.GemmaError]) -> None:
    """It is of exactly this class, or the adapter's of that name, survives a pickle, and shows nothing secret."""
    assert type(error).__name__ == kind.__name__
    copied = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(copied), str(copied), copied.attempts) == (type(error), str(error), error.attempts)
    shown = [str(error), repr(error), "".join(traceback.format_exception(error)), repr(vars(error))]
    _assert_no_secret([*shown, pickle.dumps(error).decode("latin-1")])
    assert not any(ACCOUNT in text for text in (str(error), repr(error)))


def _records(caplog: pytest.LogCaptureFixture) -> list[str]:
    """All that was logged, by whomever."""
    return [f"{record.getMessage()} {record.args!r} {record.exc_text}" for record in caplog.records]


def _assert_no_secret(texts: list[str]) -> None:
    """Neither token, nor gateway's token, nor prompt."""
    for text in texts:
        assert CANARY not in text


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects(status: int, face: Face, caplog: pytest.LogCaptureFixture) -> None:
    """Row 44: no redirect is followed; the other host sees no connection, let alone the token."""
    caplog.set_level(logging.DEBUG)
    with FaultServer([GOOD]) as other, FaultServer([reply("moved", status, location=f"{other.url}/x")]) as server:
        face.begin(base_url=server.url)
        with pytest.raises(e.ApiError, match="never followed") as caught:
            face.ask(stream=False, pieces=[])
        _assert_error(caught.value, e.ApiError)
        assert (caught.value.status, caught.value.attempts, len(server.requests)) == (status, 1, 1)
        assert other.connections == 0
        face.close()
        assert server.wait_until_closed()
    _assert_no_secret(_records(caplog))


PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254/latest/meta-data",
        "http://localhost/x.png",
        "file:///etc/passwd",
        "ftp://host.test/x.png",
        "/etc/passwd",
        "data:image/png;base64,iVBORw0KG",
        "data:image/png;base64,!!!!",
        "data:image/png,plain",
        "data:image/svg+xml;base64,PHN2Zz48L3N2Zz4=",
        "data:text/html;base64,PGh0bWw+",
        f"data:image/png;base64,{PNG}",
        f"data:image/png;base64,{'A' * 30_000_000}",
    ],
    ids=lambda url: url[:40],
)
@pytest.mark.parametrize("name", FACES)
def test_images_not_fetched(name: str, url: str) -> None:
    """Row 46: an image that isn't one, or that is a place to go to, is refused; nothing is fetched and nothing sent."""
    if name.startswith("LlamaIndex"):
        prompt: list[Any] = [ImageBlock(path=url) if url.startswith("/") else ImageBlock(url=url)]
    else:
        prompt = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
    face = FACES[name]()
    with FaultServer([GOOD]) as server:
        face.begin(base_url=server.url)
        with pytest.raises(e.InvalidRequest) as caught:
            face.ask(stream=False, pieces=[], prompt=prompt)
        assert len(str(caught.value)) < 400
        face.close()
        assert server.connections == 0


def test_all_fifty_rows_stand_somewhere() -> None:
    """Each number from 1 to 50 has a row here or names the tests that hold it, which exist."""
    assert {row.number for row in (*WIRE, *REFUSED, *ELSEWHERE)} == set(range(1, 51))
    for row in ELSEWHERE:
        for node in row.tests:
            path, _, name = node.partition("::")
            functions = ast.walk(ast.parse((TESTS / path).read_text("utf-8")))
            names = {
                definition.name
                for definition in functions
                if isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef)
            }
            assert name in names, f"row {row.number} names {node}"


def test_row_names_differ() -> None:
    """No row hides another."""
    names = [row_name(row) for row in (*WIRE, *REFUSED)]
    assert len(set(names)) == len(names)


def test_a_secret_would_be_noticed(caplog: pytest.LogCaptureFixture) -> None:
    """What every row looks for is found where it is: in a log at DEBUG, an error's text, its cause, its pickle."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("somebody.else").debug("headers: %s", {"authorization": TOKEN})
    with pytest.raises(AssertionError):
        _assert_no_secret(_records(caplog))
    hidden = e.ApiError("no")
    hidden.__cause__ = ValueError(TOKEN)
    partial = e.ApiError("no")
    partial.request_id = TOKEN
    for error in (e.ApiError(f"no, {TOKEN}"), hidden, partial):
        with pytest.raises(AssertionError):
            _assert_error(error, e.ApiError)
