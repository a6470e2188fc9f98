"""A gate in front of several small connection pools. Pure: whoever waits brings a future to be woken by.

httpcore (1.0.9) looks at every connection of a pool, and at every request that waits for one, whenever a request begins
or ends: the cost of n calls at once grows with n². So requests never wait inside a pool, and a pool is small.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from cf_gemma.transport.flow import Session

LANES: Final = 16
"""Connection pools for one host and token. The second is opened when the first is full, and so on."""

PLACES: Final = 16
"""Connections of one lane: with 64 in one pool, 64 streams cost four times the CPU of four lanes of 16."""


class _Waiter(Protocol):
    """What `concurrent.futures.Future` and `asyncio.Future` have in common."""

    def done(self) -> bool: ...
    def cancelled(self) -> bool: ...
    def result(self) -> int | None: ...
    def set_result(self, result: int | None, /) -> object: ...


class Lanes:
    """Gives each request a lane with a free place: the first one, so that calls one after the other share a connection.

    First come, first served. Threads may share this.
    """

    def __init__(self, lanes: int = LANES, places: int = PLACES) -> None:
        self._places = places
        self._free = [places] * lanes
        self._waiting: OrderedDict[_Waiter, Session] = OrderedDict()
        # Reentrant: the garbage collector may end an abandoned stream at any moment, and with it give a place back.
        self._lock = threading.RLock()

    def enter(self) -> int | None:
        """The lane to take, to be given back with `leave`; None when all are full."""
        with self._lock:
            for lane, free in enumerate(self._free):
                if free:
                    self._free[lane] -= 1
                    return lane
            return None

    def wait(self, waiter: _Waiter, session: Session) -> None:
        """Queues up: `waiter` gets the lane as its result, or None when the session is dismissed."""
        with self._lock:
            lane = self.enter()
            if lane is None:
                self._waiting[waiter] = session
            else:
                waiter.set_result(lane)

    def dismiss(self, session: Session) -> None:
        """Sends away those of this session who wait."""
        with self._lock:
            for waiter in [waiter for waiter, of in self._waiting.items() if of is session]:
                del self._waiting[waiter]
                if not waiter.done():
                    waiter.set_result(None)

    def withdraw(self, waiter: _Waiter) -> None:
        """Takes someone who has stopped waiting out of the queue, or gives back the place that came too late."""
        with self._lock:
            if waiter in self._waiting:
                del self._waiting[waiter]
            elif not waiter.cancelled() and (lane := waiter.result()) is not None:
                self.leave(lane)

    def idle(self, lane: int) -> bool:
        """Whether nobody has a place in this lane."""
        return self._free[lane] == self._places

    def leave(self, lane: int) -> None:
        """Gives a place back, to the one who has waited longest if anybody waits."""
        with self._lock:
            while self._waiting:
                waiter, _ = self._waiting.popitem(last=False)
                if not waiter.done():  # an asynchronous one may have been cancelled, and not have withdrawn yet
                    waiter.set_result(lane)
                    return
            self._free[lane] += 1
