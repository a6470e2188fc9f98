"""One face for Gemma and AsyncGemma, so that each test of the network is written once and run through both."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing, closing
from itertools import islice
from typing import TYPE_CHECKING, Any

import httpx

from cf_gemma import AsyncGemma, Gemma
from cf_gemma.errors import GemmaError
from cf_gemma.testing import no_waits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cf_gemma.model.completion import Completion, Delta

ACCOUNT, TOKEN = "acc", "cf-canary-0123456789"


class SyncCaller:
    """Calls through Gemma. Waits between attempts are noted, not waited."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.waits = self._stack.enter_context(no_waits())

    def model(self, base_url: str, http_client: httpx.Client | None = None, **settings: Any) -> Gemma:
        """A model at this address."""
        model = Gemma(ACCOUNT, TOKEN, base_url=base_url, http_client=http_client, **settings)
        return self._stack.enter_context(model)

    def chat(self, model: Gemma, messages: Any = "hi", **options: Any) -> Completion:
        """A whole answer."""
        return model.chat(messages, **options)

    def stream(
        self, model: Gemma, into: list[Delta | Completion] | None = None, **options: Any
    ) -> list[Delta | Completion]:
        """All that a stream says; `into` holds what it said before an error."""
        items = [] if into is None else into
        for item in model.stream("hi", **options):
            items.append(item)
        return items

    def take(
        self, model: Gemma, count: int, then: Callable[[], object] = bool, **options: Any
    ) -> list[Delta | Completion]:
        """The first few things that a stream says; `then` is done while it is open, and then it is closed."""
        with closing(model.stream("hi", **options)) as items:
            taken = list(islice(items, count))
            then()
            return taken

    def close_beside(
        self, model: Gemma, ready: Callable[[], object], calls: int = 1, **options: Any
    ) -> tuple[list[Any], float]:
        """Calls so many times at once, and closes the model when it is ready: what came of each, and how soon."""
        with ThreadPoolExecutor(calls) as pool:
            begun = [pool.submit(self._outcome, model, **options) for _ in range(calls)]
            assert ready()
            model.close()
            closed = time.monotonic()
            return [one.result() for one in begun], time.monotonic() - closed

    def _outcome(self, model: Gemma, *, stream: bool = False, **options: Any) -> Any:
        try:
            return list(model.stream("hi", **options))[-1] if stream else model.chat("hi", **options)
        except GemmaError as error:
            return error

    network = httpx.HTTPTransport

    def http_client(self, **settings: Any) -> httpx.Client:
        """An HTTP client of the caller's own."""
        return httpx.Client(**settings)

    def close_http_client(self, client: httpx.Client) -> None:
        """Closes it."""
        client.close()

    def close(self) -> None:
        """Closes the models."""
        self._stack.close()


class AsyncCaller:
    """The same through AsyncGemma, in an event loop of its own."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.waits = self._stack.enter_context(no_waits())
        self._runner = asyncio.Runner()

    def run(self, awaitable: Awaitable[Any]) -> Any:
        """Runs it in this caller's loop."""

        async def awaited() -> Any:
            return await awaitable

        return self._runner.run(awaited())

    def model(self, base_url: str, http_client: httpx.AsyncClient | None = None, **settings: Any) -> AsyncGemma:
        """A model at this address."""
        return AsyncGemma(ACCOUNT, TOKEN, base_url=base_url, http_client=http_client, **settings)

    def chat(self, model: AsyncGemma, messages: Any = "hi", **options: Any) -> Completion:
        """A whole answer."""
        return self.run(model.chat(messages, **options))

    def stream(
        self, model: AsyncGemma, into: list[Delta | Completion] | None = None, **options: Any
    ) -> list[Delta | Completion]:
        """All that a stream says; `into` holds what it said before an error."""
        items: list[Delta | Completion] = [] if into is None else into

        async def collect() -> None:
            async for item in model.stream("hi", **options):
                items.append(item)  # noqa: PERF401 - what came before an error is the point

        self.run(collect())
        return items

    def take(
        self, model: AsyncGemma, count: int, then: Callable[[], object] = bool, **options: Any
    ) -> list[Delta | Completion]:
        """The first few things that a stream says; `then` is done while it is open, and then it is closed."""

        async def collect() -> list[Delta | Completion]:
            async with aclosing(model.stream("hi", **options)) as items:
                taken = [await anext(items) for _ in range(count)]
                then()
                return taken

        return self.run(collect())

    def close_beside(
        self, model: AsyncGemma, ready: Callable[[], object], calls: int = 1, **options: Any
    ) -> tuple[list[Any], float]:
        """Calls so many times at once, and closes the model when it is ready: what came of each, and how soon."""

        async def beside() -> tuple[list[Any], float]:
            begun = [asyncio.create_task(self._outcome(model, **options)) for _ in range(calls)]
            assert await asyncio.to_thread(ready)
            await model.aclose()
            closed = time.monotonic()
            return await asyncio.gather(*begun), time.monotonic() - closed

        return self.run(beside())

    async def _outcome(self, model: AsyncGemma, *, stream: bool = False, **options: Any) -> Any:
        try:
            if stream:
                return [item async for item in model.stream("hi", **options)][-1]
            return await model.chat("hi", **options)
        except GemmaError as error:
            return error

    network = httpx.AsyncHTTPTransport

    def http_client(self, **settings: Any) -> httpx.AsyncClient:
        """An HTTP client of the caller's own."""
        return httpx.AsyncClient(**settings)

    def close_http_client(self, client: httpx.AsyncClient) -> None:
        """Closes it."""
        self.run(client.aclose())

    def close(self) -> None:
        """Ends the loop, and with it the connections."""
        self._runner.close()
        self._stack.close()


Caller = Any
"""Either of the two: what a test does with one it does with the other."""
