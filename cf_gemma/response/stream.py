"""A streamed answer: bytes in, deltas out, and at the end a whole Completion or an error that carries what had come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic_core import from_json

from cf_gemma.errors import GemmaError, ProtocolError, ResponseTooLarge, StreamTimeout, StreamTruncated
from cf_gemma.model.json_object import LIGHT, as_object, parsed
from cf_gemma.response.answer import AnswerBuilder
from cf_gemma.response.events import EVENT_LIMIT, EventDecoder
from cf_gemma.response.headers import request_id
from cf_gemma.response.readers import honoured
from cf_gemma.response.refusals import api_error, excerpt, is_error
from cf_gemma.response.replies import decoded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cf_gemma.model.completion import Completion, Delta
    from cf_gemma.request.http_request import HttpRequest

STREAM_LIMIT: Final = 128 * 1024 * 1024
"""Bytes that a stream may have for each choice, at most: about 300,000 tokens, more than the model's context, with an
event for each; some 70,000 when each comes with 20 alternatives (`top_logprobs`)."""

STREAM_BASE: Final = 8 * 1024 * 1024
TOKEN_LIMIT: Final = 1_024
"""The same for each token that was asked for, without alternatives, and besides: most events have a third of that."""


class Streamed:
    """An answer that comes as an event stream: see `readers.Reader`.

    It is whole if something of an answer came, and `[DONE]` or every finish reason.
    """

    def __init__(self, request: HttpRequest, headers: Mapping[str, str], *, event_limit: int = EVENT_LIMIT) -> None:
        self.done = False
        """Whether `[DONE]` has come: nothing after it counts."""
        self.progress = 0
        """How many events have said something. What only keeps a connection alive doesn't: comments, empty deltas."""
        self._request = request
        self._headers = headers
        self._decoder = EventDecoder(event_limit)
        self._answer = AnswerBuilder(headers, request)
        self._limit = self._left = _limit(request)

    @property
    def finished(self) -> bool:
        """Whether the answer is whole."""
        return (self.done and self._answer.begun) or self._answer.finished

    def feed(self, piece: bytes) -> Iterable[Delta]:
        """The deltas that this piece completes. Raises ApiError for an error event, ProtocolError for a broken one.

        What is wrong is raised when all that was said before it has been taken.
        """
        deltas: list[Delta] = []
        self._left -= len(piece)
        try:
            for data, kind in self._decoder.feed(piece):
                self._take(data, kind, deltas)
            if self._left < 0:
                raise ResponseTooLarge(f"the stream is larger than {self._limit} bytes")
        except GemmaError as error:
            error.partial = self.partial()
            return _before(error, deltas)
        return deltas

    def close(self) -> Iterable[Delta]:
        """The deltas of a last event that the end of the body left unfinished, if it can be read."""
        deltas: list[Delta] = []
        try:
            if (event := self._decoder.close()) is not None:
                self._take(*event, deltas)
        except ProtocolError:
            # The body was cut within this event; result() judges whether the answer is.
            pass
        except GemmaError as error:
            error.partial = self.partial()
            return _before(error, deltas)
        self._answer.close(deltas, whole=self.finished)
        return deltas

    def result(self) -> Completion:
        """The whole answer. Raises StreamTruncated when it isn't whole."""
        if self.finished:
            return honoured(self._request, self._answer.completion())
        raise StreamTruncated(
            "the stream ended without an answer"
            if self.done
            else "the stream ended without [DONE] and without a finish reason for each choice; "
            "error.partial has what had arrived",
            request_id=request_id(self._headers),
            partial=self.partial(),
        )

    def partial(self) -> Completion | None:
        """What has come so far; None when nothing of the answer has."""
        return self._answer.completion(ended=False) if self._answer.begun else None

    def silent(self, seconds: float) -> GemmaError:
        """The error for a stream that said nothing for so long."""
        return StreamTimeout(
            f"the stream said nothing for {seconds:g} s (timeout)",
            request_id=request_id(self._headers),
            partial=self.partial(),
        )

    def cut(self, reason: str) -> GemmaError:
        """The error for a stream whose connection was lost."""
        return StreamTruncated(
            f"the connection was lost within the answer: {reason}; error.partial has what had arrived",
            request_id=request_id(self._headers),
            partial=self.partial(),
        )

    def _take(self, data: bytes, kind: bytes, deltas: list[Delta]) -> None:
        """Puts what one event says among `deltas`, and then raises what is wrong with it."""
        if self.done:
            return
        chunk: Any
        try:
            chunk = from_json(data, allow_inf_nan=False) if len(data) <= LIGHT else parsed(data)
        except ValueError:
            chunk = None
        if chunk.__class__ is not dict or kind == b"error":
            chunk = self._odd(data, kind)
            if chunk is None:
                return
        trouble = self._refusal(chunk) if "choices" not in chunk or "error" in chunk or "errors" in chunk else None
        before = len(deltas)
        try:
            self._answer.add(chunk, deltas)
        except ProtocolError as error:
            trouble = trouble or error
        if len(deltas) > before or (trouble is None and _has_content(chunk)):
            self.progress += 1
        if trouble is not None:
            raise trouble

    def _odd(self, data: bytes, kind: bytes) -> Any:
        """An event's object where it isn't plainly one; None for the end, and for an event that is empty."""
        if kind == b"error":
            raise self._error(data)
        if data == b"[DONE]":
            self.done = True
            return None
        return decoded(data, self._headers) if data else None

    def _refusal(self, chunk: dict[str, Any]) -> GemmaError | None:
        """The error that an event is; raised at once when there are no words beside it."""
        if not is_error(chunk):
            return None
        error = api_error(chunk, self._headers)
        if not chunk.get("choices"):
            raise error
        return error

    def _error(self, data: bytes) -> GemmaError:
        payload: dict[str, Any] | str
        try:
            payload = decoded(data, self._headers)
        except ProtocolError:
            payload = excerpt(data)
        return api_error(payload, self._headers)


def _limit(request: HttpRequest) -> int:
    known = request.limit is not None and not request.logprobs
    each = min(STREAM_LIMIT, STREAM_BASE + TOKEN_LIMIT * (request.limit or 0)) if known else STREAM_LIMIT
    return each * request.choices


def _before(error: GemmaError, deltas: list[Delta]) -> Iterator[Delta]:
    yield from deltas
    raise error


def _has_content(chunk: dict[str, Any]) -> bool:
    """Whether a chunk that gives no delta says something all the same: usage, token ids, a field yet unknown."""
    values: list[object] = [chunk.get("usage")]
    for choice in chunk.get("choices") or ():
        fields = as_object(choice) or {}
        delta = as_object(fields.get("delta")) or {}
        values += [value for name, value in fields.items() if name not in ("index", "delta")]
        values += [value for name, value in delta.items() if name != "role"]
    return any(values)
