"""One call as a conversation with whoever moves the bytes: it asks for a Send or a Sleep and gets the outcome. Pure."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from cf_gemma.errors import STREAMS_NO_SCHEMA, ApiError, GemmaError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from cf_gemma.request.http_request import HttpRequest
    from cf_gemma.transport.retry import RetryPolicy

Answer = TypeVar("Answer")
Step = TypeVar("Step")
Outcome = TypeVar("Outcome")
Result = TypeVar("Result")


class Session:
    """A model's calls up to its `close()`. Whatever waits looks here every half second."""

    closed = False


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request. Answer with what came, or with the GemmaError that was raised."""

    request: HttpRequest
    attempt: int
    """Which request of this call it is, from 1."""
    session: Session
    insists: bool = False
    """Whether an answer of which a server's parser left nothing usable is to be an `Unusable`, as long as nothing of it
    was handed out."""
    left: float | None = None
    """Seconds in which it has to begin, waiting in line included; None for no limit."""


class Unusable(GemmaError):
    """An answer with nothing in it, or whose calls were all broken on the way. `partial` is what came."""

    answer: Any = None
    """What the flow returns if there is no time for another attempt: the answer as it is."""


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
    request: HttpRequest,
    policy: RetryPolicy,
    jitter: Callable[[], float],
    clock: Callable[[], float],
    session: Session,
) -> Flow[Answer]:
    """Sends until an answer comes, which is returned, or the policy gives up: then the last error is raised.

    `clock` gives seconds, from any beginning. Nothing is sent again once the session is closed.
    """
    attempt = 0
    begin = clock()
    previous: GemmaError | None = None
    lost: Unusable | None = None
    while True:
        attempt += 1
        left = policy.left(clock() - begin)
        insists = lost is None and attempt <= policy.max_retries
        outcome = yield Send(request, attempt, session, insists=insists, left=left)
        if outcome is None:
            raise AssertionError("a Send was not answered")
        if not isinstance(outcome, GemmaError):
            return outcome
        outcome.attempts = attempt
        if attempt <= policy.max_retries and _lost_in_a_stream(outcome, request):
            wait, request = 0.0, request.unstreamed()
        else:
            wait = policy.wait(attempt, outcome, jitter(), previous, idempotent=request.idempotent)
            wait = None if _tried_often_enough(outcome, request) else wait
        if wait is None or session.closed or policy.too_late(clock() - begin + wait):
            return _given_up(outcome, lost)
        yield Sleep(wait, attempt, outcome)
        if session.closed:
            return _given_up(outcome, lost)
        lost = outcome if isinstance(outcome, Unusable) else lost
        previous = outcome


def _given_up(outcome: GemmaError, lost: Unusable | None) -> Any:
    """The answer as it is, where there is one. Raises the error where there is none."""
    if isinstance(outcome, Unusable):
        return outcome.answer
    if lost is not None and outcome.partial is None:
        outcome.partial = lost.partial
    raise outcome


def _lost_in_a_stream(error: GemmaError, request: HttpRequest) -> bool:
    """Whether another attempt, in one piece, may bring what this one didn't."""
    return isinstance(error, Unusable) or (error.code == STREAMS_NO_SCHEMA and request.stream)


def _tried_often_enough(error: GemmaError, request: HttpRequest) -> bool:
    """Whether an AI Gateway, which has retries of its own, gave up."""
    return request.retried_by_gateway and isinstance(error, ApiError)


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
