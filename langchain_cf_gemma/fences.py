"""A JSON answer without the Markdown fence that the model sometimes puts around it. Pure."""

from __future__ import annotations

import re
from typing import Final

_OPENING: Final = re.compile(r"""\s*```\w*\s*(?=[{["])""")
_MAY_OPEN: Final = re.compile(r"\s*(`{0,2}|```\w*\s*)")
_MAY_CLOSE: Final = re.compile(r"\s*`{0,3}\s*\Z")
_CLOSING: Final = re.compile(r"\s*(```\s*)?\Z")


def without_fence(text: str) -> str:
    """The text inside a fence that surrounds it all; where there is none, the text itself."""
    stripper = FenceStripper()
    return stripper.feed(text) + stripper.close()


class FenceStripper:
    """The same for a text that comes in pieces. Each piece is given back as soon as it can't be part of a fence."""

    def __init__(self) -> None:
        self._held = ""
        self._fenced: bool | None = None

    def feed(self, piece: str) -> str:
        """The text that is certain by now."""
        self._held += piece
        if self._fenced is None:
            self._look_for_opening()
        if self._fenced is None:
            return ""
        match = _MAY_CLOSE.search(self._held) if self._fenced else None
        end = match.start() if match else len(self._held)
        certain, self._held = self._held[:end], self._held[end:]
        return certain

    def close(self) -> str:
        """The rest, once the text has ended."""
        rest = _CLOSING.sub("", self._held) if self._fenced else self._held
        self._held = ""
        return rest

    def _look_for_opening(self) -> None:
        opening = _OPENING.match(self._held)
        if opening:
            self._fenced = True
            self._held = self._held[opening.end() :]
        elif not _MAY_OPEN.fullmatch(self._held):
            self._fenced = False
