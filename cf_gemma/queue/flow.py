"""A batch as a generator: it yields what to post and how long to wait, and is sent the replies. Pure."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from cf_gemma.errors import (
    AuthenticationError,
    BatchInterrupted,
    GemmaError,
    PermissionDenied,
    ProtocolError,
    RequestTimeout,
)
from cf_gemma.queue.handle import BatchHandle, BatchPart, BatchResult, BatchStatus
from cf_gemma.queue.replies import Answered, accepted, answered, results
from cf_gemma.queue.requests import poll_request
from cf_gemma.request.http_request import HttpRequest
from cf_gemma.transport.retry import never_processed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cf_gemma.queue.requests import Part
    from cf_gemma.settings.resolved import Settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait, and then go on."""

    seconds: float


@dataclass(frozen=True, slots=True)
class PollPolicy:
    """How often to ask: soon at first, then ever more rarely. The queue usually takes minutes."""

    first: float = 1.0
    """Seconds before the second question."""
    growth: float = 1.5
    longest: float = 30.0
    """Seconds."""

    def pause(self, polls: int) -> float:
        """Seconds to wait after so many questions, from 1."""
        return min(self.first * self.growth ** min(polls - 1, 50), self.longest)


_DOUBT: Final = "the queue may have taken that part all the same, so it was not sent again: it would be paid for twice"

QueueFlow = Generator[HttpRequest | Pause, dict[str, Any] | GemmaError | None, T]
"""Yields what to post or how long to wait, is sent what came back, and returns the result."""


def submit(parts: Sequence[Part], model: str) -> QueueFlow[BatchHandle]:
    """Hands the parts over, one after the other.

    Raises BatchInterrupted, with a handle to what was handed over, when a part after the first can't be, or when nobody
    knows whether a part was.
    """
    done: list[BatchPart] = []
    for part in parts:
        try:
            reply = _reply_or_raise((yield part.request))
            done.append(BatchPart(accepted(reply), part.references))
        except GemmaError as error:
            # An answer that is no receipt came from somebody who may have taken the part.
            doubtful = isinstance(error, ProtocolError) or (error.retryable and not never_processed(error))
            if not (done or doubtful):
                raise
            problem = f"{len(done)} of {len(parts)} parts of the batch were handed over, and then: {error}"
            interrupted = BatchInterrupted(f"{problem}; {_DOUBT}" if doubtful else problem)
            interrupted.handle = BatchHandle(tuple(done), model) if done else None
            raise interrupted from error
    return BatchHandle(tuple(done), model)


def poll(settings: Settings, handle: BatchHandle) -> QueueFlow[BatchStatus]:
    """Asks once after each part."""
    states: list[str] = []
    for part in handle.parts:
        reply = yield poll_request(settings, part.request_id, handle.model)
        states.append(answered(_reply_or_raise(reply)).state)
    return BatchStatus(tuple(states))


def collect(
    settings: Settings,
    handle: BatchHandle,
    *,
    timeout: float | None,
    policy: PollPolicy,
    clock: Callable[[], float],
) -> QueueFlow[list[BatchResult]]:
    """Asks until every part is done, one part after the other; its results, in order.

    Trouble that may pass counts as "not yet". Raises RequestTimeout, or the trouble, once `timeout` seconds have.
    """
    begin = clock()
    collected: list[BatchResult] = []
    for part in handle.parts:
        polls = 0
        while True:
            polls += 1
            try:
                answer, trouble = _answer_or_error((yield poll_request(settings, part.request_id, handle.model)))
            except GemmaError as error:
                collected += _lost(handle, part, error)
                break
            if answer.state == "done":
                collected += results(part, answer.responses)
                break
            left = None if timeout is None else timeout - (clock() - begin)
            if left is not None and left <= 0:
                raise trouble or RequestTimeout(f"the batch is not done yet ({answer.state}); wait for it again later")
            pause = policy.pause(polls)
            yield Pause(pause if left is None else min(pause, left))
    return collected


def _lost(handle: BatchHandle, part: BatchPart, error: GemmaError) -> list[BatchResult]:
    """The results of a part that failed as a whole, beside which others have answers; without others, the error."""
    about_us = isinstance(error, AuthenticationError | PermissionDenied)
    if len(handle.parts) == 1 or part.references is None or about_us:
        raise error
    return [BatchResult(reference, error) for reference in part.references]


def _answer_or_error(reply: dict[str, Any] | GemmaError | None) -> tuple[Answered, GemmaError | None]:
    if isinstance(reply, GemmaError) and reply.retryable:
        return Answered("unknown", []), reply
    return answered(_reply_or_raise(reply)), None


def _reply_or_raise(reply: dict[str, Any] | GemmaError | None) -> dict[str, Any]:
    if isinstance(reply, GemmaError):
        raise reply
    if reply is None:
        raise AssertionError("a request was not answered")
    return reply
