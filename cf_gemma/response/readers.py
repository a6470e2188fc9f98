"""What receives the body of a response, by what the body is: a refusal, a whole answer, or a plain object. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from typing_extensions import override

from cf_gemma.errors import (
    ConnectionFailed,
    GemmaError,
    RequestTimeout,
    ResponseTooLarge,
    StreamTruncated,
    ToolChoiceNotHonoured,
)
from cf_gemma.response.answer import AnswerBuilder
from cf_gemma.response.headers import request_id, retry_after
from cf_gemma.response.refusals import api_error, lenient
from cf_gemma.response.replies import checked, deltas

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Never

    from cf_gemma.model.completion import Completion, Delta
    from cf_gemma.request.http_request import HttpRequest

BODY_LIMIT: Final = 8 * 1024 * 1024
"""What a whole answer may weigh (`jsonobject.weight`) for each choice: a hundred times the usual."""

LARGE_LIMIT: Final = 128 * 1024 * 1024
"""The same for an answer with log probabilities, and for a plain object: the queue's has many requests' answers."""

ERROR_BODY_LIMIT: Final = 64 * 1024
"""Bytes that are read of an error."""

_BROKEN_OFF: Final = frozenset({"abort", "error"})
"""Finish reasons of the servers behind the service (vLLM and SGLang, 2026-11)."""

Result = TypeVar("Result", covariant=True)


class Reader(Protocol[Result]):
    """Takes the body of one response, unpacked, piece by piece. What it raises carries what had arrived."""

    @property
    def done(self) -> bool:
        """Whether enough has come, although the body may go on."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the answer is whole: losing the connection now costs nothing but its usage."""
        ...

    @property
    def progress(self) -> int:
        """A number that grows as long as enough comes: a stream's events that say something, a body's doublings."""
        ...

    def feed(self, piece: bytes) -> Iterable[Delta]:
        """The deltas in these bytes. What is wrong with them is raised when all that was said before was taken."""
        ...

    def close(self) -> Iterable[Delta]:
        """The deltas that only the end of the body gives."""
        ...

    def result(self) -> Result:
        """What the body says as a whole, once closed."""
        ...

    def partial(self) -> Completion | None:
        """What has come so far; None when nothing of an answer has."""
        ...

    def silent(self, seconds: float) -> GemmaError:
        """The error for a body that went silent for so long."""
        ...

    def cut(self, reason: str) -> GemmaError:
        """The error for a body whose connection was lost."""
        ...


class _Collected:
    """A body that means something as a whole only."""

    _body: bytearray

    def __init__(self, headers: Mapping[str, str], now: float, limit: int = LARGE_LIMIT) -> None:
        """`headers` are lower case; `now` is Unix time, for a Retry-After that is a date."""
        self._headers = headers
        self._now = now
        self._limit = limit
        self._body = bytearray()

    @property
    def done(self) -> bool:
        return False

    @property
    def finished(self) -> bool:
        return False

    @property
    def progress(self) -> int:
        return len(self._body).bit_length()  # a drip is no answer: it has to double within each timeout

    def feed(self, piece: bytes) -> Iterable[Delta]:
        if len(self._body) + len(piece) > self._limit:
            raise ResponseTooLarge(f"the answer is larger than {self._limit} bytes")
        self._body += piece
        return ()

    def partial(self) -> Completion | None:
        return None

    def silent(self, seconds: float) -> GemmaError:
        return RequestTimeout(
            f"nothing of the answer came for {seconds:g} s (timeout)", request_id=request_id(self._headers)
        )

    def cut(self, reason: str) -> GemmaError:
        return ConnectionFailed(
            f"the connection was lost within the answer: {reason}", request_id=request_id(self._headers)
        )

    def _taken(self) -> bytes:
        """The whole body, which isn't kept here any longer."""
        body, self._body = bytes(self._body), bytearray()
        return body

    def _advised(self, error: GemmaError) -> GemmaError:
        """The error, with the wait that the answer asks for."""
        error.retry_after = retry_after(self._headers, self._now)
        return error


class Refused(_Collected, Reader["Never"]):
    """The body of a response whose status says no: read as far as an error shows it."""

    def __init__(self, status: int, headers: Mapping[str, str], now: float) -> None:
        super().__init__(headers, now)
        self._status = status

    @property
    @override
    def done(self) -> bool:
        return len(self._body) >= ERROR_BODY_LIMIT

    @override
    def feed(self, piece: bytes) -> Iterable[Delta]:
        self._body += piece[: ERROR_BODY_LIMIT - len(self._body)]
        return ()

    @override
    def close(self) -> Never:
        raise self.error(lenient(bytes(self._body)))

    @override
    def result(self) -> Never:
        raise AssertionError("a refusal is raised when it is closed")

    def error(self, payload: dict[str, Any] | str) -> GemmaError:
        """The error that the body is."""
        return self._advised(api_error(payload, self._headers, self._status))


class Whole(_Collected, Reader["Completion"]):
    """An answer that comes in one piece."""

    def __init__(self, request: HttpRequest, status: int, headers: Mapping[str, str], now: float) -> None:
        super().__init__(headers, now, LARGE_LIMIT if request.logprobs else BODY_LIMIT * request.choices)
        self._request = request
        self._status = status
        self._answer = AnswerBuilder(headers, request)

    @override
    def close(self) -> Iterator[Delta]:
        try:
            yield from deltas(self._answer, self._status, self._headers, self._taken(), self._limit)
        except GemmaError as error:
            raise self._advised(error) from error.__cause__

    @override
    def result(self) -> Completion:
        return honoured(self._request, self._answer.completion())


class PlainObject(_Collected, Reader["dict[str, Any]"]):
    """A JSON object that is no answer of the model's: the queue's receipts and results."""

    def __init__(self, status: int, headers: Mapping[str, str], now: float) -> None:
        super().__init__(headers, now)
        self._status = status
        self._object: dict[str, Any] = {}

    @override
    def close(self) -> Iterable[Delta]:
        try:
            self._object = checked(self._status, self._headers, self._taken(), self._limit)
        except GemmaError as error:
            raise self._advised(error) from error.__cause__
        return ()

    @override
    def result(self) -> dict[str, Any]:
        return self._object


def honoured(request: HttpRequest, completion: Completion) -> Completion:
    """The completion, if it is what was asked for.

    Raises StreamTruncated for one that the server broke off, and ToolChoiceNotHonoured where a call was required and
    none was made; an answer that ran out of tokens has its finish reason to say so.
    """
    if broken := next((one.finish_reason for one in completion.choices if one.finish_reason in _BROKEN_OFF), None):
        raise StreamTruncated(
            f"the server broke the answer off (finish_reason {broken}); error.partial has what had arrived",
            request_id=completion.request_id,
            partial=completion,
        )
    if request.requires_call and not all(
        choice.calls or choice.finish_reason == "length" for choice in completion.choices
    ):
        raise ToolChoiceNotHonoured(
            "a tool call was required and the model made none; some versions of the servers enforce neither form",
            request_id=completion.request_id,
            partial=completion,
        )
    return completion
