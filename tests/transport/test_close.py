"""`close()` beside calls of other threads and tasks."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from cf_gemma import AsyncGemma, Gemma
from cf_gemma import errors as e
from cf_gemma.transport import limits, pools, waits
from cf_gemma.transport.flow import Session
from cf_gemma.transport.lanes import Lanes
from tests.faultserver import END, HOLD, Action, FaultServer, Wait, chunk, error_reply, json_reply, stream_head
from tests.response.wire import sse, text_chunk
from tests.transport.callers import ACCOUNT, TOKEN, Caller

if TYPE_CHECKING:
    from collections.abc import Callable

ANSWER = json_reply({"choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}]})
A = chunk(sse([text_chunk("a")], done=False))
END_OF_STREAM = chunk(sse([text_chunk("", "stop")])) + END
SLOW = [Wait(0.4), ANSWER]


def test_threads_that_call_while_one_closes() -> None:
    """Every call is answered and paid for once, however often the client is closed meanwhile."""
    with FaultServer([Wait(0.002), ANSWER]) as server:
        model = Gemma(ACCOUNT, TOKEN, base_url=server.url, wire_streaming=False)
        over = threading.Event()

        def close() -> None:
            while not over.is_set():
                model.close()
                time.sleep(0.001)

        closing = threading.Thread(target=close)
        closing.start()
        with ThreadPoolExecutor(16) as pool:
            texts = [one.text for one in pool.map(lambda _: model.chat("hi"), range(800))]
        over.set()
        closing.join()
        model.close()
        assert texts == ["Hi."] * 800
        assert len(server.requests) == 800
        assert server.wait_until_closed(2)


async def test_tasks_that_call_while_one_closes() -> None:
    """The same for tasks."""
    with FaultServer([Wait(0.002), ANSWER]) as server:
        model = AsyncGemma(ACCOUNT, TOKEN, base_url=server.url, wire_streaming=False)

        async def close() -> None:
            while True:
                await model.aclose()
                await asyncio.sleep(0.001)

        closing = asyncio.create_task(close())
        answers = [await asyncio.gather(*(model.chat("hi") for _ in range(16))) for _ in range(50)]
        closing.cancel()
        await model.aclose()
        assert [one.text for some in answers for one in some] == ["Hi."] * 800
        assert len(server.requests) == 800
        assert await asyncio.to_thread(server.wait_until_closed, 2)


def test_the_idle_close_at_once_and_the_busy_when_they_are_done() -> None:
    """Of two connections, the idle one closes at once, and the other once its call is answered."""
    with FaultServer([Wait(0.1), ANSWER], [Wait(0.1), ANSWER], SLOW) as server:
        model = Gemma(ACCOUNT, TOKEN, base_url=server.url, wire_streaming=False)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda _: model.chat("hi"), range(2)))
            assert server.open == 2
            slow = pool.submit(model.chat, "hi")
            time.sleep(0.1)
            model.close()
            time.sleep(0.1)
            assert server.open == 1
            assert slow.result().text == "Hi."
        assert server.wait_until_closed()
        assert len(server.requests) == 3


async def test_the_same_for_tasks() -> None:
    """Of two connections, the idle one closes at once, and the other once its call is answered."""
    with FaultServer([Wait(0.1), ANSWER], [Wait(0.1), ANSWER], SLOW) as server:
        model = AsyncGemma(ACCOUNT, TOKEN, base_url=server.url, wire_streaming=False)
        await asyncio.gather(model.chat("hi"), model.chat("hi"))
        assert server.open == 2
        slow = asyncio.create_task(model.chat("hi"))
        await asyncio.sleep(0.1)
        await model.aclose()
        await asyncio.sleep(0.1)
        assert server.open == 1
        assert (await slow).text == "Hi."
        assert await asyncio.to_thread(server.wait_until_closed)
        assert len(server.requests) == 3


def begun(server: FaultServer, requests: int = 1) -> bool:
    """Whether so many requests came, and a moment passed."""
    came = server.wait_for_requests(requests)
    time.sleep(0.1)
    return came


SILENT: dict[str, tuple[list[Action], bool | None, type[e.GemmaError], str | None]] = {
    "a stream": ([stream_head(), A, HOLD], None, e.StreamTruncated, "a"),
    "streamed on the wire": ([stream_head(), A, HOLD], True, e.StreamTruncated, "a"),
    "a head alone": ([stream_head(), HOLD], True, e.StreamTruncated, None),
    "half a reply": ([ANSWER[:-5], HOLD], False, e.ConnectionFailed, None),
}
"""What the server does; whether the wire streams, None for a stream that is handed out; the error; its text."""


@pytest.mark.parametrize(("name", "own_client"), [*((name, False) for name in SILENT), ("a stream", True)])
def test_a_reader_of_silence_wakes(
    name: str, own_client: bool, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a second, with what had arrived; nothing is sent again."""
    if name != "a stream":
        monkeypatch.setattr(limits, "GLANCE", 0.1)
    scenario, wire, kind, text = SILENT[name]
    with FaultServer(scenario) as server:
        client: Any = caller.http_client() if own_client else None
        model = caller.model(server.url, client, timeout=30, wire_streaming=wire is not False)
        [error], seconds = caller.close_beside(model, partial(begun, server), stream=wire is None)
        assert type(error) is kind
        assert "the model was closed" in str(error)
        assert (error.partial and error.partial.text) == text
        assert seconds < 1
        assert server.wait_until_closed()
        assert len(server.requests) == 1
        if client:
            caller.close_http_client(client)


