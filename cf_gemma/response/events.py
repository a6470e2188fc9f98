"""Server-sent events, from bytes (WHATWG HTML, 9.2.5 and 9.2.6). No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cf_gemma.errors import ResponseTooLarge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

EVENT_LIMIT: Final = 8 * 1024 * 1024
"""Bytes that one event may have before the stream is given up."""

_BOM = b"\xef\xbb\xbf"
_CR: Final = ord("\r")
_LF: Final = ord("\n")
_MESSAGE: Final = b"message"

Event = tuple[bytes, bytes]
"""One dispatched event: its data and its type. Its id and retry serve reconnection, which an answer has no use for."""


class EventDecoder:
    """Turns pieces of a byte stream, cut anywhere, into the events that they complete."""

    def __init__(self, limit: int = EVENT_LIMIT) -> None:
        self._limit = limit
        self._rest = bytearray()
        self._after_cr = False
        self._begun = False

    def feed(self, chunk: bytes) -> Iterable[Event]:
        """The events that end within this chunk. Raises ResponseTooLarge, after them, when one grows over the limit."""
        if self._begun and not self._rest and not self._after_cr and _CR not in chunk and chunk.endswith(b"\n\n"):
            # Whole events, as servers send them; most often one of one line.
            if chunk.startswith(b"data: ") and chunk.find(b"\n") == len(chunk) - 2:
                return ((chunk[6:-2], _MESSAGE),)
            return _events(chunk[:-2])
        return self._pieced(chunk)

    def _pieced(self, chunk: bytes) -> Iterator[Event]:
        if self._after_cr or _CR in chunk:
            chunk = self._line_feeds_only(chunk)
        yield from _events(self._ended(chunk))
        if len(self._rest) > self._limit:
            raise ResponseTooLarge(f"one event of the stream is larger than {self._limit} bytes")

    def close(self) -> Event | None:
        """What an end of the stream without a last blank line leaves: an event that may be cut."""
        event = _event(bytes(self._rest))
        self._rest.clear()
        return event

    def _ended(self, chunk: bytes) -> bytes:
        """The blocks that have ended within this chunk; what follows them is kept for the next."""
        rest = self._rest
        searched = max(0, len(rest) - 1)
        rest += chunk
        if not self._begun and not self._begin():
            return b""
        end = rest.rfind(b"\n\n", searched)
        if end < 0:
            return b""
        blocks = bytes(rest[:end])
        del rest[: end + 2]
        return blocks

    def _begin(self) -> bool:
        """Drops a byte order mark. False while too little has come to tell."""
        if _BOM.startswith(self._rest[:3]) and len(self._rest) < len(_BOM):
            return False
        self._begun = True
        if self._rest.startswith(_BOM):
            del self._rest[: len(_BOM)]
        return True

    def _line_feeds_only(self, chunk: bytes) -> bytes:
        """The chunk with CRLF and CR as LF; a CRLF may be cut between two chunks."""
        if self._after_cr and chunk[:1] == b"\n":
            chunk = chunk[1:]
            self._after_cr = False
            if not chunk:
                return chunk
        self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _events(blocks: bytes) -> list[Event]:
    events: list[Event] = []
    for block in blocks.split(b"\n\n"):
        if block.startswith(b"data: ") and _LF not in block:
            events.append((block[6:], _MESSAGE))
        elif (event := _event(block)) is not None:
            events.append(event)
    return events


def _event(block: bytes) -> Event | None:
    data: list[bytes] = []
    kind = _MESSAGE
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            kind = value or _MESSAGE
    return (b"\n".join(data), kind) if data else None
