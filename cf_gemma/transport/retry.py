"""When to send again, and how long to wait first. Pure: the clock and the jitter are arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cf_gemma.errors import CapacityExceeded, ConnectionFailed, RateLimited, ToolChoiceNotHonoured

if TYPE_CHECKING:
    from typing import Self

    from cf_gemma.errors import GemmaError
    from cf_gemma.settings.resolved import Settings

LONGEST_WAIT: Final = 60.0
"""Seconds. A service that asks for more is not waited for: the error goes to the caller with its `retry_after`."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The one layer of retries.

    Attributes:
        max_retries: How many times a request may be sent again, 0 for never.
        deadline: Seconds from the call's beginning after which no attempt begins, None for no limit.
    """

    max_retries: int = 2
    deadline: float | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The policy that these settings ask for."""
        return cls(settings.max_retries, settings.deadline)

    def left(self, seconds: float) -> float | None:
        """Seconds in which an attempt may still begin, so many seconds after the first one did; None for no limit."""
        return None if self.deadline is None else max(0.0, self.deadline - seconds)

    def too_late(self, seconds: float) -> bool:
        """Whether no attempt may begin so many seconds after the first one did."""
        return self.deadline is not None and seconds >= self.deadline

    def wait(
        self,
        attempt: int,
        error: GemmaError,
        jitter: float,
        previous: GemmaError | None = None,
        *,
        idempotent: bool = True,
    ) -> float | None:
        """Seconds to wait before the next attempt, or None to give up.

        Args:
            attempt: How many requests have been sent so far, from 1.
            error: What the last of them came to.
            jitter: A random number, 0 to 1, that keeps many clients from coming back at the same moment.
            previous: What the one before came to.
            idempotent: Whether it may be sent again when the service may have acted on it.
        """
        if attempt > self.max_retries:
            return None
        if isinstance(error, ToolChoiceNotHonoured):
            return None if isinstance(previous, ToolChoiceNotHonoured) else 0.0
        if not error.retryable or not (idempotent or never_processed(error)):
            return None
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= LONGEST_WAIT else None
        # Capacity comes back in seconds, not in fractions of one (live reports, 2026-09).
        first, longest = (2.0, 30.0) if isinstance(error, CapacityExceeded) else (0.5, 8.0)
        return min(first * 2.0 ** min(attempt - 1, 10), longest) * (1 - 0.25 * jitter)


def never_processed(error: GemmaError) -> bool:
    """Whether the service has done nothing for the request, for certain: it wasn't reached, or had no room."""
    if isinstance(error, ConnectionFailed):
        return not error.sent
    return isinstance(error, RateLimited) or error.status == 503
