"""One call as a conversation with whoever moves the bytes: it says Send or Sleep, and is told what came of it. Pure."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from cf_gemma.errors import GemmaError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cf_gemma.request import HttpRequest
    from cf_gemma.retry import RetryPolicy

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request. Answer with what came, or with the GemmaError that it came to."""

    request: HttpRequest
    attempt: int
    """Which request of this call it is, from 1."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait, and then go on."""

    seconds: float
    attempt: int
    """How many requests have been sent so far."""
    reason: GemmaError


Flow = Generator[Send | Sleep, Answer | GemmaError | None, Answer]
"""Yields what to do next, is sent what came of it, and returns the answer."""


def attempts(
    request: HttpRequest, policy: RetryPolicy, dice: Callable[[], float], clock: Callable[[], float]
) -> Flow[Answer]:
    """Sends until an answer comes, which is returned, or the policy gives up: then the last error is raised.

    `clock` gives seconds, from any beginning.
    """
    attempt = 0
    begin = clock()
    previous: GemmaError | None = None
    while True:
        attempt += 1
        outcome = yield Send(request, attempt)
        if outcome is None:
            raise AssertionError("a Send was not answered")
        if not isinstance(outcome, GemmaError):
            return outcome
        wait = policy.wait(attempt, outcome, dice(), previous, repeatable=request.repeatable)
        if wait is None or policy.too_late(clock() - begin + wait):
            raise outcome
        yield Sleep(wait, attempt, outcome)
        previous = outcome


@contextmanager
def counting(attempt: int) -> Generator[None, None, None]:
    """Tells an error of the block how many requests it took."""
    try:
        yield
    except GemmaError as error:
        error.attempts = attempt
        raise
