"""The asynchronous shell."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from cf_gemma.transport.call import AsyncCalls
from cf_gemma.transport.failures import dismissed, never_begun, typed_if_closed
from cf_gemma.transport.http_calls import HttpCalls
from cf_gemma.transport.http_exchanges import AsyncHttpExchange
from cf_gemma.transport.limits import limited_async, phases_within_async
from cf_gemma.transport.pools import async_pool, async_pools, certificates

if TYPE_CHECKING:
    import httpx

    from cf_gemma.request.remote_images import RemoteImage
    from cf_gemma.settings.resolved import Settings
    from cf_gemma.transport.flow import Send, Session
    from cf_gemma.transport.lanes import Lanes
    from cf_gemma.transport.pools import AsyncPool


class AsyncTransport(AsyncCalls[AsyncHttpExchange], HttpCalls[AsyncHttpExchange]):
    """The same without waiting. It may be used in any number of event loops, each with connections of its own."""

    def __init__(
        self,
        settings: Settings,
        http_client: httpx.AsyncClient | None = None,
    ) -> None:
        if http_client is None:
            certificates()  # here, where no event loop waits for them
        super().__init__(settings)
        self._http_client = http_client

    async def fetch(self, url: str) -> bytes:
        """An image on the web. Raises UnsupportedContent for one that may not be asked for, or isn't there."""
        return await self._image(url)

    async def aclose(self) -> None:
        """Gives the connections up; a client that was given stays open. The next call opens new ones.

        What other tasks have sent goes on as long as its answer comes, and its connections close when it is done.
        Nothing else of theirs is sent, first or again; and whoever waits for more of an answer that has begun gets its
        error within a second.
        """
        session = self._end_session()
        loop = asyncio.get_running_loop()
        for bound in async_pools.items(lambda key: key[0] is loop):
            bound.item.lanes.dismiss(session)
        for bound in async_pools.release(self, lambda key: key[0] is loop):
            await bound.item.retire()
            if bound.item.unused:
                await bound.close()
            else:
                bound.item.keeper = bound  # unreachable, it would close what is under way

    @override
    async def _post(self, send: Send) -> AsyncHttpExchange:
        if self._http_client is not None:
            message = self._messages.post_through(self._http_client, send.request)
            return AsyncHttpExchange(send, self._settings, await self._sent(self._http_client, message), _nothing)
        pool, lane = await self._place(send.left, send.session)
        try:
            response = await self._sent(pool.client(lane), self._messages.post(send.request))
        except BaseException:
            await pool.leave(lane)
            raise
        return AsyncHttpExchange(send, self._settings, response, lambda: pool.leave(lane))

    async def _place(self, left: float | None, session: Session) -> tuple[AsyncPool, int]:
        """A place on the connections; in another pool where this one was closed while it was waited for."""
        while True:
            pool = await async_pool(self._key, self)
            lane = await _enter(pool.lanes, left, session)
            if not pool.retired:
                return pool, lane
            await pool.leave(lane)

    @override
    async def _resolve(self, image: RemoteImage) -> list[Any]:
        loop = asyncio.get_running_loop()
        return await loop.getaddrinfo(image.host, image.port, type=socket.SOCK_STREAM)

    @override
    async def _download(self, image: RemoteImage, message: httpx.Request) -> None:
        if self._http_client is not None:
            await self._get(self._http_client, image, message)
            return
        pool, lane = await self._place(image.left(time.monotonic()), self._session)
        try:
            await self._get(pool.client(lane), image, message)
        finally:
            await pool.leave(lane)

    async def _get(self, client: httpx.AsyncClient, image: RemoteImage, message: httpx.Request) -> None:
        async with (
            limited_async(image.left(time.monotonic())),
            aclosing(await client.send(message, stream=True, auth=None, follow_redirects=False)) as response,
        ):
            image.begin(response.status_code, response.headers)
            async for chunk in response.aiter_bytes():
                image.feed(chunk, time.monotonic())

    async def _sent(self, client: httpx.AsyncClient, message: httpx.Request) -> httpx.Response:
        with typed_if_closed(client):
            if (seconds := self._settings.timeout) is None:
                return await client.send(message, stream=True, follow_redirects=False)
            async with limited_async(None) as scope:
                message.extensions = {**message.extensions, "trace": phases_within_async(scope, seconds)}
                return await client.send(message, stream=True, follow_redirects=False)


async def _enter(lanes: Lanes, seconds: float | None, session: Session) -> int:
    lane = lanes.enter()
    if lane is not None:
        return lane
    place: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
    lanes.wait(place, session)
    try:
        async with asyncio.timeout(seconds):
            lane = await place
    except BaseException as error:
        lanes.withdraw(place)
        if isinstance(error, TimeoutError):
            raise never_begun() from None
        raise
    if lane is None or session.closed:
        lanes.withdraw(place)
        raise dismissed()
    return lane


async def _nothing() -> None:
    pass
