"""The blocking shell."""

from __future__ import annotations

import socket
import time
from concurrent.futures import Future
from contextlib import closing
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from cf_gemma.transport import waits
from cf_gemma.transport.failures import dismissed, never_begun, typed_if_closed
from cf_gemma.transport.flow import now
from cf_gemma.transport.http_calls import HttpCalls
from cf_gemma.transport.http_exchanges import SyncExchange
from cf_gemma.transport.limits import limited, phases_within
from cf_gemma.transport.pools import sync_pool, sync_pools

if TYPE_CHECKING:
    from collections.abc import Generator

    import httpx

    from cf_gemma.model.completion import Completion, Delta
    from cf_gemma.request.http_request import HttpRequest
    from cf_gemma.request.remote_images import RemoteImage
    from cf_gemma.settings.resolved import Settings
    from cf_gemma.transport.flow import Send, Session
    from cf_gemma.transport.lanes import Lanes
    from cf_gemma.transport.pools import SyncPool


class SyncTransport(HttpCalls[SyncExchange]):
    """Sends requests and waits for them. Threads may share one."""

    def __init__(
        self,
        settings: Settings,
        http_client: httpx.Client | None = None,
    ) -> None:
        super().__init__(settings)
        self._http_client = http_client
        self._trace = phases_within(settings.timeout)

    def complete(self, request: HttpRequest) -> Completion:
        """The whole answer. Nothing of it is handed out before its end, so all that can go wrong may be tried again."""
        return now(self._completion(request))

    def post(self, request: HttpRequest) -> dict[str, Any]:
        """The JSON object that comes back, where that is no answer of the model's."""
        return now(self._object(request))

    def stream(self, request: HttpRequest) -> Generator[Delta | Completion, None, None]:
        """The answer's deltas, then the answer. Closing the generator closes the connection."""
        with request.bill, now(self.answer(request)) as exchange:
            while items := exchange.more():
                yield from items

    def fetch(self, url: str) -> bytes:
        """An image on the web. Raises UnsupportedContent for one that may not be asked for, or isn't there."""
        return now(self._image(url))

    def close(self) -> None:
        """Gives the connections up; a client that was given stays open. The next call opens new ones.

        What other threads have sent goes on as long as its answer comes, and its connections close when it is done.
        Nothing else of theirs is sent, first or again; and whoever waits for more of an answer that has begun gets its
        error within a second.
        """
        session = self._end_session()
        for pool in sync_pools.items():
            pool.lanes.dismiss(session)
        for pool in sync_pools.release(self):
            pool.retire()

    @override
    async def _post(self, send: Send) -> SyncExchange:
        if self._http_client is not None:
            message = self._messages.post_through(self._http_client, send.request)
            return SyncExchange(send, self._settings, self._sent(self._http_client, message), _nothing)
        pool, lane = self._place(send.left, send.session)
        try:
            response = self._sent(pool.client(lane), self._messages.post(send.request))
        except BaseException:
            pool.leave(lane)
            raise
        return SyncExchange(send, self._settings, response, lambda: pool.leave(lane))

    def _place(self, left: float | None, session: Session) -> tuple[SyncPool, int]:
        """A place on the connections; in another pool where this one was closed while it was waited for."""
        while True:
            pool = sync_pool(self._key, self)
            lane = _enter(pool.lanes, left, session)
            if not pool.retired:
                return pool, lane
            pool.leave(lane)

    @override
    async def _wait(self, seconds: float, session: Session) -> None:
        waits.sleep(seconds, session)

    @override
    async def _resolve(self, image: RemoteImage) -> list[Any]:
        return socket.getaddrinfo(image.host, image.port, type=socket.SOCK_STREAM)

    @override
    async def _download(self, image: RemoteImage, message: httpx.Request) -> None:
        if self._http_client is not None:
            self._get(self._http_client, image, message)
            return
        pool, lane = self._place(image.left(time.monotonic()), self._session)
        try:
            self._get(pool.client(lane), image, message)
        finally:
            pool.leave(lane)

    def _get(self, client: httpx.Client, image: RemoteImage, message: httpx.Request) -> None:
        with (
            limited(image.left(time.monotonic())),
            closing(self._sent(client, message, auth=None)) as response,
        ):
            image.begin(response.status_code, response.headers)
            for chunk in response.iter_bytes():
                image.feed(chunk, time.monotonic())

    def _sent(self, client: httpx.Client, message: httpx.Request, **options: Any) -> httpx.Response:
        message.extensions = {**message.extensions, "trace": self._trace}
        with typed_if_closed(client):
            return client.send(message, stream=True, follow_redirects=False, **options)


def _enter(lanes: Lanes, seconds: float | None, session: Session) -> int:
    lane = lanes.enter()
    if lane is not None:
        return lane
    place: Future[int | None] = Future()
    lanes.wait(place, session)
    try:
        lane = place.result(seconds)
    except BaseException as error:
        lanes.withdraw(place)
        if isinstance(error, TimeoutError):
            raise never_begun() from None
        raise
    if lane is None or session.closed:
        lanes.withdraw(place)
        raise dismissed()
    return lane


def _nothing() -> None:
    pass
