"""A terminal that a program believes in."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOKS: Final = {"TERM": "xterm-256color", "COLUMNS": "120"}
"""What the environment says of it."""


class Terminal:
    """One; hand `theirs` to the program, as any of its three streams."""

    def __init__(self) -> None:
        import pty

        self.ours, self.theirs = pty.openpty()

    def type(self, *lines: str) -> None:
        """Types lines, before or after somebody reads them."""
        os.write(self.ours, "".join(f"{line}\n" for line in lines).encode())

    def paste(self, text: str) -> None:
        """Pastes a text, with the marks that a terminal puts around one."""
        os.write(self.ours, b"\x1b[200~" + text.encode() + b"\x1b[201~")

    def shown(self) -> str:
        """All that is written to it, until the last program that has it ends. Once."""
        os.close(self.theirs)
        written = b""
        try:
            while piece := os.read(self.ours, 65_536):
                written += piece
        except OSError:  # Linux says so when nobody has the other side any more
            pass
        return written.decode()


@contextmanager
def terminal() -> Iterator[Terminal]:
    """A terminal, of which `shown()` must be read."""
    opened = Terminal()
    try:
        yield opened
    finally:
        os.close(opened.ours)


def plain(shown: str) -> str:
    """Without colours and movements."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)


def dim(shown: str) -> str:
    """What is written dim."""
    return "".join(re.findall(r"\x1b\[2m(.*?)\x1b\[0m", shown, re.DOTALL))
