"""The network, and the only module that knows httpx: two shells that move bytes, whose meaning is decided elsewhere."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import http.cookiejar
import os
import random
import socket
import time
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar, cast

import httpx

from cf_gemma import log
from cf_gemma.body import Body, begin, drain
from cf_gemma.connections import Environment, LoopClient, SharedClients, environment
from cf_gemma.errors import ConfigurationError, ConnectionFailed, GemmaError, InvalidRequest, RequestTimeout
from cf_gemma.flow import Send, attempts, counting
from cf_gemma.reception import Reception, StallWatch
from cf_gemma.remote_images import RemoteImage
from cf_gemma.retry import RetryPolicy

if TYPE_CHECKING:
    import ssl
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
_LIMITS: Final = httpx.Limits(max_connections=256, max_keepalive_connections=64)


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
        image = RemoteImage.at(url)
        client = self._client()
        with _missing_if_unanswered(image):
            found = socket.getaddrinfo(image.host, image.port, type=socket.SOCK_STREAM)
            # Made without the client: a given one's headers, cookies and credentials are not for strangers.
            message = httpx.Request("GET", **image.message(found))
            message.extensions["timeout"] = _limits(self._settings).as_dict()
            with closing(client.send(message, stream=True, auth=None, follow_redirects=False)) as response:
                image.begin(response.status_code, response.headers)
                for chunk in response.iter_bytes():
                    image.feed(chunk)
        return bytes(image.data)

    def close(self) -> None:
        """Gives the connections up; a client that was given stays open. The next call opens new ones."""
        for client in _sync_clients.release(self):
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
                if overdue := watch.overdue(reception.events, time.monotonic()):
                    raise reception.silent(overdue)
            yield from reception.close()
            yield log.noted(reception.completion())

    def _open(self, client: httpx.Client, message: httpx.Request) -> httpx.Response:
        try:
            return client.send(message, stream=True, follow_redirects=False)
        except httpx.HTTPError as error:
            raise _unanswered(error, self._settings) from _tellable(error)

    def _client(self) -> httpx.Client:
        return self._given or _sync_clients.get(environment(self._settings.host), self, lambda: _new(httpx.Client))


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
            _certificates()  # here, where no event loop waits for them
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
        async with aclosing(answer.rest):
            yield answer.first
            async for item in answer.rest:
                yield item

    async def fetch(self, url: str) -> bytes:
        """An image on the web. Raises UnsupportedContent for one that may not be asked for, or isn't there."""
        image = RemoteImage.at(url)
        client = await self._client()
        with _missing_if_unanswered(image):
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(image.host, image.port, type=socket.SOCK_STREAM)
            message = httpx.Request("GET", **image.message(found))
            message.extensions["timeout"] = _limits(self._settings).as_dict()
            async with aclosing(await client.send(message, stream=True, auth=None, follow_redirects=False)) as response:
                image.begin(response.status_code, response.headers)
                async for chunk in response.aiter_bytes():
                    image.feed(chunk)
        return bytes(image.data)

    async def aclose(self) -> None:
        """Gives the connections up; a client that was given stays open. The next call opens new ones."""
        loop = asyncio.get_running_loop()
        for kept in _async_clients.release(self, lambda key: key[0] is loop):
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
                    if overdue := watch.overdue(reception.events, time.monotonic()):
                        raise reception.silent(overdue)
                for delta in reception.close():
                    yield delta
                yield log.noted(reception.completion())

    async def _open(self, client: httpx.AsyncClient, message: httpx.Request) -> httpx.Response:
        try:
            return await client.send(message, stream=True, follow_redirects=False)
        except httpx.HTTPError as error:
            raise _unanswered(error, self._settings) from _tellable(error)

    async def _client(self) -> httpx.AsyncClient:
        if self._given is not None:
            return self._given
        loop = asyncio.get_running_loop()
        key = (loop, environment(self._settings.host))
        kept = _async_clients.get(key, self, lambda: LoopClient(_new(httpx.AsyncClient)))
        await kept.start()
        return kept.client


class _Answer(NamedTuple, Generic[_Rest]):
    """An answer that has begun: the first thing it says, and the rest."""

    first: Delta | Completion
    rest: _Rest


_sync_clients: SharedClients[Environment, httpx.Client] = SharedClients(lambda _, client: not client.is_closed)
_async_clients: SharedClients[tuple[asyncio.AbstractEventLoop, Environment], LoopClient[httpx.AsyncClient]] = (
    SharedClients(lambda key, kept: not key[0].is_closed() and not kept.client.is_closed)
)


