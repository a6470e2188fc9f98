"""`close()` beside calls of other threads and tasks."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from cf_gemma import AsyncGemma, Gemma
from cf_gemma.errors import ConfigurationError
from tests.faultserver import FaultServer, Wait, json_reply
from tests.transport.callers import ACCOUNT, TOKEN, Caller

ANSWER = json_reply({"choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}]})
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
        assert server.wait_until_closed()


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
        assert await asyncio.to_thread(server.wait_until_closed)


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


def test_a_closed_client_of_the_callers_own(caller: Caller) -> None:
    """It is named, and no RuntimeError."""
    client: Any = caller.http_client(transport=httpx.MockTransport(lambda _: httpx.Response(200)))
    caller.close_http_client(client)
    with pytest.raises(ConfigurationError, match="http_client is closed"):
        caller.chat(caller.model("https://api.test", client))
