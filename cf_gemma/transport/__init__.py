"""The network: two shells that move bytes, whose meaning is decided elsewhere. Only this package knows httpx."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, cast

import httpx

from cf_gemma import log
from cf_gemma.body import Body, Owned, begin, drain
from cf_gemma.errors import GemmaError
from cf_gemma.flow import Send, attempts, counting
from cf_gemma.reception import Reception, StallWatch
from cf_gemma.remote_images import RemoteImage
from cf_gemma.retry import RetryPolicy
from cf_gemma.transport.clients import async_client, async_clients, certificates, sync_client, sync_clients
from cf_gemma.transport.failures import broken, missing_if_unanswered, tellable, unanswered

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator

    from cf_gemma.completion import Completion, Delta
    from cf_gemma.flow import Flow
    from cf_gemma.request import HttpRequest
    from cf_gemma.settings import Settings

    _Deltas = Generator[Delta | Completion, None, None]
    _AsyncDeltas = AsyncGenerator[Delta | Completion, None]

HttpClient = httpx.Client
AsyncHttpClient = httpx.AsyncClient
HttpError = httpx.HTTPError
_Outcome = TypeVar("_Outcome")
_Rest = TypeVar("_Rest")


class SyncTransport:
    """Sends requests and waits for them. Threads may share one."""

    def __init__(
        self,
        settings: Settings,
        http_client: httpx.Client | None = None,
        *,
        sleep: Callable[[float], object] = time.sleep,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._settings = settings
        self._given = http_client
        self._sleep = sleep
        self._dice = dice

    def complete(self, request: HttpRequest) -> Completion:
        """The whole answer. Nothing of it is handed out before its end, so all that can go wrong may be tried again."""
        return self._run(request, self._whole)

    def stream(self, request: HttpRequest) -> _Deltas:
        """The answer's deltas, then the answer. Closing the generator closes the connection."""
        answer = self._run(request, self._begin)
        with closing(answer.rest):
            yield answer.first
            yield from answer.rest

    def fetch(self, url: str) -> bytes:
        """An image on the web. Raises UnsupportedContent for one that may not be asked for, or isn't there."""
        image = RemoteImage.at(url, time.monotonic())
        client = self._client()
        with missing_if_unanswered(image):
            found = socket.getaddrinfo(image.host, image.port, type=socket.SOCK_STREAM)
            # Made without the client: a given one's headers, cookies and credentials are not for strangers.
            message = httpx.Request("GET", **image.message(found))
            message.extensions["timeout"] = _limits(self._settings).as_dict()
            with closing(client.send(message, stream=True, auth=None, follow_redirects=False)) as response:
                image.begin(response.status_code, response.headers)
                for chunk in response.iter_bytes():
                    image.feed(chunk, time.monotonic())
        return bytes(image.data)

    def close(self) -> None:
        """Gives the connections up; a client that was given stays open. The next call opens new ones."""
        for client in sync_clients.release(self):
            client.close()

    def _run(self, request: HttpRequest, perform: Callable[[Send], _Outcome | GemmaError]) -> _Outcome:
        flow: Flow[_Outcome] = attempts(request, RetryPolicy.of(self._settings), self._dice, time.monotonic)
        outcome: _Outcome | GemmaError | None = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as stop:
                return stop.value
            if isinstance(step, Send):
                outcome = perform(step)
            else:
                outcome = None
                log.retry(step)
                self._sleep(step.seconds)

    def _whole(self, send: Send) -> Completion | GemmaError:
        try:
            return _last(list(self._read(send)))
        except GemmaError as error:
            return error

    def _begin(self, send: Send) -> _Answer[_Deltas] | GemmaError:
        """Sends, and reads up to the first thing that the answer says."""
        answer = self._read(send)
        try:
            return _Answer(next(answer), answer)
        except GemmaError as error:
            return error

    def _read(self, send: Send) -> _Deltas:
        client = self._client()
        message = client.build_request("POST", **_message(send.request, self._settings))
        with counting(send.attempt):
            response = self._open(client, message)
        with counting(send.attempt), Body(response.close, response.extensions) as body:
            reception = _reception(send.request, response)
            body.chunks = _chunks(response, reception, self._settings)
            watch = StallWatch(self._settings.timeout, time.monotonic())
            for chunk in body.chunks:
                yield from reception.feed(chunk)
                if reception.done:
                    body.drain()
                    break
                if watch.over(reception, time.monotonic()):
                    break
            yield from reception.close()
            yield log.noted(reception.completion())

    def _open(self, client: httpx.Client, message: httpx.Request) -> httpx.Response:
        try:
            return client.send(message, stream=True, follow_redirects=False)
        except httpx.HTTPError as error:
            raise unanswered(error, self._settings) from tellable(error)

    def _client(self) -> httpx.Client:
        return self._given or sync_client(self._settings.host, self)


