"""What comes in answer to one request: raw bytes in; deltas, and at the end the whole answer or a typed error, out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from cf_gemma import reply
from cf_gemma.answer import AnswerBuilder
from cf_gemma.errors import (
    ConnectionFailed,
    GemmaError,
    ProtocolError,
    RequestTimeout,
    ResponseTooLarge,
    StreamTimeout,
    StreamTruncated,
    ToolChoiceNotHonoured,
)
from cf_gemma.inflate import Inflater
from cf_gemma.retry import retry_after
from cf_gemma.stream import ChatStream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cf_gemma.completion import Completion, Delta
    from cf_gemma.request import HttpRequest

BODY_LIMIT: Final = 32 * 1024 * 1024
"""Bytes that a whole answer may have."""

BARE_BODY_LIMIT: Final = 4 * BODY_LIMIT
"""Bytes that a bare object may have: the queue's has the answers to many requests."""

STREAM_LIMIT: Final = 128 * 1024 * 1024
"""Bytes that a stream may have for each choice: about 300,000 tokens, more than the model's context, with an event for
each; some 70,000 when each comes with 20 alternatives (`top_logprobs`)."""

ERROR_BODY_LIMIT: Final = 64 * 1024
"""Bytes that are read of an error."""


class Reception:
    """Receives one answer, streamed or whole. Whatever it raises carries what had arrived."""

    def __init__(
        self, request: HttpRequest, status: int, headers: Mapping[str, str], *, encoding: str | None = None, now: float
    ) -> None:
        """Takes the beginning of an answer.

        Args:
            request: What is being answered.
            status: The HTTP status.
            headers: The answer's headers, lower case.
            encoding: The content encoding of the bytes to come; None for the one that the headers name.
            now: Unix time, for a Retry-After that is a date.
        """
        self._request = request
        self._status = status
        self._headers = headers
        self._now = now
        try:
            self._inflater = Inflater(headers.get("content-encoding", "") if encoding is None else encoding)
        except ProtocolError as error:
            if status < 300:
                raise
            refusal = reply.api_error(error.message, headers, status)
            refusal.retry_after = retry_after(headers, now)
            raise refusal from None
        self._answer = AnswerBuilder(headers, expected=request.choices)
        self._body = bytearray()
        self._streamed = 0
        self._limit = STREAM_LIMIT * request.choices
        self._object: dict[str, Any] = {}
        self._stream: ChatStream | None = None
        kind = headers.get("content-type", "").lower()
        streams = status < 300 and "event-stream" in kind
        self._undecided = streams or (not kind and request.stream and status < 300)
        if streams:
            self._stream = ChatStream(headers, self._answer)

    @property
    def done(self) -> bool:
        """Whether enough has come, although the body may go on."""
        if self._stream is not None:
            return self._stream.done
        return self._status >= 300 and len(self._body) >= ERROR_BODY_LIMIT

    @property
    def finished(self) -> bool:
        """Whether a stream has said all that makes it whole: losing the connection now costs nothing but its usage."""
        return self._stream is not None and self._stream.finished

    @property
    def progress(self) -> int:
        """A number that grows as long as something comes: a stream's events that say something, a body's bytes."""
        return len(self._body) if self._stream is None else self._stream.progress

    def feed(self, raw: bytes) -> Iterable[Delta]:
        """The deltas in these bytes. What is wrong with them is raised when all that was said before was taken."""
        if self._stream is None or self._undecided or not self._inflater.plain:
            return self._unpacked(raw)
        if self._streamed + len(raw) > self._limit:
            return self._unpacked(raw)
        self._streamed += len(raw)
        return self._stream.feed(raw)

    def _unpacked(self, raw: bytes) -> Iterator[Delta]:
        try:
            for piece in self._inflater.feed(raw):
                if self._undecided:
                    self._decide(piece)
                if self._stream is None:
                    self._collect(piece)
                else:
                    yield from self._stream.feed(piece)
                    self._count(piece)
        except ProtocolError as error:
            if self._stream is not None:
                error.partial = self._stream.partial()
            raise

    def close(self) -> Iterator[Delta]:
        """The deltas that only the end of the body gives: all of them when the answer was not streamed."""
        if self._stream is not None:
            yield from self._stream.close()
            return
        try:
            if self._request.bare:
                self._object = reply.checked(self._status, self._headers, bytes(self._body))
            else:
                yield from reply.deltas(self._answer, self._status, self._headers, bytes(self._body))
        except GemmaError as error:
            error.retry_after = retry_after(self._headers, self._now)
            raise

    def completion(self) -> Completion:
        """The whole answer, once closed.

        Raises StreamTruncated for a stream that isn't whole, ToolChoiceNotHonoured for a required call that is missing.
        """
        if self._request.bare:
            return replace(self._answer.completion(), extra=self._object)
        completion = self._answer.completion() if self._stream is None else self._stream.completion()
        if self._request.requires_call and not _called(completion):
            raise ToolChoiceNotHonoured(
                "a tool call was required and the model made none; a tool that is named in tool_choice is enforced",
                request_id=completion.request_id,
                partial=completion,
            )
        return completion

    def silent(self, seconds: float) -> GemmaError:
        """The error for an answer that went silent for so long."""
        if self._stream is None:
            return RequestTimeout(
                f"nothing of the answer came for {seconds:g} s (timeout)", request_id=reply.request_id(self._headers)
            )
        return StreamTimeout(
            f"the stream said nothing for {seconds:g} s (timeout)",
            request_id=reply.request_id(self._headers),
            partial=self._stream.partial(),
        )

    def cut(self, reason: str) -> GemmaError:
        """The error for an answer whose connection was lost."""
        told = f"the connection was lost within the answer: {reason}"
        request_id = reply.request_id(self._headers)
        if self._stream is None:
            return ConnectionFailed(told, request_id=request_id)
        told += "; error.partial has what had arrived"
        return StreamTruncated(told, request_id=request_id, partial=self._stream.partial())

    def _decide(self, piece: bytes) -> None:
        """The first byte tells an event stream from JSON and HTML, which some servers send by its name, too."""
        beginning = piece.lstrip()
        if beginning:
            self._undecided = False
            if beginning[:1] in b"{<":
                self._stream = None
            elif self._stream is None:
                self._stream = ChatStream(self._headers, self._answer)

    def _count(self, piece: bytes) -> None:
        self._streamed += len(piece)
        if self._streamed > self._limit:
            raise ResponseTooLarge(f"the stream is larger than {self._limit} bytes")

    def _collect(self, piece: bytes) -> None:
        if self._status >= 300:
            piece = piece[: ERROR_BODY_LIMIT - len(self._body)]
        elif len(self._body) + len(piece) > (limit := BARE_BODY_LIMIT if self._request.bare else BODY_LIMIT):
            raise ResponseTooLarge(f"the answer is larger than {limit} bytes")
        self._body += piece


def _called(completion: Completion) -> bool:
    """Whether a required call was made; an answer that ran out of tokens has its own finish reason to tell of it."""
    return all(choice.calls or choice.finish_reason == "length" for choice in completion.choices)
