"""HTTP clients that are alike are shared: many models, even one made for each request, keep one pool of connections."""

from __future__ import annotations

import os
import threading
import urllib.request
import weakref
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Hashable

Client = TypeVar("Client")
Key = TypeVar("Key", bound="Hashable")


Environment = tuple[tuple[str, str], ...]


def environment(host: str = "") -> Environment:
    """What shapes a client: whom it talks to, and of the process's environment the proxies and certificates."""
    certificates = [(name, os.environ[name]) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if name in os.environ]
    return (("host", host), *sorted(urllib.request.getproxies_environment().items()), *certificates)


class SharedClients(Generic[Key, Client]):
    """Clients by whatever makes them differ, each with those who use it. Threads may share this."""

    def __init__(self, usable: Callable[[Key, Client], bool]) -> None:
        """`usable` tells a client that can still be used from one that was closed, or whose event loop was."""
        self._usable = usable
        # Reentrant: a user's death, which the garbage collector may bring about anywhere, touches the sets of users.
        self._lock = threading.RLock()
        self._entries: dict[Key, _Entry[Client]] = {}
        self._disowned: list[dict[Key, _Entry[Client]]] = []

    def get(self, key: Key, user: object, make: Callable[[], Client]) -> Client:
        """The client for this key, made when there is none that can be used."""
        with self._lock:
            self._entries = {k: entry for k, entry in self._entries.items() if self._usable(k, entry.client)}
            if key not in self._entries:
                self._entries[key] = _Entry(make())
            entry = self._entries[key]
            entry.users.add(user)
            return entry.client

    def release(self, user: object, within: Callable[[Key], bool] = lambda _: True) -> list[Client]:
        """Takes a user's leave; the clients that nobody uses now, for the caller to close.

        `within` tells the keys whose clients the caller may close: those of another event loop are not.
        """
        with self._lock:
            entries = {key: entry for key, entry in self._entries.items() if within(key)}
            for entry in entries.values():
                entry.users.discard(user)
            unused = [key for key, entry in entries.items() if not entry.users]
            return [self._entries.pop(key).client for key in unused]

    def disown(self) -> None:
        """In a forked child, begins anew: the clients are the parent's, and a thread of its may hold the lock.

        They are kept, unused: two processes must not write on one connection, and closing one writes on it, too.
        """
        self._disowned.append(self._entries)
        self._lock = threading.RLock()
        self._entries = {}

    def clear(self) -> list[Client]:
        """Forgets all clients; they are the caller's to close."""
        with self._lock:
            clients = [entry.client for entry in self._entries.values()]
            self._entries = {}
            return clients


class _Closable(Protocol):
    async def aclose(self) -> None: ...


LoopBound = TypeVar("LoopBound", bound=_Closable)


class LoopClient(Generic[LoopBound]):
    """An asynchronous client that is closed when its event loop shuts down, by whoever runs the loop.

    Loops close the asynchronous generators that began in them, so one of those holds the client open.
    """

    def __init__(self, client: LoopBound) -> None:
        self.client = client
        self._keeper: AsyncGenerator[None, None] | None = None

    async def start(self) -> None:
        """Binds the client to the running loop. Does nothing the second time."""
        if self._keeper is None:
            self._keeper = self._keep()
            await anext(self._keeper)

    async def close(self) -> None:
        """Closes the client."""
        if self._keeper is not None:
            await self._keeper.aclose()

    async def _keep(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self.client.aclose()


class _Entry(Generic[Client]):
    def __init__(self, client: Client) -> None:
        self.client = client
        self.users: weakref.WeakSet[object] = weakref.WeakSet()
