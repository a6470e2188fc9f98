"""Pools that are alike are shared: many models, even one made for each request, keep one pool of connections."""

from __future__ import annotations

import asyncio
import threading
import weakref
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Hashable

Item = TypeVar("Item")
Key = TypeVar("Key", bound="Hashable")


class Shared(Generic[Key, Item]):
    """Items by key, each with a weak set of its users. Threads may share this."""

    def __init__(self, usable: Callable[[Key, Item], bool]) -> None:
        """`usable` is false for an item that was closed, or whose event loop was."""
        self._usable = usable
        # Reentrant: a user's death, which the garbage collector may bring about anywhere, touches the sets of users.
        self._lock = threading.RLock()
        self._entries: dict[Key, _Entry[Item]] = {}
        self._disowned: list[dict[Key, _Entry[Item]]] = []

    def get(self, key: Key, user: object, make: Callable[[], Item]) -> Item:
        """The item for this key, made when there is none that can be used."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or not self._usable(key, entry.item):
                self._entries = {k: kept for k, kept in self._entries.items() if self._usable(k, kept.item)}
                entry = self._entries[key] = _Entry(make())
            entry.users.add(user)
            return entry.item

    def items(self, within: Callable[[Key], bool] = lambda _: True) -> list[Item]:
        """Those that are in use."""
        with self._lock:
            return [entry.item for key, entry in self._entries.items() if within(key)]

    def release(self, user: object, within: Callable[[Key], bool] = lambda _: True) -> list[Item]:
        """Takes a user's leave. Returns the items that nobody uses now, for the caller to close.

        `within` is true for keys whose items the caller may close: those of another event loop are not.
        """
        with self._lock:
            entries = {key: entry for key, entry in self._entries.items() if within(key)}
            for entry in entries.values():
                entry.users.discard(user)
            unused = [key for key, entry in entries.items() if not entry.users]
            return [self._entries.pop(key).item for key in unused]

    def disown(self) -> None:
        """In a forked child, begins anew: the items are the parent's, and one of its threads may hold the lock.

        They are kept, unused: two processes must not write on one connection, and closing one writes on it, too.
        """
        self._disowned.append(self._entries)
        self._lock = threading.RLock()
        self._entries = {}

    def clear(self) -> list[Item]:
        """Forgets all items; they are the caller's to close."""
        with self._lock:
            items = [entry.item for entry in self._entries.values()]
            self._entries = {}
            return items


class _Closable(Protocol):
    async def aclose(self) -> None: ...


Closable = TypeVar("Closable", bound=_Closable)


class LoopBound(Generic[Closable]):
    """Something that is closed when its event loop shuts down, by whoever runs the loop.

    Loops close the asynchronous generators that began in them, so one of those holds it open.
    """

    def __init__(self, item: Closable) -> None:
        self.item = item
        self._keeper: AsyncGenerator[None, None] | None = None

    async def start(self) -> None:
        """Binds it to the running loop. Does nothing the second time."""
        if self._keeper is None:
            self._keeper = self._keep()
            await anext(self._keeper)

    async def close(self) -> None:
        """Closes it."""
        if self._keeper is not None:
            await self._keeper.aclose()

    async def _keep(self) -> AsyncGenerator[None, None]:
        loop = asyncio.get_running_loop()
        try:
            yield
        finally:
            # A loop that nobody shut down, as under nest_asyncio, leaves this to the garbage collector: too late.
            if _running() is loop:
                await self.item.aclose()


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class _Entry(Generic[Item]):
    def __init__(self, item: Item) -> None:
        self.item = item
        self.users: weakref.WeakSet[object] = weakref.WeakSet()
