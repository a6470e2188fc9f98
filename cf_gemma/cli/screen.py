"""How an answer looks while it arrives: plain text, or Markdown drawn block by block on a terminal."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Self

from rich.live import Live
from rich.markdown import Markdown
from typing_extensions import override

from cf_gemma.cli.text import printable

if TYPE_CHECKING:
    from collections.abc import Generator

    from rich.console import Console
    from rich.status import Status


class PlainText:
    """Shows an answer as it comes."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def feed(self, text: str) -> None:
        """Shows the next piece."""
        self._console.out(printable(text), end="", highlight=False)

    def end(self) -> None:
        """Ends the answer's last line."""
        self._console.print()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


class DrawnMarkdown:
    """Draws Markdown. Only the last block is drawn again with each piece, so a long answer costs no more by the piece.

    Lines wrap between words.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._block = ""
        self._live: Live | None = None

    def feed(self, text: str) -> None:
        """Shows the next piece."""
        self._block += printable(text)
        while (end := _block_end(self._block)) is not None:
            block, self._block = self._block[:end], self._block[end:].lstrip("\n")
            self._draw(block)
            self.end()
            self._console.print()
        if self._block.strip():
            self._draw(self._block)

    def end(self) -> None:
        """Leaves the last block as it is."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.end()

    def _draw(self, block: str) -> None:
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        self._live.update(Markdown(block), refresh=True)


def _block_end(text: str) -> int | None:
    """Where the first block ends: at an empty line that isn't within a fence."""
    end = text.find("\n\n")
    while end != -1:
        if text.count("```", 0, end) % 2 == 0:
            return end
        end = text.find("\n\n", end + 2)
    return None


class Waiting(logging.Handler):
    """A sign of life until the first token, also while the client waits to send again."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self._status: Status = console.status("waiting for the model")
        self._logger = logging.getLogger("cf_gemma")

    @override
    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.INFO:
            self._status.update("no answer yet, trying again")

    def stop(self) -> None:
        """The first token is there."""
        self._status.stop()

    def __enter__(self) -> Self:
        self._level, self._logger.level = self._logger.level, logging.INFO
        self._logger.addHandler(self)
        self._status.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)


@contextlib.contextmanager
def silent_keyboard() -> Generator[None, None, None]:
    """Keys that are pressed meanwhile don't show, so they don't break the text; the next prompt has them."""
    if sys.platform == "win32" or not sys.stdin.isatty():
        yield
        return
    import termios

    before = termios.tcgetattr(sys.stdin)
    silent = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
    termios.tcsetattr(sys.stdin, termios.TCSANOW, silent)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, before)
