from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from cf_gemma import AsyncGemma, Gemma
from cf_gemma import errors as e
from cf_gemma.model.completion import Completion, TextDelta
from tests.faultserver import END, HOLD, FaultServer, Repeat, Wait, chunk, json_reply, reply, stream_head
from tests.response.wire import sse, text_chunk
from tests.transport.callers import ACCOUNT, TOKEN, SyncCaller

if TYPE_CHECKING:
    from tests.transport.callers import Caller

A = chunk(sse([text_chunk("a")], done=False))
DONE = chunk(sse([text_chunk("", "stop")]))
STREAM = [stream_head(), A, DONE, END]
GOOD = json_reply({"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]})


@pytest.mark.parametrize(
    "ending",
    [
        pytest.param([DONE, END], id="at once"),
        pytest.param([DONE, Wait(0.02), END], id="the terminator 20 ms late"),
        pytest.param([chunk(sse([text_chunk("", "stop")], done=False)), END], id="without DONE"),
    ],
)
def test_streams_share_a_connection(caller: Caller, ending: list[Any]) -> None:
    """One stream after the other goes over one TCP connection."""
    with FaultServer([stream_head(), A, *ending]) as server:
        model = caller.model(server.url)
        for _ in range(4):
            assert len(caller.stream(model)) == 2
        assert (server.connections, len(server.requests)) == (1, 4)


@pytest.mark.parametrize("own_client", [False, True])
@pytest.mark.parametrize("answer", [GOOD, b"".join(STREAM), reply("no", 400)], ids=["reply", "stream", "refusal"])
def test_what_comes_behind_an_answer_is_nobodys(answer: bytes, own_client: bool, caller: Caller) -> None:
    """A second answer in the same packet isn't the next request's: its connection is closed."""
    stale = GOOD.replace(b'"a"', b'"b"')
    with FaultServer([answer + stale], [GOOD]) as server:
        client: Any = caller.http_client() if own_client else None
        model = caller.model(server.url, client, wire_streaming=answer == b"".join(STREAM), max_retries=0)
        with suppress(e.BadRequest):
            assert caller.chat(model).text == "a"
        assert caller.chat(model).text == "a"
        assert (len(server.requests), server.connections) == (2, 2)
        if client:
            caller.close_http_client(client)


def test_replies_and_refusals_share_a_connection(caller: Caller) -> None:
    """So do whole answers, streams, and the tries before them."""
    busy = json_reply({"errors": [{"message": "busy"}]}, 500)
    with FaultServer([GOOD], [busy], [GOOD], STREAM, [GOOD]) as server:
        model = caller.model(server.url)
        for _ in range(2):
            caller.chat(model, max_tokens=5)
        caller.stream(model)
        caller.chat(model, max_tokens=5)
        assert (server.connections, len(server.requests)) == (1, 5)


def test_a_body_that_never_ends_costs_little(caller: Caller) -> None:
    """After `[DONE]` the rest is waited for only so long; then the connection goes, and the answer is there."""
    with FaultServer([stream_head(), A, DONE, HOLD]) as server:
        model = caller.model(server.url)
        for _ in range(2):
            start = time.monotonic()
            assert caller.stream(model)[-1].text == "a"
            assert 0.1 <= time.monotonic() - start < 5
        assert server.wait_until_closed()
        assert server.connections == 2


def test_a_connection_that_the_server_closed_is_not_used(caller: Caller) -> None:
    """A kept connection that died meanwhile is replaced unseen."""
    with FaultServer([GOOD, "fin"], [GOOD]) as server:
        model = caller.model(server.url)
        caller.chat(model, max_tokens=5)
        assert server.wait_until_closed()
        caller.chat(model, max_tokens=5)
        assert (server.connections, caller.waits) == (2, [])


@pytest.mark.parametrize("count", [1, 2])
def test_leaving_early_closes_the_connection(caller: Caller, count: int) -> None:
    """Whoever stops reading a stream closes its connection at once, so that the service stops writing."""
    with FaultServer([stream_head(), A, A, HOLD]) as server:
        assert caller.take(caller.model(server.url), count) == [TextDelta("a")] * count
        assert server.wait_until_closed()


def test_an_abandoned_stream_is_closed() -> None:
    """A stream that nobody holds any more is closed, in the loop and out of it."""
    with FaultServer([stream_head(), A, HOLD]) as server:
        model = Gemma(ACCOUNT, TOKEN, base_url=server.url)
        for item in model.stream("hi"):
            assert item == TextDelta("a")
            break
        gc.collect()
        assert server.wait_until_closed()

        async def abandon() -> None:
            async for item in AsyncGemma(ACCOUNT, TOKEN, base_url=server.url).stream("hi"):
                assert item == TextDelta("a")
                break
            assert await asyncio.to_thread(server.wait_until_closed, 0.2)

        asyncio.run(abandon())
        model.close()


def test_asynchronous_streams_that_only_the_collector_finds() -> None:
    """An error that holds its own stream harms nobody else: the stream is closed by its loop, not in another's task."""
    with FaultServer([stream_head(), A, HOLD]) as server:
        problems: list[object] = []

        async def fail(model: AsyncGemma) -> None:
            kept: list[Exception] = []
            try:
                stream = model.stream("hi")
                async for _ in stream:
                    _ = 1 / 0
            except ZeroDivisionError as error:
                kept.append(error)  # a cycle: the error's traceback has this frame

        async def run() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
            model = AsyncGemma(ACCOUNT, TOKEN, base_url=server.url)
            for _ in range(8):
                await asyncio.create_task(fail(model))
            gc.collect()
            await asyncio.sleep(0.05)
            assert await asyncio.to_thread(server.wait_until_closed, 0.3)
            await model.aclose()

        asyncio.run(run())
        assert problems == []


@pytest.mark.parametrize("how", ["cancel", "timeout"])
@pytest.mark.parametrize("when", ["before the answer", "within the answer"])
def test_cancelling_closes_the_connection(how: str, when: str) -> None:
    """A cancelled task or a timeout of the caller's own ends the request, and nothing swallows it."""
    with FaultServer([HOLD] if when == "before the answer" else [stream_head(), A, HOLD]) as server:

        async def run() -> None:
            model = AsyncGemma(ACCOUNT, TOKEN, base_url=server.url)
            if how == "timeout":
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await model.chat("hi")
            else:
                task = asyncio.create_task(model.chat("hi"))
                assert await asyncio.to_thread(server.wait_for_requests, 1)
                await asyncio.sleep(0.05)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert await asyncio.to_thread(server.wait_until_closed, 0.2)

        asyncio.run(run())
        assert len(server.requests) == 1


def test_three_loops_in_a_row_are_three_requests(recwarn: pytest.WarningsRecorder) -> None:
    """A model outlives event loops: each run sends exactly one request, and leaves nothing open."""
    with FaultServer([GOOD]) as server:
        model = AsyncGemma(ACCOUNT, TOKEN, base_url=server.url)
        for _ in range(3):
            assert asyncio.run(model.chat("hi", max_tokens=5)).text == "a"
            assert server.wait_until_closed()
        gc.collect()
        assert (len(server.requests), server.connections) == (3, 3)
        assert [str(warning.message) for warning in recwarn] == []


def test_two_loops_at_once() -> None:
    """Loops in two threads use one model at the same time, and closing it in one leaves the other's connections."""
    with FaultServer([GOOD]) as server:
        model = AsyncGemma(ACCOUNT, TOKEN, base_url=server.url)
        turn = threading.Barrier(2, timeout=30)

        async def first() -> None:
            await model.chat("hi", max_tokens=5)
            turn.wait()
            turn.wait()
            await model.chat("hi", max_tokens=5)

        async def second() -> None:
            await model.chat("hi", max_tokens=5)
            turn.wait()
            await model.aclose()
            turn.wait()

        with ThreadPoolExecutor(2) as pool:
            for run in [pool.submit(asyncio.run, coroutine()) for coroutine in (first, second)]:
                run.result(5)
        assert (len(server.requests), server.connections) == (3, 2)


def test_closing_after_another_loop_has_ended() -> None:
    """Connections of a loop that was closed the rough way don't get in the way of those of this one."""
    with FaultServer([GOOD]) as server:
        model = AsyncGemma(ACCOUNT, TOKEN, base_url=server.url)
        loop = asyncio.new_event_loop()
        loop.run_until_complete(model.chat("hi", max_tokens=5))

        async def run() -> None:
            await model.chat("hi", max_tokens=5)
            await model.aclose()

        asyncio.run(run())
        loop.run_until_complete(model.aclose())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        assert server.wait_until_closed()


def test_sixteen_threads_share_a_model() -> None:
    """Threads may use one model at once; each gets its own answer."""
    with (
        FaultServer([GOOD]) as server,
        Gemma(ACCOUNT, TOKEN, base_url=server.url) as model,
        ThreadPoolExecutor(16) as pool,
    ):
        answers = list(pool.map(lambda number: model.chat(str(number), max_tokens=5), range(160)))
        assert [answer.text for answer in answers] == ["a"] * 160
        assert sorted(int(request.json["messages"][0]["content"]) for request in server.requests) == list(range(160))
        assert server.connections <= 16


def test_many_tasks_share_a_model(caller: Caller) -> None:
    """So may tasks."""
    if isinstance(caller, SyncCaller):
        return
    with FaultServer(STREAM) as server:
        model = caller.model(server.url)

        async def gather() -> list[Completion]:
            return await asyncio.gather(*(model.chat("hi") for _ in range(40)))

        assert [answer.text for answer in caller.run(gather())] == ["a"] * 40
        assert len(server.requests) == 40


def test_models_share_connections(caller: Caller) -> None:
    """Models made one after the other, even for each request, use one connection while one of them is open."""
    with FaultServer([GOOD]) as server:
        models = [caller.model(server.url) for _ in range(3)]
        for model in models:
            caller.chat(model, max_tokens=5)
        assert server.connections == 1
        caller.close()
        assert server.wait_until_closed()


def test_cookies_are_not_kept(caller: Caller) -> None:
    """What the edge sets for one request doesn't go out with the next, which may be another account's."""
    with FaultServer([reply(b'{"response":"a"}', set_cookie="__cf_bm=canary; Path=/")]) as server:
        for _ in range(2):
            caller.chat(caller.model(server.url), max_tokens=5)
        assert ["cookie" in request.headers for request in server.requests] == [False, False]


def test_a_given_client_is_used_and_stays_open(caller: Caller) -> None:
    """An HTTP client of the caller's own is used as it is, with its headers, and isn't closed with the model."""
    with FaultServer(STREAM, [GOOD]) as server:
        client = caller.http_client(headers={"x-mine": "1"})
        model = caller.model(server.url, client)
        assert caller.stream(model)[-1].text == "a"
        if isinstance(caller, SyncCaller):
            model.close()
        else:
            caller.run(model.aclose())
        assert not client.is_closed
        assert caller.chat(model, max_tokens=5).text == "a"
        assert [request.headers["x-mine"] for request in server.requests] == ["1", "1"]
        assert [request.headers["authorization"] for request in server.requests] == [f"Bearer {TOKEN}"] * 2
        assert server.connections == 1
        caller.close_http_client(client)


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("whole", [True, False], ids=["read before", "read piece by piece"])
def test_a_mock_in_place_of_the_network(caller: Caller, streams: bool, whole: bool) -> None:
    """httpx.MockTransport works as users know it, gzip and streams included."""
    body = sse([text_chunk("a"), text_chunk("b", "stop")]) if streams else b'{"response":"ab"}'

    class Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
        def __iter__(self) -> Any:
            yield from (body[:9], body[9:])

        async def __aiter__(self) -> Any:
            yield body[:9]
            yield body[9:]

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.host == "api.cloudflare.com"
        headers = {"content-type": "text/event-stream" if streams else "application/json"}
        return httpx.Response(200, headers=headers, **({"content": body} if whole else {"stream": Pieces()}))

    client = caller.http_client(transport=httpx.MockTransport(answer))
    model = caller.model("https://api.cloudflare.com/client/v4", client)
    assert caller.stream(model)[-1].text == "ab"
    assert caller.chat(model).text == "ab"
    caller.close_http_client(client)


def test_the_pool_of_a_given_client_may_be_too_small() -> None:
    """No free connection is told as that, with what to do."""
    with (
        FaultServer([stream_head(), A, HOLD]) as server,
        httpx.Client(limits=httpx.Limits(max_connections=1)) as client,
    ):
        model = Gemma(ACCOUNT, TOKEN, base_url=server.url, http_client=client, timeout=(0.1, 0.1), max_retries=0)
        with closing(model.stream("hi")) as items:
            next(items)
            with pytest.raises(e.RequestTimeout, match="no connection became free"):
                model.chat("hi")


def run_script(script: str, *arguments: str) -> list[str]:
    """The lines that a program prints; it must end well, with every warning an error."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603 - our own
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


FORK = """
    import gc, os, sys
    from cf_gemma import Gemma
    model = Gemma("acc", "token", base_url=sys.argv[1])
    model.chat("parent", max_tokens=5)
    child = os.fork()
    if child == 0:
        print(model.chat("child", max_tokens=5).text, flush=True)
        gc.collect()
        sys.exit()
    assert os.waitpid(child, 0)[1] == 0
    print(model.chat("parent again", max_tokens=5).text)
"""


@pytest.mark.skipif(
    not hasattr(os, "fork"), reason="this system has no fork: docs.python.org/3/library/os.html#os.fork"
)
def test_a_forked_child_has_its_own_connection() -> None:
    """Parent and child don't write on one connection."""
    with FaultServer([GOOD]) as server:
        assert run_script(FORK, server.url) == ["a", "a"]
        by = {request.json["messages"][0]["content"]: request.connection for request in server.requests}
        assert by == {"parent": 0, "child": 1, "parent again": 0}


PLAIN = """
    import asyncio, sys
    from cf_gemma import AsyncGemma, Gemma
    Gemma("acc", "token", base_url=sys.argv[1]).chat("hi")
    async def leave_early():
        async for _ in AsyncGemma("acc", "token", base_url=sys.argv[1]).stream("hi"):
            break
    for _ in range(3):
        asyncio.run(leave_early())
    next(Gemma("acc", "token", base_url=sys.argv[1]).stream("hi"))
    print("done")
"""


def test_a_program_that_closes_nothing_ends_well() -> None:
    """Models that nobody closed, and streams that nobody read, leave no warning at the end of a program."""
    with FaultServer(STREAM) as server:
        assert run_script(PLAIN, server.url) == ["done"]


def test_pings_flood() -> None:
    """A flood of comments is read past without growing."""
    flood = Repeat(chunk(b": ping\n\n" * 8_000), times=20)
    with (
        FaultServer([stream_head(), flood, A, DONE, END]) as server,
        Gemma(ACCOUNT, TOKEN, base_url=server.url) as model,
    ):
        assert model.chat("hi").text == "a"