@atexit.register
def _close_all() -> None:
    for client in _sync_clients.clear():
        client.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_sync_clients.disown)
    os.register_at_fork(after_in_child=_async_clients.disown)


_AnyClient = TypeVar("_AnyClient", httpx.Client, httpx.AsyncClient)


def _new(kind: type[_AnyClient]) -> _AnyClient:
    # No cookies: clients are shared, and one account's must not go out with another's requests.
    no_cookies = http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=()))
    tls = _certificates()
    try:
        return kind(verify=tls, limits=_LIMITS, cookies=no_cookies)
    except ImportError:
        raise ConfigurationError(f"{_proxies('socks')} names a SOCKS proxy, which needs pip install socksio") from None
    except (ValueError, httpx.InvalidURL):
        raise ConfigurationError(f"{_proxies()} must be the URL of a proxy, such as http://host:3128") from None


def _proxies(kind: str = "") -> str:
    names = [name for name, value in os.environ.items() if name.upper().endswith("_PROXY") and kind in value]
    return " or ".join(name for name in names if name.upper() != "NO_PROXY") or "the system's proxy"


def _certificates() -> ssl.SSLContext:
    return _tls(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@functools.cache
def _tls(*_certificates: str | None) -> ssl.SSLContext:
    """One for all clients: reading the certificates costs more than everything else in making a client.

    `_certificates` is what the environment names: httpx reads that itself, but must do so again when it changes.
    """
    try:
        return httpx.create_ssl_context()
    except OSError:
        raise ConfigurationError("SSL_CERT_FILE or SSL_CERT_DIR names no certificates that can be read") from None


def _message(request: HttpRequest, settings: Settings) -> dict[str, Any]:
    return {"url": request.url, "headers": request.headers, "content": request.body, "timeout": _limits(settings)}


def _limits(settings: Settings) -> httpx.Timeout:
    return httpx.Timeout(settings.timeout, connect=settings.connect_timeout)


@contextlib.contextmanager
def _missing_if_unanswered(image: RemoteImage) -> Generator[None, None, None]:
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
        raise image.missing(type(error).__name__) from error


def _reception(request: HttpRequest, response: httpx.Response) -> Reception:
    # A body that was read before it came here (a mock, a recording) is unpacked already.
    encoding = "" if response.is_stream_consumed else None
    return Reception(request, response.status_code, dict(response.headers), encoding=encoding, now=time.time())


def _chunks(response: httpx.Response, reception: Reception, settings: Settings) -> Generator[bytes, None, None]:
    try:
        yield from response.iter_bytes() if response.is_stream_consumed else response.iter_raw()
    except httpx.HTTPError as error:
        if not reception.finished:
            raise _broken(error, reception, settings) from _tellable(error)


async def _async_chunks(response: httpx.Response, reception: Reception, settings: Settings) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.aiter_bytes() if response.is_stream_consumed else response.aiter_raw():
            yield chunk
    except httpx.HTTPError as error:
        if not reception.finished:
            raise _broken(error, reception, settings) from _tellable(error)


def _unanswered(error: httpx.HTTPError, settings: Settings) -> GemmaError:
    """What a request came to that got no answer."""
    if isinstance(error, httpx.PoolTimeout):
        return RequestTimeout(
            "no connection became free in time: lower the concurrency, or pass an http_client of your own"
        )
    if isinstance(error, httpx.ConnectTimeout):
        return RequestTimeout(f"no connection{_within(settings.connect_timeout)}")
    if isinstance(error, httpx.TimeoutException):
        return RequestTimeout(f"no answer{_within(settings.timeout)}")
    if isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol):
        return InvalidRequest("the HTTP client refused to send the request")
    return ConnectionFailed(f"no answer came from {settings.host}: {type(error).__name__}: {error}")


def _within(seconds: float | None) -> str:
    """The limit that passed; without one of ours, it was the operating system's."""
    return " in time" if seconds is None else f" within {seconds:g} s (timeout)"


def _broken(error: httpx.HTTPError, reception: Reception, settings: Settings) -> GemmaError:
    if isinstance(error, httpx.ReadTimeout) and settings.timeout is not None:
        return reception.silent(settings.timeout)
    return reception.cut(f"{type(error).__name__}: {error}")


def _tellable(error: httpx.HTTPError) -> httpx.HTTPError | None:
    """The error as a cause, unless its text may show a header."""
    return None if isinstance(error, httpx.LocalProtocolError) else error


def _last(items: list[Delta | Completion]) -> Completion:
    return cast("Completion", items[-1])
