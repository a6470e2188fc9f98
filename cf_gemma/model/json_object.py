"""What everything which reads JSON asks: is this an object, and what does it weigh?"""

from __future__ import annotations

from typing import Any, Final, cast

from pydantic_core import from_json

LIGHT: Final = 64 * 1024
"""Bytes of JSON that are too few to be weighed."""

HEAVIEST: Final = 16 * 1024 * 1024
"""What JSON may weigh, unless a reader has a limit of its own."""


class TooHeavy(ValueError):
    """JSON that would take too much memory once it is read."""


def as_object(value: object) -> dict[str, Any] | None:
    """The value, if it is a JSON object."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def weight(text: bytes) -> int:
    """About what JSON takes in memory once it is read: its bytes, 64 for a bracket, and 32 for a comma.

    `[{},{},…]` takes 24 times its bytes. In CPython, an object takes 64 bytes and more, a number or short text 32.
    """
    return len(text) + 64 * (text.count(b"{") + text.count(b"[")) + 32 * text.count(b",")


def parsed(text: bytes | str, heaviest: int = HEAVIEST) -> Any:
    """The value of JSON without NaN and infinity. Raises ValueError for what isn't any, TooHeavy for too much."""
    if len(text) > LIGHT and weight(text if isinstance(text, bytes) else text.encode()) > heaviest:
        raise TooHeavy(f"it would take more than {heaviest} bytes of memory")
    return from_json(text, allow_inf_nan=False)
