"""Exchanges over HTTP: read, drained, closed. Blocking, and asynchronous."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, cast

import httpx
from typing_extensions import override

from cf_gemma.transport.bodies import DRAIN, Body, expire_if_more_came
from cf_gemma.transport.exchanges import AsyncExchange, Exchange
from cf_gemma.transport.failures import cut, safe_cause
from cf_gemma.transport.limits import watch_response
from cf_gemma.transport.reading import begun

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Self

    from httpx import AsyncByteStream

    from cf_gemma.settings.resolved import Settings
    from cf_gemma.transport.exchanges import Receive
    from cf_gemma.transport.flow import Send
    from cf_gemma.transport.reading import Items

    Leave = Callable[[], Awaitable[None]]


class _HttpExchange(Exchange):
    """What both kinds share."""

    def __init__(self, send: Send, settings: Settings, response: httpx.Response) -> None:
        super().__init__(send, settings)
        self._response = response
        watch_response(response, send.session)

    def _read(self, receive: Receive) -> None:
        # A body that was read before it came here (a mock, a recording) is unpacked already.
        encoding = "" if self._response.is_stream_consumed else None
        self._receive(receive, self._response.status_code, dict(self._response.headers.items()), encoding)

    def _broken(self, error: httpx.HTTPError) -> None:
        """Raises what a broken connection means, unless the answer is whole all the same."""
        reader = self._reading.reception.reader
        if not reader.finished:
            raise cut(error, reader, self._settings) from safe_cause(error)


class SyncExchange(_HttpExchange):
    """An exchange that blocks: its coroutines never suspend. As a context, it is closed at the end."""

    def __init__(self, send: Send, settings: Settings, response: httpx.Response, leave: Callable[[], None]) -> None:
        """`leave` gives the exchange's place on the connections back."""
        super().__init__(send, settings, response)
        self._leave = leave
        self._body = Body(response)

    async def begin(self, receive: Receive) -> None:
        """Reads up to the first thing that the answer says."""
        self._read(receive)
        while not self._first:
            self.first, self._first = begun(self.more())

    async def finish(self) -> Any:
        """Reads to the end. Returns the result."""
        last: object = None
        while items := self.more():
            for last in items:  # noqa: B007 - what is said before the end may be an error
                pass
        return last

    def more(self) -> Items:
        """What the answer says next; nothing at its end."""
        if self._first:
            items, self._first = self._first, ()
            return items
        reading, chunks = self._reading, self._body.chunks
        if reading.ended:
            return ()
        try:
            while not reading.over():
                chunk = next(chunks, None)
                if chunk is None:
                    break
                if items := reading.feed(chunk):
                    return items
        except httpx.HTTPError as error:
            self._broken(error)
        if reading.reception.reader.done:
            self._body.drain()
        return reading.end()

    async def close(self) -> None:
        """Gives the connection up, or back."""
        self._body.close()
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._count(error)
        if kind is GeneratorExit:
            self._body.abandon()
        else:
            self._body.close()
        self._release()

    def _release(self) -> None:
        """Gives the place on the connections back, once."""
        leave, self._leave = self._leave, _nothing
        leave()
        self._settle()


class AsyncHttpExchange(_HttpExchange, AsyncExchange):
    """An exchange that is waited for asynchronously."""

    _lost = httpx.HTTPError

    def __init__(self, send: Send, settings: Settings, response: httpx.Response, leave: Leave) -> None:
        """`leave` gives the exchange's place on the connections back."""
        super().__init__(send, settings, response)
        self._leave: Leave | None = leave
        stream = cast("AsyncByteStream", response.stream)
        chunks = response.aiter_bytes() if response.is_stream_consumed else aiter(stream)
        self._next = chunks.__anext__

    @override
    async def close(self) -> None:
        """Gives the connection up, or back."""
        watch_response(self._response, None)
        expire_if_more_came(self._response)
        try:
            await self._response.aclose()
        finally:
            self._settle()
            leave, self._leave = self._leave, None
            if leave is not None:
                await leave()

    @override
    async def _drain(self) -> None:
        """Reads what is left, so that the connection can be used again, unless that takes too long."""
        with contextlib.suppress(httpx.HTTPError, TimeoutError, StopAsyncIteration):
            async with asyncio.timeout(DRAIN):
                while True:
                    await self._next()


def _nothing() -> None:
    pass
