"""Work that runs in a thread and is read from the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import closing
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from concurrent.futures import Executor

T = TypeVar("T")


class Abandoned(Exception):
    """The job was cancelled: the client left, or the emulator is closing."""


class Job(Generic[T]):
    """Runs an iterator in a worker thread; `take()` awaits what it has made so far.

    What the thread makes faster than the loop reads comes in one batch, so a fast engine costs few wake-ups; it is held
    back when it is far ahead of a client that reads slowly.
    """

    def __init__(self, make: Callable[[threading.Event], Generator[T]], executor: Executor) -> None:
        self.cancelled = threading.Event()
        self._items: deque[T] = deque()
        self._error: BaseException | None = None
        self._ended = False
        self._woken = False
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        executor.submit(self._run, make)

    async def take(self) -> list[T]:
        """The items made since the last time, at least one; [] at the end.

        Raises what the iterator raised, or Abandoned.
        """
        while True:
            self._wake.clear()
            if self.cancelled.is_set():
                raise Abandoned
            ended = self._ended  # read first: items may still come between the two looks
            if self._items:
                return [self._items.popleft() for _ in range(len(self._items))]
            if ended:
                if self._error is not None:
                    raise self._error
                return []
            await self._wake.wait()

    def cancel(self) -> None:
        """Tells the worker to stop, and whoever awaits `take()` that nothing more comes. Call it in the event loop."""
        self.cancelled.set()
        self._wake.set()

    def _run(self, make: Callable[[threading.Event], Generator[T]]) -> None:
        try:
            with closing(make(self.cancelled)) as items:
                for item in items:
                    self._items.append(item)
                    self._notify()
                    while len(self._items) >= _AHEAD and not self.cancelled.wait(0.01):
                        pass
                    if self.cancelled.is_set():
                        break
        except BaseException as error:  # noqa: BLE001 - handed over: take() raises it in the event loop
            self._error = error
        finally:
            self._ended = True
            self._woken = False
            self._notify()

    def _notify(self) -> None:
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._on_wake)

    def _on_wake(self) -> None:
        self._woken = False
        self._wake.set()


_AHEAD: Final = 4096
"""Items that may wait to be read."""
