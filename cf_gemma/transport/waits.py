"""The waits of all clients: before they send again, and between two polls of a batch. A test can do without them."""

from __future__ import annotations

import asyncio
import random
import time
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from cf_gemma.transport.flow import Session

PASS: Final = 0.05
"""Seconds of one pass of an event loop in which calls may begin; the others of a thousand begin in the next."""

GLANCE: Final = 0.45
"""Seconds between two looks of what waits whether its model was closed."""


@contextmanager
def no_waits() -> Generator[list[float]]:
    """While it is open, no client of this process waits. Yields the seconds that they would have, as they come up."""
    seconds: list[float] = []
    _records.append(seconds)
    try:
        yield seconds
    finally:
        _records[:] = [record for record in _records if record is not seconds]


def sleep(seconds: float, session: Session | None = None) -> None:
    """Waits, in this thread, no longer than the session lasts."""
    if not _noted(seconds):
        for part in _parts(seconds, session):
            time.sleep(part)


async def sleep_async(seconds: float, session: Session | None = None) -> None:
    """Waits, in this task, no longer than the session lasts."""
    for part in _parts(0 if _noted(seconds) else seconds, session):
        await asyncio.sleep(part)


async def turn() -> None:
    """Waits for another pass of the event loop, so that a thousand calls that begin at once don't stop it."""
    loop = asyncio.get_running_loop()
    while (began := _passes.get(loop)) is not None and time.monotonic() - began > PASS:  # noqa: ASYNC110 - no event
        await asyncio.sleep(0)
    if began is None:
        _passes[loop] = time.monotonic()
        loop.call_soon(_passes.pop, loop, None)


def jitter() -> float:
    """A random number, 0 to 1, that keeps many clients from coming back at the same moment; 0 without waits."""
    return 0.0 if _records else random.random()  # noqa: S311 - scatters, guards nothing


def _parts(seconds: float, session: Session | None) -> Iterator[float]:
    if session is None:
        yield seconds
        return
    end = time.monotonic() + seconds
    while not session.closed:
        left = end - time.monotonic()
        yield max(0.0, min(left, GLANCE))
        if left <= GLANCE:
            return


def _noted(seconds: float) -> bool:
    for record in _records:
        record.append(seconds)
    return bool(_records)


_passes: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, float] = weakref.WeakKeyDictionary()
"""When the pass began in which calls began last."""

_records: list[list[float]] = []
