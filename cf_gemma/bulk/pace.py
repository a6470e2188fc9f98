"""When the next request of a run may go, for all its workers together."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeGuard

from typing_extensions import override

from cf_gemma.bulk.rate import Rate, pause
from cf_gemma.errors import ConfigurationError, ConnectionFailed, InvalidRequest, RateLimited

if TYPE_CHECKING:
    from cf_gemma.bulk.tally import Tally
    from cf_gemma.errors import GemmaError


class Turn(NamedTuple):
    """A request's turn."""

    window: int
    """Of the rate."""
    answers: int
    """How many answers there had been when it began to wait."""


PATIENCE: Final = 3_600.0
"""Seconds of pauses in a row, without any answer, after which a run is stopped."""


class Turns(Protocol):
    """Who gives requests their turns."""

    async def turn(self) -> Turn | None:
        """Waits for the next request's moment; None when the run is stopped."""
        ...

    async def report(self, turn: Turn, error: GemmaError | None) -> bool:
        """Takes what came of a request. Returns whether others were answered since it began to wait for its turn."""
        ...


class Pace(Turns):
    """Spreads requests over the minute, slows down and pauses when the service refuses one.

    After a pause one request goes first; the others wait for what comes of it.

    Args:
        rpm: Requests a minute, 0 for no limit.
        tally: Of the run: once it says `stopped`, nobody gets a turn any more.
    """

    def __init__(self, rpm: int, tally: Tally) -> None:
        self._tally = tally
        self._rate = Rate(rpm or None)
        self._line = asyncio.Lock()
        self._next = 0.0
        self._probing: bool = False
        self._sent, self._began = 0, 0.0
        self._paused = 0.0
        self._answers = 0
        """Requests to which the service gave an answer, be it an error, that isn't such a refusal."""

    @override
    async def turn(self) -> Turn | None:
        answers = self._answers
        async with self._line:
            while not self._tally.stopped:
                now = self._now()
                ready = not (self._rate.refusals and self._probing)
                if ready and now >= self._next:
                    self._next = max(now, self._next) + self._rate.gap
                    self._began, self._sent = self._began or now, self._sent + 1
                    self._probing = self._rate.refusals > 0
                    self._tally.waiting = ""
                    return Turn(self._rate.window, answers)
                await asyncio.sleep(min(self._next - now, LONGEST_NAP) if ready else _SHORTEST_NAP)
        return None

    @override
    async def report(self, turn: Turn, error: GemmaError | None) -> bool:
        if is_refusal(error):
            self._refused(turn.window, error)
        else:
            self._probing = self._probing and turn.window != self._rate.window
            if not isinstance(error, ConfigurationError | InvalidRequest | ConnectionFailed):
                self._answers += 1
                self._paused = 0.0
                self._rate.answered(turn.window)
        return self._answers > turn.answers

    def _refused(self, window: int, error: RateLimited) -> None:
        now = self._now()
        if not self._rate.refused(window, 60 * self._sent / max(now - self._began, 0.1)):
            return
        seconds = pause(error, self._rate.refusals, random.random())  # noqa: S311 - spreads requests, no secret
        self._paused += seconds
        self._next, self._probing = now + seconds, False
        self._sent, self._began = 0, 0.0
        self._tally.waiting = f"refused ({error.status}), next try in {seconds:,.0f} s"
        if self._paused > PATIENCE:
            self._tally.stop(f"every request for {self._paused / 60:,.0f} minutes was refused: {error}")

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def is_refusal(error: GemmaError | None) -> TypeGuard[RateLimited]:
    """Whether there was no room for a request, but will be."""
    return isinstance(error, RateLimited) and error.retryable


LONGEST_NAP: Final = 0.25
"""Seconds after which a waiting one looks whether the run was stopped."""
_SHORTEST_NAP: Final = 0.02
