"""`--mode live`: one request a row, many at once, no more a minute than the service allows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from cf_gemma.bulk.breaker import Breaker
from cf_gemma.bulk.records import of_error, of_outcome
from cf_gemma.bulk.rows import BadRow
from cf_gemma.bulk.workers import at_once
from cf_gemma.errors import GemmaError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cf_gemma import AsyncGemma
    from cf_gemma.bulk.output import Output
    from cf_gemma.bulk.rows import Row
    from cf_gemma.bulk.tally import Tally
    from cf_gemma.completion import Completion


class Pace:
    """Spreads requests evenly over the minute."""

    def __init__(self, rpm: int) -> None:
        self._gap = 60 / rpm if rpm else 0.0
        self._next = 0.0

    async def turn(self) -> None:
        """Waits for the next request's moment."""
        now = asyncio.get_running_loop().time()
        self._next = max(now, self._next) + self._gap
        if self._gap:
            await asyncio.sleep(self._next - self._gap - now)


class LiveRun:
    """Sends rows and writes what comes of them, in the order in which it comes.

    Args:
        gemma: Who answers.
        output: Where to write.
        tally: What is counted.
        concurrency: Requests that may be under way at once.
        rpm: Requests a minute, 0 for as many as there can be.
        max_cost: US dollars, those of earlier runs included.
        options: Of every row; its own come before them.
    """

    def __init__(
        self,
        gemma: AsyncGemma,
        output: Output,
        tally: Tally,
        *,
        concurrency: int,
        rpm: int,
        max_cost: float | None,
        options: dict[str, Any],
    ) -> None:
        self._gemma, self._output, self._tally = gemma, output, tally
        self._concurrency, self._max_cost, self._options = concurrency, max_cost, options
        self._pace, self._breaker = Pace(rpm), Breaker(concurrency)
        self._under_way = 0

    async def run(self, rows: Iterator[Row | BadRow]) -> None:
        """Until the rows end, or the tally says `stopped`; what is under way then is still written."""
        await at_once(self._concurrency, lambda: self._work(rows))
        for record in self._breaker.rest():
            self._output.append(record)

    async def _work(self, rows: Iterator[Row | BadRow]) -> None:
        for row in rows:
            if isinstance(row, BadRow):
                self._output.append(of_error(row, row.error))
                await asyncio.sleep(0)
                continue
            await self._pace.turn()
            if self._over():
                return
            self._under_way += 1
            outcome = await self._outcome(row)
            self._under_way -= 1
            self._settle(row, outcome)

    def _over(self) -> bool:
        tally = self._tally
        if self._max_cost is not None and tally.cost + tally.expected(self._under_way + 1) > self._max_cost:
            tally.stop(f"the next row might have gone over the cost limit of ${self._max_cost:g}")
        return bool(tally.stopped)

    async def _outcome(self, row: Row) -> Completion | GemmaError:
        try:
            return await self._gemma.chat(row.messages, **{**self._options, **row.options})
        except GemmaError as error:
            return error

    def _settle(self, row: Row, outcome: Completion | GemmaError) -> None:
        """Writes the lines that are settled by this outcome; none while the service may be to blame."""
        error = outcome if isinstance(outcome, GemmaError) else None
        for record in self._breaker.settle(of_outcome(row, outcome), error, row.options):
            self._output.append(record)
        if self._breaker.tripped:
            self._tally.stop(self._breaker.tripped)
