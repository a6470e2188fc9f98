"""Server-sent events, from bytes (WHATWG HTML, 9.2.5 and 9.2.6). No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from cf_gemma.errors import ResponseTooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENT_LIMIT: Final = 8 * 1024 * 1024
"""Bytes that one event may have before the stream is given up."""

_BOM = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One dispatched event. `id` and `retry` serve reconnection, which a chat answer has no use for."""

    data: bytes
    type: bytes = b"message"


class EventDecoder:
    """Turns pieces of a byte stream, cut anywhere, into the events that they complete."""

    def __init__(self, limit: int = EVENT_LIMIT) -> None:
        self._limit = limit
        self._rest = bytearray()
        self._after_cr = False
        self._begun = False

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that end within this chunk. Raises ResponseTooLarge when one grows over the limit."""
        if not chunk:
            return
        if self._after_cr or b"\r" in chunk:
            chunk = self._line_feeds_only(chunk)
        rest = self._rest
        searched = max(0, len(rest) - 1)
        rest += chunk
        if not self._begun and not self._begin():
            return
        end = rest.rfind(b"\n\n", searched)
        if end >= 0:
            blocks = bytes(rest[:end])
            del rest[: end + 2]
            yield from self._events(blocks)
        if len(rest) > self._limit:
            raise ResponseTooLarge(f"one event of the stream is larger than {self._limit} bytes")

    def close(self) -> Iterator[Event]:
        """What an end of the stream without a last blank line leaves: an event that may be cut."""
        yield from self._events(bytes(self._rest))
        self._rest.clear()

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

    def _events(self, blocks: bytes) -> Iterator[Event]:
        for block in blocks.split(b"\n\n"):
            if block.startswith(b"data: ") and b"\n" not in block:
                yield Event(block[6:])
            elif (event := _event(block)) is not None:
                yield event


def _event(block: bytes) -> Event | None:
    data: list[bytes] = []
    kind = b"message"
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            kind = value or b"message"
    return Event(b"\n".join(data), kind) if data else None
