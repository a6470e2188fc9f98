"""One call as a conversation with whoever moves the bytes: it asks for a Send or a Sleep and gets the outcome. Pure."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from cf_gemma.errors import GemmaError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from cf_gemma.request.http_request import HttpRequest
    from cf_gemma.transport.retry import RetryPolicy

Answer = TypeVar("Answer")
Step = TypeVar("Step")
Outcome = TypeVar("Outcome")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request. Answer with what came, or with the GemmaError that was raised."""

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
"""Yields what to do next, is sent the outcome, and returns the answer."""


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
        outcome.attempts = attempt
        wait = policy.wait(attempt, outcome, dice(), previous, repeatable=request.repeatable)
        if wait is None or policy.too_late(clock() - begin + wait):
            raise outcome
        yield Sleep(wait, attempt, outcome)
        previous = outcome


async def drive(
    flow: Generator[Step, Outcome | None, Result], perform: Callable[[Step], Awaitable[Outcome | None]]
) -> Result:
    """Carries a flow out: performs each step and sends its outcome back. Returns what the flow returns."""
    outcome: Outcome | None = None
    while True:
        try:
            step = flow.send(outcome)
        except StopIteration as stop:
            return stop.value
        outcome = await perform(step)


def now(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """The result of a coroutine that never waits for an event loop: blocking code runs shared coroutines with it."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise AssertionError("a blocking call was about to wait for an event loop")
