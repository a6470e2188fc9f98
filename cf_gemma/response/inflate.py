"""Compressed bodies, unpacked in pieces of bounded size. We ask for none, but a server may send one all the same."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from cf_gemma.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterator

PIECE: Final = 64 * 1024
"""Bytes that one piece may have, however small its compressed form is."""

_WINDOWS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}


class Inflater:
    """Unpacks one body. Raises ProtocolError for an encoding it doesn't know and for data that isn't in it."""

    def __init__(self, encoding: str) -> None:
        encoding = encoding.strip().lower()
        self.plain = encoding in ("", "identity")
        """Whether there is nothing to unpack."""
        if not self.plain and encoding not in _WINDOWS:
            raise ProtocolError(f"the answer is compressed with {encoding[:40]}, which was not asked for")
        self._window = 0 if self.plain else _WINDOWS[encoding]
        self._inflate = None if self.plain else zlib.decompressobj(self._window)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The pieces that this chunk unpacks to."""
        if self._inflate is None:
            yield chunk
            return
        try:
            while chunk:
                if self._inflate.eof:  # A gzip body may have several members in a row, and zeros at its end.
                    chunk = chunk.lstrip(b"\0")
                    if not chunk:
                        return
                    self._inflate = zlib.decompressobj(self._window)
                piece = self._inflate.decompress(chunk, PIECE)
                chunk = self._inflate.unconsumed_tail or self._inflate.unused_data
                if piece:
                    yield piece
        except zlib.error as error:
            raise ProtocolError(f"the answer's compressed body is broken: {error}") from None
