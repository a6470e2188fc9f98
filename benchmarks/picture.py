"""A conversation of forty messages, the first of which has a picture that the service takes as it is."""

from __future__ import annotations

import random
import struct
import zlib
from functools import cache
from itertools import count
from typing import NamedTuple

MESSAGES = 40
SIDE = 350
"""Pixels a side: in noise, 368 kB."""

_numbers = count()


class Turn(NamedTuple):
    """One message."""

    role: str
    text: str
    picture: bytes | None


def turns() -> list[Turn]:
    """The conversation, with a picture that no other has."""
    text = "What does the picture show, and what has changed since the last one that I sent you? " * 4
    picture = _picture(next(_numbers))
    return [
        Turn("assistant" if number % 2 and number < MESSAGES - 1 else "user", text, None if number else picture)
        for number in range(MESSAGES)
    ]


def _picture(number: int) -> bytes:
    comment = _chunk(b"tEXt", b"Comment\0%d" % number)
    begin, end = _noise()
    return begin + comment + end


@cache
def _noise() -> tuple[bytes, bytes]:
    noise = random.Random(7)  # noqa: S311 - a picture of noise
    lines = b"".join(b"\0" + noise.randbytes(3 * SIDE) for _ in range(SIDE))
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header, _chunk(b"IDAT", zlib.compress(lines, 1)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
