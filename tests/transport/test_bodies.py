"""The end of a body: its connection is given back, or given up, by the call that owns it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from cf_gemma import Gemma
from cf_gemma.transport import bodies
from tests.faultserver import END, Bytewise, FaultServer, Wait, chunk, stream_head
from tests.response.wire import sse, text_chunk
from tests.transport.callers import ACCOUNT, TOKEN

if TYPE_CHECKING:
    import pytest

    from tests.transport.callers import Caller

DONE = chunk(sse([text_chunk("a", "stop")]))


def test_bodies_that_end_when_patience_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,600 streams in 16 threads, whose bodies end exactly when patience does: none breaks, none is sent twice."""
    monkeypatch.setattr(bodies, "DRAIN", 0.004)
    with (
        FaultServer([stream_head(), DONE, Wait(0.004), END]) as server,
        Gemma(ACCOUNT, TOKEN, base_url=server.url, max_retries=0) as model,
        ThreadPoolExecutor(16) as pool,
    ):
        texts = list(pool.map(lambda _: model.chat("hi").text, range(1_600)))
        assert texts == ["a"] * 1_600
        assert len(server.requests) == 1_600
        assert server.connections > 16, "no body was late: the test has missed its moment"


def test_an_end_that_drips(caller: Caller) -> None:
    """The bytes of a last chunk that never ends don't hold the answer up, one by one."""
    drip = [action for byte in b"0" * 100 for action in (Bytewise(bytes([byte])), Wait(0.05))]
    with FaultServer([stream_head(), DONE, *drip]) as server:
        model = caller.model(server.url)
        start = time.monotonic()
        assert caller.stream(model)[-1].text == "a"
        assert time.monotonic() - start < 3
        assert server.wait_until_closed()


def test_the_limit_is_gone_with_the_body() -> None:
    """A connection that was read out in time reads without haste again: the next answer may be slow."""
    slow = [stream_head(), Wait(0.3), DONE, END]
    with FaultServer([stream_head(), DONE, END], slow) as server, Gemma(ACCOUNT, TOKEN, base_url=server.url) as model:
        assert [model.chat("hi").text for _ in range(2)] == ["a", "a"]
        assert server.connections == 1


def test_an_answer_needs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be had, answers come all the same, and an abandoned stream does no harm."""
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if "Body" in repr(thread._target):  # the one that the product would begin
            raise RuntimeError("can't start new thread")
        start(thread)

    with FaultServer([stream_head(), DONE, END]) as server, Gemma(ACCOUNT, TOKEN, base_url=server.url) as model:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        stream = model.stream("hi")
        next(stream)
        stream.close()
        assert model.chat("hi").text == "a"