DRIP = [action for byte in ANSWER[-4:] for action in (bytes([byte]), Wait(0.3))]
UNDER_WAY: dict[str, tuple[list[Action], bool]] = {
    "a stream that keeps coming": ([stream_head(), *[A, Wait(0.3)] * 4, END_OF_STREAM], True),
    "a reply that keeps coming": (
        [ANSWER[:-5], *[one for byte in ANSWER[-5:] for one in (bytes([byte]), Wait(0.3))]],
        False,
    ),
    "a head that hasn't come": ([Wait(1), ANSWER], False),
    "a stream's head that hasn't come": ([Wait(1), stream_head(), A, END_OF_STREAM], True),
}


@pytest.mark.parametrize("name", UNDER_WAY)
def test_what_comes_is_read_to_its_end(name: str, caller: Caller) -> None:
    """However long it takes, and then its connection closes."""
    scenario, stream = UNDER_WAY[name]
    with FaultServer(scenario) as server:
        model = caller.model(server.url, timeout=30, wire_streaming=False)
        [answer], seconds = caller.close_beside(model, partial(begun, server), stream=stream)
        assert (answer.finish_reason, answer.text) == ("stop", "a" * scenario.count(A) if stream else "Hi.")
        assert seconds > 0.8
        assert server.wait_until_closed()
        assert len(server.requests) == 1


def test_whoever_waits_in_line_is_sent_away(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three calls on one connection, the first is answered, and the others are not sent."""
    monkeypatch.setattr(pools, "Lanes", partial(Lanes, 1, 1))
    with FaultServer(SLOW) as server:
        model = caller.model(server.url, wire_streaming=False)
        outcomes, _ = caller.close_beside(model, partial(begun, server), 3)
        errors = [one for one in outcomes if isinstance(one, e.ConnectionFailed)]
        assert len(errors) == 2
        assert {(error.sent, error.attempts) for error in errors} == {(False, 1)}
        assert len(server.requests) == 1


def test_nothing_is_sent_again(caller: Caller) -> None:
    """What fails after `close()` is not tried again; the next call is."""
    with FaultServer([Wait(0.3), error_reply(500)], [error_reply(500)], [ANSWER]) as server:
        model = caller.model(server.url, wire_streaming=False)
        [error], _ = caller.close_beside(model, partial(begun, server))
        assert (type(error), error.attempts, len(server.requests)) == (e.ServerError, 1, 1)
        assert caller.chat(model).text == "Hi."


@pytest.mark.parametrize("wait", [waits.sleep, lambda *arguments: asyncio.run(waits.sleep_async(*arguments))])
def test_a_wait_for_another_attempt_ends(wait: Callable[[float, Session], object]) -> None:
    """Within a second of `close()`; one that nobody ends takes its time."""
    session, begin = Session(), time.monotonic()
    closing = threading.Timer(0.2, setattr, (session, "closed", True))
    closing.start()
    wait(60, session)
    assert time.monotonic() - begin < 1.2
    closing.join()
    begin = time.monotonic()
    wait(0.6, Session())
    assert time.monotonic() - begin > 0.59


def test_another_model_on_the_same_connections_reads_on(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits out its own silence, on the connection that the closed model had, too."""
    monkeypatch.setattr(limits, "GLANCE", 0.1)
    silent = [stream_head(), A, Wait(0.5), END_OF_STREAM]
    with FaultServer([stream_head(), A, END_OF_STREAM], silent, silent) as server:
        closed, model = caller.model(server.url), caller.model(server.url)
        caller.stream(model)  # it uses the connections, too, from now on
        caller.close_beside(closed, partial(begun, server, 2), stream=True)
        assert caller.stream(model)[-1].text == "a"
        assert server.connections <= 2


def test_only_idle_connections_are_shut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that takes an idle connection just when it is about to be shut is sent on another one, once."""
    with FaultServer([ANSWER]) as server, ThreadPoolExecutor(1) as other:
        pool = pools.SyncPool()
        client, _place = pool.client(0), pool.lanes.enter()
        client.get(server.url)
        [(connection, _)] = pools._connections(client)
        looked: list[Future[httpx.Response]] = []

        def is_idle() -> bool:
            monkeypatch.delattr(connection, "is_idle")
            looked.append(other.submit(client.get, server.url))
            time.sleep(0.2)  # in which a request would take it
            return True

        monkeypatch.setattr(connection, "is_idle", is_idle, raising=False)
        pool.retire()
        assert looked[0].result().status_code == 200
        assert (len(server.requests), server.connections) == (2, 2)
        pool.close()


def test_a_model_that_the_garbage_collector_closes() -> None:
    """It may do so at any moment, also while this very thread holds the locks of the HTTP library."""
    with FaultServer([ANSWER]) as server:
        model = Gemma(ACCOUNT, TOKEN, base_url=server.url, wire_streaming=False)
        model.chat("hi")
        pool = pools.sync_pool(model._transport._key, model._transport)
        [(connection, state)] = pools._connections(pool.client(0))
        with state, pool.client(0)._transport._pool._optional_thread_lock:
            closing = threading.Thread(target=model.close, daemon=True)
            closing.start()
            closing.join(5)
            assert not closing.is_alive()
        assert server.wait_until_closed(2)
        assert connection.is_closed()


def test_a_closed_client_of_the_callers_own(caller: Caller) -> None:
    """It is named, and no RuntimeError."""
    client: Any = caller.http_client(transport=httpx.MockTransport(lambda _: httpx.Response(200)))
    caller.close_http_client(client)
    with pytest.raises(e.ConfigurationError, match="http_client is closed"):
        caller.chat(caller.model("https://api.test", client))
