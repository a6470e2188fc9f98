"""Both kinds of client for the tests of batches, with waits that are noted and not waited."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from cf_gemma import AsyncGemma, Gemma

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cf_gemma.emulator import Emulator


class Clock:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)
        await asyncio.sleep(0.005)  # the emulator works meanwhile


class Queue:
    """The queue of one client, sync or async behind the same face."""

    def __init__(self, runner: asyncio.Runner | None, emulator: Emulator, **options: Any) -> None:
        self.clock, self._runner = Clock(), runner
        where = {"account_id": emulator.account_id, "api_token": emulator.api_token, "base_url": emulator.base_url}
        model = (AsyncGemma if runner else Gemma)(**where, **options)
        self.batch: Any = model.batch
        vars(self.batch).update(
            _clock=lambda: self.clock.now,
            _sleep=self.clock.sleep_async if runner else self._sleep,
        )

    def _sleep(self, seconds: float) -> None:
        import time

        self.clock.sleep(seconds)
        time.sleep(0.005)  # the emulator works meanwhile

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.batch, name)
        if self._runner is None:
            return method
        runner = self._runner
        return lambda *args, **options: runner.run(method(*args, **options))


@pytest.fixture(params=["sync", "async"])
def queue(request: pytest.FixtureRequest) -> Iterator[Callable[..., Queue]]:
    """Makes queues of clients, blocking and asynchronous in turn."""
    if request.param == "sync":
        yield lambda *args, **options: Queue(None, *args, **options)
        return
    with asyncio.Runner() as runner:
        yield lambda *args, **options: Queue(runner, *args, **options)