class AsyncTransport:
    """The same without waiting. It may be used in any number of event loops, each with connections of its own."""

    def __init__(
        self,
        settings: Settings,
        http_client: httpx.AsyncClient | None = None,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        dice: Callable[[], float] = random.random,
    ) -> None:
        if http_client is None:
            certificates()  # here, where no event loop waits for them
        self._settings = settings
        self._given = http_client
        self._sleep = sleep
        self._dice = dice

    async def complete(self, request: HttpRequest) -> Completion:
        """The whole answer. Nothing of it is handed out before its end, so all that can go wrong may be tried again."""
        return await self._run(request, self._whole)

    async def stream(self, request: HttpRequest) -> _AsyncDeltas:
        """The answer's deltas, then the answer. Closing the generator closes the connection."""
        answer = await self._run(request, self._begin)
        async with Owned(answer.rest) as rest:
            yield answer.first
            async for item in rest:
                yield item

    async def fetch(self, url: str) -> bytes:
        """An image on the web. Raises UnsupportedContent for one that may not be asked for, or isn't there."""
        image = RemoteImage.at(url, time.monotonic())
        client = await self._client()
        with missing_if_unanswered(image):
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(image.host, image.port, type=socket.SOCK_STREAM)
            message = httpx.Request("GET", **image.message(found))
            message.extensions["timeout"] = _limits(self._settings).as_dict()
            async with aclosing(await client.send(message, stream=True, auth=None, follow_redirects=False)) as response:
                image.begin(response.status_code, response.headers)
                async for chunk in response.aiter_bytes():
                    image.feed(chunk, time.monotonic())
        return bytes(image.data)

    async def aclose(self) -> None:
        """Gives the connections up; a client that was given stays open. The next call opens new ones."""
        loop = asyncio.get_running_loop()
        for kept in async_clients.release(self, lambda key: key[0] is loop):
            await kept.close()

    async def _run(self, request: HttpRequest, perform: Callable[[Send], Awaitable[_Outcome | GemmaError]]) -> _Outcome:
        flow: Flow[_Outcome] = attempts(request, RetryPolicy.of(self._settings), self._dice, time.monotonic)
        outcome: _Outcome | GemmaError | None = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as stop:
                return stop.value
            if isinstance(step, Send):
                outcome = await perform(step)
            else:
                outcome = None
                log.retry(step)
                await self._sleep(step.seconds)

    async def _whole(self, send: Send) -> Completion | GemmaError:
        try:
            return _last([item async for item in self._read(send)])
        except GemmaError as error:
            return error

    async def _begin(self, send: Send) -> _Answer[_AsyncDeltas] | GemmaError:
        """Sends, and reads up to the first thing that the answer says."""
        answer = self._read(send)
        try:
            return _Answer(await begin(answer), answer)
        except GemmaError as error:
            return error

    async def _read(self, send: Send) -> _AsyncDeltas:
        client = await self._client()
        message = client.build_request("POST", **_message(send.request, self._settings))
        with counting(send.attempt):
            async with aclosing(await self._open(client, message)) as response:
                reception = _reception(send.request, response)
                chunks = _async_chunks(response, reception, self._settings)
                watch = StallWatch(self._settings.timeout, time.monotonic())
                async for chunk in chunks:
                    for delta in reception.feed(chunk):
                        yield delta
                    if reception.done:
                        await drain(chunks)
                        break
                    if watch.over(reception, time.monotonic()):
                        break
                for delta in reception.close():
                    yield delta
                yield log.noted(reception.completion())

    async def _open(self, client: httpx.AsyncClient, message: httpx.Request) -> httpx.Response:
        try:
            return await client.send(message, stream=True, follow_redirects=False)
        except httpx.HTTPError as error:
            raise unanswered(error, self._settings) from tellable(error)

    async def _client(self) -> httpx.AsyncClient:
        return self._given or await async_client(self._settings.host, self)


class _Answer(NamedTuple, Generic[_Rest]):
    """An answer that has begun: the first thing it says, and the rest."""

    first: Delta | Completion
    rest: _Rest


def _message(request: HttpRequest, settings: Settings) -> dict[str, Any]:
    return {"url": request.url, "headers": request.headers, "content": request.body, "timeout": _limits(settings)}


def _limits(settings: Settings) -> httpx.Timeout:
    return httpx.Timeout(settings.timeout, connect=settings.connect_timeout)


def _reception(request: HttpRequest, response: httpx.Response) -> Reception:
    # A body that was read before it came here (a mock, a recording) is unpacked already.
    encoding = "" if response.is_stream_consumed else None
    return Reception(request, response.status_code, dict(response.headers), encoding=encoding, now=time.time())


def _chunks(response: httpx.Response, reception: Reception, settings: Settings) -> Generator[bytes, None, None]:
    try:
        yield from response.iter_bytes() if response.is_stream_consumed else response.iter_raw()
    except httpx.HTTPError as error:
        if not reception.finished:
            raise broken(error, reception, settings) from tellable(error)


async def _async_chunks(response: httpx.Response, reception: Reception, settings: Settings) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.aiter_bytes() if response.is_stream_consumed else response.aiter_raw():
            yield chunk
    except httpx.HTTPError as error:
        if not reception.finished:
            raise broken(error, reception, settings) from tellable(error)


def _last(items: list[Delta | Completion]) -> Completion:
    return cast("Completion", items[-1])
