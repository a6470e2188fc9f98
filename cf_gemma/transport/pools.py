"""HTTP clients of our own: how they are made, and who shares them."""

from __future__ import annotations

import asyncio
import atexit
import functools
import os
import threading
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import httpx
from typing_extensions import override

from cf_gemma.errors import ConfigurationError
from cf_gemma.transport.bodies import elsewhere
from cf_gemma.transport.lanes import PLACES, Lanes
from cf_gemma.transport.sharing import LoopBound, Shared

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from cf_gemma.settings.resolved import Settings

AnyClient = TypeVar("AnyClient", httpx.Client, httpx.AsyncClient)

_LIMITS: Final = httpx.Limits(max_connections=PLACES, max_keepalive_connections=PLACES)

_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_SHAPING: Final = (*_PROXIES, *map(str.upper, _PROXIES), "SSL_CERT_FILE", "SSL_CERT_DIR")

Key = tuple[str | None, ...]
"""What makes connections differ: the host, the token, and what of the environment shapes a client."""


def key(settings: Settings) -> Key:
    """The key of these settings as things stand in the environment."""
    return (settings.host, settings.headers.get("authorization"), *map(os.environ.get, _SHAPING))


class Pool(Generic[AnyClient]):
    """Connections to one host in one token's name: a gate, and behind it an HTTP client for each lane.

    Tokens don't share connections: bytes that a faulty proxy sends too many would become another account's answer.
    """

    def __init__(self, make: Callable[[], AnyClient]) -> None:
        self.lanes = Lanes()
        self.retired = False
        """Whether it was closed, though calls may still be under way: nothing begins here any more."""
        self._make = make
        self._clients = [make()]
        self._lock = threading.Lock()

    def client(self, lane: int) -> AnyClient:
        """The client of this lane, made when it is first needed."""
        with self._lock:
            while lane >= len(self._clients):
                self._clients.append(self._make())
        return self._clients[lane]

    @property
    def clients(self) -> tuple[AnyClient, ...]:
        """Those made so far."""
        return tuple(self._clients)

    @property
    def unused(self) -> bool:
        """Whether no call is under way."""
        return all(map(self.lanes.idle, range(len(self._clients))))

    @property
    def closed(self) -> bool:
        """Whether it can't be used any more."""
        return self.retired or self._clients[0].is_closed


class SyncPool(Pool[httpx.Client]):
    """Of blocking clients. Threads may share it."""

    def __init__(self) -> None:
        super().__init__(lambda: _new(_Client))

    def close(self) -> None:
        """Closes all connections."""
        for client in self.clients:
            client.close()

    def retire(self) -> None:
        """Closes the connections that are idle, and each of the others when its call is done."""
        self.retired = True
        self._shut(*range(len(self.clients)))

    def leave(self, lane: int) -> None:
        """Gives a place back."""
        self.lanes.leave(lane)
        if self.retired:
            self._shut(lane)

    def _shut(self, *lanes: int) -> None:
        # The garbage collector may call this within the very lock that closing needs.
        elsewhere(lambda: [self._shut_here(lane) for lane in lanes])

    def _shut_here(self, lane: int) -> None:
        client = self._clients[lane]
        if self.lanes.idle(lane):
            client.close()
        for connection, lock in _connections(client):
            with lock:  # under which httpcore takes an idle one for a request, so that no busy one is closed
                if connection.is_idle():
                    connection.close()


class AsyncPool(Pool[httpx.AsyncClient]):
    """Of one event loop's clients."""

    keeper: object = None
    """What closes it when the loop shuts down, once it is retired."""

    def __init__(self) -> None:
        super().__init__(lambda: _new(_AsyncClient))

    async def aclose(self) -> None:
        """Closes all connections."""
        for client in self.clients:
            await client.aclose()

    async def retire(self) -> None:
        """Closes the connections that are idle, and each of the others when its call is done."""
        self.retired = True
        for lane in range(len(self.clients)):
            await self._shut(lane)

    async def leave(self, lane: int) -> None:
        """Gives a place back."""
        self.lanes.leave(lane)
        if self.retired:
            await self._shut(lane)

    async def _shut(self, lane: int) -> None:
        client = self._clients[lane]
        if self.lanes.idle(lane):
            await client.aclose()
        for connection, _ in _connections(client):
            if connection.is_idle():
                await connection.aclose()


sync_pools: Shared[Key, SyncPool] = Shared(lambda _, pool: not pool.closed)
async_pools: Shared[tuple[asyncio.AbstractEventLoop, Key], LoopBound[AsyncPool]] = Shared(
    lambda key, bound: not key[0].is_closed() and not bound.item.closed
)


def sync_pool(key: Key, user: object) -> SyncPool:
    """The pool for this key, shared by all who have the same."""
    return sync_pools.get(key, user, SyncPool)


async def async_pool(key: Key, user: object) -> AsyncPool:
    """The same for the running loop, which closes it when it shuts down."""
    bound = async_pools.get((asyncio.get_running_loop(), key), user, lambda: LoopBound(AsyncPool()))
    await bound.start()
    return bound.item


def certificates() -> ssl.SSLContext:
    """Those that servers are checked with, read once as long as the environment names the same."""
    return _tls(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@atexit.register
def _close_all() -> None:
    for pool in sync_pools.clear():
        pool.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=sync_pools.disown)
    os.register_at_fork(after_in_child=async_pools.disown)


class _NoCookies(httpx.Cookies):
    """Takes none: what the edge sets for one request must not go out with another's."""

    @override
    def extract_cookies(self, response: httpx.Response) -> None:
        pass


class _Cookieless:
    cookies = _NoCookies()


class _Client(_Cookieless, httpx.Client):
    """In place of httpx's, which takes twenty calls to find out that there are no cookies."""


class _AsyncClient(_Cookieless, httpx.AsyncClient):
    """The same for an event loop."""


def _connections(client: httpx.Client | httpx.AsyncClient) -> list[tuple[Any, Any]]:
    """The connections of a client, each with the lock on its state; httpx shows them nowhere."""
    pool = getattr(getattr(client, "_transport", None), "_pool", None)
    connections = map(_innermost, getattr(pool, "connections", ()))
    return [(one, one._state_lock) for one in connections if hasattr(one, "_state_lock")]


def _innermost(connection: Any) -> Any:
    """The connection itself, out of those that only make or tunnel it."""
    while (inner := getattr(connection, "_connection", None)) is not None:
        connection = inner
    return connection


def _new(kind: type[AnyClient]) -> AnyClient:
    tls = certificates()
    try:
        return kind(verify=tls, limits=_LIMITS)
    except ImportError:
        raise ConfigurationError(f"{_proxies('socks')} names a SOCKS proxy, which needs pip install socksio") from None
    except (ValueError, httpx.InvalidURL):
        raise ConfigurationError(f"{_proxies()} must be the URL of a proxy, such as http://host:3128") from None


def _proxies(kind: str = "") -> str:
    names = [name for name, value in os.environ.items() if name.upper().endswith("_PROXY") and kind in value]
    return " or ".join(name for name in names if name.upper() != "NO_PROXY") or "the system's proxy"


@functools.cache
def _tls(*_certificates: str | None) -> ssl.SSLContext:
    """One for all clients: reading the certificates costs more than everything else in making a client.

    `_certificates` is what the environment names: httpx reads that itself, but must do so again when it changes.
    """
    try:
        return httpx.create_ssl_context()
    except OSError:
        raise ConfigurationError("SSL_CERT_FILE or SSL_CERT_DIR names no certificates that can be read") from None
