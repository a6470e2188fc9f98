"""Row 38: whoever leaves a stream early closes its connection, through every face."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, closing
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage

from cf_gemma import AsyncGemma, Gemma
from langchain_cf_gemma import ChatCloudflareGemma
from llama_index_cf_gemma import CloudflareGemma
from tests.faults.faces import SETTINGS
from tests.faults.scenarios import A
from tests.faultserver import HOLD, FaultServer, chunk, stream_head

ENDLESS = [stream_head(), chunk(A), chunk(A), HOLD]
MESSAGES = [ChatMessage(content="hi")]
SYNC = {
    "Gemma": lambda url: Gemma(**SETTINGS, base_url=url).stream("hi"),
    "LangChain": lambda url: ChatCloudflareGemma(**SETTINGS, base_url=url).stream("hi"),
    "LlamaIndex": lambda url: CloudflareGemma(**SETTINGS, base_url=url).stream_chat(MESSAGES),
}


async def _llama_index(url: str) -> Any:
    return await CloudflareGemma(**SETTINGS, base_url=url).astream_chat(MESSAGES)


async def _astream(kind: Any, url: str) -> Any:
    model = kind(**SETTINGS, base_url=url)
    return model.stream("hi") if kind is AsyncGemma else model.astream("hi")


ASYNC = {
    "AsyncGemma": lambda url: _astream(AsyncGemma, url),
    "LangChain async": lambda url: _astream(ChatCloudflareGemma, url),
    "LlamaIndex async": _llama_index,
}


@pytest.mark.parametrize("how", ["close", "break", "throw"])
@pytest.mark.parametrize("name", [*SYNC, *ASYNC])
def test_leaving_early(name: str, how: str) -> None:
    """After the first piece: closed, dropped, or thrown into; the server sees the end at once."""
    with FaultServer(ENDLESS) as server:
        if name in SYNC:
            _leave(SYNC[name](server.url), how)
            assert server.wait_until_closed()
        else:
            asyncio.run(_aleave(name, server, how))
        assert len(server.requests) == 1


def _leave(items: Any, how: str) -> None:
    if how == "close":
        with closing(items):
            next(items)
    elif how == "break":
        for _ in items:
            break
    else:
        next(items)
        with pytest.raises(KeyboardInterrupt):
            items.throw(KeyboardInterrupt())


async def _aleave(name: str, server: FaultServer, how: str) -> None:
    items = await ASYNC[name](server.url)
    if how == "close":
        async with aclosing(items):
            await anext(items)
    elif how == "break":
        async for _ in items:
            break
        del items
    else:
        await anext(items)
        with pytest.raises(KeyboardInterrupt):
            await items.athrow(KeyboardInterrupt())
    assert await asyncio.to_thread(server.wait_until_closed, 0.2)


@pytest.mark.parametrize("how", ["cancel", "timeout"])
@pytest.mark.parametrize("name", ASYNC)
def test_cancelling_a_stream(name: str, how: str) -> None:
    """A cancelled task or a timeout of the caller's own ends a stream between its pieces; nothing swallows it."""
    with FaultServer(ENDLESS) as server:

        async def read() -> None:
            async for _ in await ASYNC[name](server.url):
                pass

        async def run() -> None:
            if how == "timeout":
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await read()
            else:
                task = asyncio.create_task(read())
                await asyncio.sleep(0.1)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert await asyncio.to_thread(server.wait_until_closed, 0.2)

        asyncio.run(run())
        assert len(server.requests) == 1
