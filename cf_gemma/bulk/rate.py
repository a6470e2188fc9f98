"""How fast requests may go when others share the account's limit. Pure: time and chance are arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cf_gemma.errors import CapacityExceeded

if TYPE_CHECKING:
    from cf_gemma.errors import RateLimited

DEEPEST: Final = 16
"""The rate doesn't fall below this part of the highest that was refused, nor below one request a minute."""

RECOVERY: Final = 2.0
"""Minutes of answers after which a rate that was halved once is back where it was."""


class Rate:
    """Requests a minute, as TCP's congestion control finds them: half at a refusal, then step by step up again.

    Requests of one window are refused together, so only the first refusal of each counts: a window ends with it.

    Args:
        ceiling: Requests a minute that are never exceeded; None for no limit.
    """

    def __init__(self, ceiling: float | None) -> None:
        self._ceiling = ceiling if ceiling is not None else float("inf")
        self.per_minute = self._ceiling
        """The rate now; infinite until the first refusal where there is no ceiling."""
        self.window: int = 0
        """Number of the window that is open. A request belongs to the one in which it was sent."""
        self.refusals: int = 0
        """Windows in a row that ended without an answer."""
        self._top = 0.0

    @property
    def gap(self) -> float:
        """Seconds between two requests."""
        return 60 / self.per_minute

    def answered(self, window: int) -> None:
        """A request of this window was answered, whatever the answer is."""
        if window == self.window:
            self.refusals = 0
            self.per_minute = min(self._ceiling, self.per_minute + self._top / 2 / RECOVERY / self.per_minute)

    def refused(self, window: int, observed: float) -> bool:
        """A request of this window was refused for want of room. Returns whether that ends the window.

        Args:
            window: Of the request.
            observed: Requests a minute that were sent in it.
        """
        if window != self.window:
            return False
        if self.refusals == 0:
            peak = min(self.per_minute, max(observed, 1.0))
            self._top = max(self._top, peak)
            self.per_minute = min(peak, max(peak / 2, self._top / DEEPEST, 1.0))
        self.refusals += 1
        self.window += 1
        return True


def pause(error: RateLimited, refusals: int, jitter: float) -> float:
    """Seconds that all requests wait after a refusal.

    A limit of requests a minute opens after a minute at the latest, so the wait for one reaches past that. Capacity
    comes back in seconds (live reports, 2026-09).

    Args:
        error: The refusal.
        refusals: Windows in a row that ended in one, this included.
        jitter: A random number, 0 to 1.
    """
    if error.retry_after is not None:
        return min(error.retry_after, LONGEST)
    longest = 30.0 if isinstance(error, CapacityExceeded) else 75.0
    return min(2.0 ** min(refusals, 10), longest) * (1 + 0.25 * jitter)


LONGEST: Final = 900.0
"""Seconds; whatever the service asks for, it is tried again after so long."""
