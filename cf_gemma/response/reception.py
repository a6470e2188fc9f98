"""What comes in answer to one request: raw bytes in; deltas, and at the end the result or a typed error, out. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic

from cf_gemma.errors import ProtocolError
from cf_gemma.response.inflate import Inflater
from cf_gemma.response.readers import PlainObject, Reader, Refused, Result, Whole
from cf_gemma.response.stream import Streamed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from cf_gemma.model.completion import Completion, Delta
    from cf_gemma.request.http_request import HttpRequest


class Reception(Generic[Result]):
    """Receives one response. Whatever it raises carries what had arrived.

    Made with `of_answer` or `of_object`, which take:
        request: What is being answered.
        status: The HTTP status.
        headers: The response's headers, lower case.
        encoding: The content encoding of the bytes to come; None for the one that the headers name.
        now: Unix time, for a Retry-After that is a date.
    """

    def __init__(
        self,
        reader_for: Callable[[bytes], Reader[Result]],
        status: int,
        headers: Mapping[str, str],
        encoding: str | None,
        now: float,
    ) -> None:
        """`reader_for` gives the reader for a body that begins so."""
        self._reader_for = reader_for
        self._reader: Reader[Result] | None = None
        try:
            self._inflater = Inflater(headers.get("content-encoding", "") if encoding is None else encoding)
        except ProtocolError as error:
            if status < 300:
                raise
            raise Refused(status, headers, now).error(error.message) from None

    @classmethod
    def of_answer(
        cls, request: HttpRequest, status: int, headers: Mapping[str, str], *, encoding: str | None = None, now: float
    ) -> Reception[Completion]:
        """For a model's answer. Whether it is streamed or whole is decided by the response, not by the request."""
        kind = headers.get("content-type", "").lower()
        named = "event-stream" in kind

        def reader_for(beginning: bytes) -> Reader[Completion]:
            if status >= 300:
                return Refused(status, headers, now)
            # Some servers send JSON and HTML as an event stream, and streams without a name.
            streams = beginning[0] not in b"{<" if beginning else named
            if streams and (named or (not kind and request.stream)):
                return Streamed(request, headers)
            return Whole(request, status, headers, now)

        return Reception(reader_for, status, headers, encoding, now)

    @classmethod
    def of_object(
        cls, status: int, headers: Mapping[str, str], *, encoding: str | None = None, now: float
    ) -> Reception[dict[str, Any]]:
        """For a JSON object that is no answer of the model's."""

        def reader_for(_: bytes) -> Reader[dict[str, Any]]:
            return Refused(status, headers, now) if status >= 300 else PlainObject(status, headers, now)

        return Reception(reader_for, status, headers, encoding, now)

    @property
    def reader(self) -> Reader[Result]:
        """The reader of the body; before the first byte, the one that the headers suggest."""
        return self._reader or self._reader_for(b"")

    def feed(self, raw: bytes) -> Iterable[Delta]:
        """The deltas in these bytes. What is wrong with them is raised when all that was said before was taken."""
        if self._reader is not None and self._inflater.plain:
            return self._reader.feed(raw)
        return self._unpacked(raw)

    def close(self) -> Iterable[Delta]:
        """The deltas that are known only at the end of the body: all of them when the answer was not streamed."""
        self._reader = self.reader
        return self._reader.close()

    def result(self) -> Result:
        """What the response says as a whole, once closed.

        Of an answer, raises StreamTruncated for a stream that isn't whole, ToolChoiceNotHonoured for a required call
        that is missing.
        """
        return self.reader.result()

    def _unpacked(self, raw: bytes) -> Iterator[Delta]:
        try:
            for piece in self._inflater.feed(raw):
                if self._reader is None:
                    if not (beginning := piece.lstrip()):
                        continue
                    self._reader = self._reader_for(beginning)
                yield from self._reader.feed(piece)
        except ProtocolError as error:
            error.partial = error.partial or self.reader.partial()
            raise
