"""The waits of all clients: before they send again, and between two polls of a batch. A test can do without them."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from cf_gemma.transport.flow import Session

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


_records: list[list[float]] = []
