"""`mode="live"`: one request a row, many at once, no more a minute than the account allows."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

from cf_gemma.bulk.breaker import Breaker
from cf_gemma.bulk.errors import of_row
from cf_gemma.bulk.pace import LONGEST_NAP, is_refusal
from cf_gemma.bulk.records import of_error, of_outcome, usage_of
from cf_gemma.bulk.rows import BadRow
from cf_gemma.bulk.workers import at_once
from cf_gemma.errors import GemmaError
from cf_gemma.transport.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cf_gemma import AsyncGemma, Completion
    from cf_gemma.bulk.pace import Turns
    from cf_gemma.bulk.records import Record
    from cf_gemma.bulk.rows import Row
    from cf_gemma.bulk.schema import JsonFormat
    from cf_gemma.bulk.tally import Tally

REFUSALS: Final = 10
"""How often a single row may be refused for want of room, while others are answered, before that is its error."""


class Attempts:
    """The requests that were sent for one row."""

    def __init__(self, row: Row, policy: RetryPolicy) -> None:
        self._row, self._policy = row, policy
        self._misfits = 0
        self._failures = self._refusals = 0
        self._previous: GemmaError | None = None
        self.sent = 0
        self.cost = 0.0
        """US dollars, as far as the service reported usage."""

    def wait(self, outcome: Completion | GemmaError, *, others_answered: bool) -> float | None:
        """Seconds until the row may be sent again, None for never.

        Args:
            outcome: What came of the last request.
            others_answered: Whether the service answered other rows since this one was waiting for its turn.
        """
        self.sent += 1
        if not isinstance(outcome, GemmaError):
            self._misfits += self._doesnt_fit(outcome)
            return 0.0 if self._misfits == 1 else None
        outcome.attempts = self.sent
        if is_refusal(outcome):  # the run slows down for it
            self._refusals += others_answered
            return 0.0 if self._refusals < REFUSALS else None
        self._failures += 1
        wait = self._policy.wait(self._failures, outcome, random.random(), self._previous)  # noqa: S311 - no secret
        self._previous = outcome
        return wait

    def _doesnt_fit(self, completion: Completion) -> bool:
        """Whether it isn't the JSON that the row wants. A limit that cut it would cut the next one, too."""
        wanted = self._row.format
        if wanted is None or completion.message.get("tool_calls") or completion.finish_reason == "length":
            return False
        try:
            wanted.read(completion.text)
        except ValueError:
            return True
        return False


class LiveRun:
    """Sends rows and writes what comes of them, in the order in which it comes.

    Args:
        gemma: Who answers. Its `max_retries` holds for each row, but refusals for want of room (429) don't count:
            they slow the whole run down.
        write: Takes each line.
        tally: What is counted.
        pace: When the next request may go. Requests that are sent again take their turn, too.
        concurrency: Requests that may be under way at once.
        max_cost: US dollars, those of earlier runs included.
        wanted: The format of rows without one of their own.
    """

    def __init__(
        self,
        gemma: AsyncGemma,
        write: Callable[[Record], None],
        tally: Tally,
        pace: Turns,
        *,
        concurrency: int,
        max_cost: float | None = None,
        wanted: JsonFormat | None,
    ) -> None:
        self._gemma, self._policy = gemma.with_retries(0), RetryPolicy(gemma.settings.max_retries)
        self._write, self._tally, self._pace = write, tally, pace
        self._concurrency, self._max_cost = concurrency, max_cost
        self._options = wanted.options if wanted else {}
        self._breaker = Breaker(concurrency)
        self._under_way = 0

    async def run(self, rows: Iterator[Row | BadRow]) -> None:
        """Until the rows end, or the tally says `stopped`; what is under way then is still written."""
        try:
            await at_once(self._concurrency, lambda: self._work(rows), self._tally)
        finally:
            for record in self._breaker.rest():
                self._write(record)

    async def _work(self, rows: Iterator[Row | BadRow]) -> None:
        for row in rows:
            if self._tally.stopped:
                return
            if isinstance(row, BadRow):
                self._write(of_error(row, row.error))
                await asyncio.sleep(0)
                continue
            attempts = Attempts(row, self._policy)
            outcome = await self._answer(row, attempts)
            if outcome is None:
                return
            self._settle(row, outcome, attempts.cost)

    async def _answer(self, row: Row, attempts: Attempts) -> Completion | GemmaError | None:
        """Sends a row until there is an answer or no hope; None when the run is stopped before that."""
        while True:
            turn = await self._pace.turn()
            if turn is None or self._over():
                return None
            outcome = await self._outcome(row)
            attempts.cost += self._pay(outcome)
            error = outcome if isinstance(outcome, GemmaError) else None
            wait = attempts.wait(outcome, others_answered=await self._pace.report(turn, error))
            if wait is None:
                return outcome
            await self._rest(wait)

    async def _rest(self, seconds: float) -> None:
        """Waits so long, or until the run is stopped."""
        while not self._tally.stopped and seconds > 0:
            await asyncio.sleep(min(seconds, LONGEST_NAP))
            seconds -= LONGEST_NAP

    def _over(self) -> bool:
        tally = self._tally
        if self._max_cost is not None and tally.cost + tally.expected(self._under_way + 1) > self._max_cost:
            tally.stop(f"the next row might have gone over the cost limit of ${self._max_cost:g}")
        return bool(tally.stopped)

    async def _outcome(self, row: Row) -> Completion | GemmaError:
        self._under_way += 1
        try:
            return await self._gemma.chat(row.messages, **{**self._options, **row.options})
        except Exception as error:  # noqa: BLE001 - is the row's, whatever it is
            return of_row(error)
        finally:
            self._under_way -= 1

    def _pay(self, outcome: Completion | GemmaError) -> float:
        """Counts what a request cost: also one that failed, when it reported usage before it did."""
        usage = usage_of(outcome)
        cost = usage.cost if usage else 0.0
        self._tally.cost += cost
        return cost

    def _settle(self, row: Row, outcome: Completion | GemmaError, cost: float) -> None:
        """Writes the lines that are settled by this outcome; none while the service may be to blame."""
        error = outcome if isinstance(outcome, GemmaError) else None
        for record in self._breaker.settle(of_outcome(row, outcome, cost), error, row.options):
            self._write(record)
        if self._breaker.tripped:
            self._tally.stop(self._breaker.tripped)
