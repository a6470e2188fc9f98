"""Rows 39 and 40: event loops, threads and processes, each with the right answers and the exact number of requests."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from llama_index.core.llms import ChatMessage

from cf_gemma import AsyncGemma, Gemma
from langchain_cf_gemma import ChatCloudflareGemma
from llama_index_cf_gemma import CloudflareGemma
from tests.faults.children import run
from tests.faults.faces import SETTINGS
from tests.faults.scenarios import GOOD, STREAM
from tests.faultserver import FaultServer

if TYPE_CHECKING:
    from collections.abc import Callable


async def _gemma(model: AsyncGemma, prompt: str) -> str:
    return (await model.chat(prompt, max_tokens=5)).text


async def _langchain(model: ChatCloudflareGemma, prompt: str) -> str:
    return str((await model.ainvoke(prompt, max_tokens=5)).text)


async def _llama_index(model: CloudflareGemma, prompt: str) -> str | None:
    return (await model.achat([ChatMessage(content=prompt)], max_tokens=5)).message.content


ASYNC: dict[str, tuple[type, Callable[..., Any]]] = {
    "AsyncGemma": (AsyncGemma, _gemma),
    "LangChain": (ChatCloudflareGemma, _langchain),
    "LlamaIndex": (CloudflareGemma, _llama_index),
}
SYNC: dict[str, tuple[type, Callable[..., Any]]] = {
    "Gemma": (Gemma, lambda model, prompt: model.chat(prompt, max_tokens=5).text),
    "LangChain": (ChatCloudflareGemma, lambda model, prompt: model.invoke(prompt, max_tokens=5).text),
    "LlamaIndex": (
        CloudflareGemma,
        lambda model, prompt: model.chat([ChatMessage(content=prompt)], max_tokens=5).message.content,
    ),
}


@pytest.mark.parametrize("name", ASYNC)
def test_three_loops_in_a_row(name: str) -> None:
    """One model over three `asyncio.run` sends three requests, on connections of their own, all closed."""
    kind, ask = ASYNC[name]
    with FaultServer([GOOD]) as server:
        model = kind(**SETTINGS, base_url=server.url)
        for number in range(3):
            assert asyncio.run(ask(model, str(number))) == "ab"
            assert server.wait_until_closed()
        gc.collect()
        assert (len(server.requests), server.connections) == (3, 3)


@pytest.mark.parametrize("name", ASYNC)
def test_two_loops_at_once(name: str) -> None:
    """Two loops in two threads use one model at the same time, each on connections of its own."""
    kind, ask = ASYNC[name]
    with FaultServer([GOOD]) as server:
        model = kind(**SETTINGS, base_url=server.url)
        turn = threading.Barrier(2, timeout=30)

        async def several(thread: int) -> list[str]:
            await asyncio.to_thread(turn.wait)
            return await asyncio.gather(*(ask(model, f"{thread}/{number}") for number in range(4)))

        with ThreadPoolExecutor(2) as pool:
            answers = [job.result(10) for job in [pool.submit(asyncio.run, several(thread)) for thread in range(2)]]
        assert answers == [["ab"] * 4] * 2
        sent = sorted(request.json["messages"][0]["content"] for request in server.requests)
        assert sent == [f"{thread}/{number}" for thread in range(2) for number in range(4)]
        by_thread = [
            {r.connection for r in server.requests if r.json["messages"][0]["content"].startswith(f"{thread}/")}
            for thread in range(2)
        ]
        assert by_thread[0].isdisjoint(by_thread[1])
        assert server.wait_until_closed()


@pytest.mark.parametrize("name", SYNC)
def test_sixteen_threads(name: str) -> None:
    """Sixteen threads use one model at once: each prompt is sent once and answered."""
    kind, ask = SYNC[name]
    with FaultServer([GOOD]) as server, ThreadPoolExecutor(16) as pool:
        model = kind(**SETTINGS, base_url=server.url)
        assert list(pool.map(lambda number: ask(model, str(number)), range(64))) == ["ab"] * 64
        sent = sorted(int(request.json["messages"][0]["content"]) for request in server.requests)
        assert sent == list(range(64))
        assert server.connections <= 16
        (model.client if name == "LangChain" else model).close()
        assert server.wait_until_closed()


@pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"),
    reason="counts open files as Linux shows them: man7.org/linux/man-pages/man5/proc_pid_fd.5.html",
)
def test_two_hundred_loops_leave_nothing() -> None:
    """200 loops, each with an answer and a half-read stream: no client kept, no file open, no growth, no warning."""
    script = """
        import asyncio, gc, os, resource, sys
        from cf_gemma import AsyncGemma
        from cf_gemma.transport.pools import async_pools

        chats, streams = (AsyncGemma("acc", "token", base_url=url) for url in sys.argv[1:])

        async def use():
            await chats.chat("hi", max_tokens=5)
            async for _ in streams.stream("hi"):
                break

        def state():
            gc.collect()
            with open("/proc/self/statm") as file:
                resident = int(file.read().split()[1]) * resource.getpagesize()
            return len(async_pools._entries), len(os.listdir("/proc/self/fd")), resident

        for _ in range(20):
            asyncio.run(use())
        before = state()
        for _ in range(200):
            asyncio.run(use())
        after = state()
        print(after[0], after[1] - before[1], after[2] - before[2])
    """
    with FaultServer([GOOD]) as chats, FaultServer(STREAM) as streams:
        entries, files, resident = map(int, run(script, chats.url, streams.url)[0].split())
        assert entries <= 2  # the last loop's, one for each host
        assert files <= 0
        assert resident < 8 << 20
        assert len(chats.requests) == len(streams.requests) == chats.connections == streams.connections == 220
        assert chats.wait_until_closed()
        assert streams.wait_until_closed()
        print(f"200 loops: {resident / 1024:.0f} KiB")  # noqa: T201 - for `pytest -rP`, which shows it


def test_loops_that_nobody_shuts_down() -> None:
    """Under nest_asyncio loops end without a word to what was begun in them: nothing of ours complains later on."""
    with FaultServer([GOOD]) as server:
        script = f"""
            import asyncio, gc, nest_asyncio
            from llama_index.core.evaluation import RelevancyEvaluator
            from llama_index_cf_gemma import CloudflareGemma
            nest_asyncio.apply()
            evaluator = RelevancyEvaluator(llm=CloudflareGemma(**{SETTINGS!r}, base_url={server.url!r}))
            async def main():
                for _ in range(10):
                    evaluator.evaluate(query="q", response="r", contexts=["c"])
            asyncio.run(main())
            gc.collect()
            print("done")
        """
        assert run(script, warnings="ignore") == ["done"]
