"""The waits of all clients: before they send again, and between two polls of a batch. A test can do without them."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator


@contextmanager
def no_waits() -> Generator[list[float]]:
    """While it is open, no client of this process waits. Yields the seconds that they would have, as they come up."""
    seconds: list[float] = []
    _records.append(seconds)
    try:
        yield seconds
    finally:
        _records[:] = [record for record in _records if record is not seconds]


def sleep(seconds: float) -> None:
    """Waits, in this thread."""
    if not _noted(seconds):
        time.sleep(seconds)


async def sleep_async(seconds: float) -> None:
    """Waits, in this task."""
    await asyncio.sleep(0 if _noted(seconds) else seconds)


def jitter() -> float:
    """A random number, 0 to 1, that keeps many clients from coming back at the same moment; 0 without waits."""
    return 0.0 if _records else random.random()  # noqa: S311 - scatters, guards nothing


def _noted(seconds: float) -> bool:
    for record in _records:
        record.append(seconds)
    return bool(_records)


_records: list[list[float]] = []
