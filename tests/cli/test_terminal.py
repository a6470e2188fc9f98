"""What a terminal shows that a pipe doesn't."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.cli.files import write
from tests.cli.terminal import LOOKS, dim, plain, terminal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Shell

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal")


def test_a_batch_has_a_bar(shell: Shell, source: Path, output: Path) -> None:
    """A bar with rows, tokens and cost, and the summary below it; the standard output stays empty."""
    write(source, [{"prompt": str(number)} for number in range(20)])
    options = ("batch", source, "-o", output, "--rpm", "0")
    with terminal() as screen, shell.start(*options, stderr=screen.theirs, looks=LOOKS) as program:
        told = plain(screen.shown())
        assert program.communicate(timeout=10)[0] == ""
    assert program.returncode == 0
    bar = next(line for line in reversed(told.splitlines()) if line.startswith("batch "))
    assert "━" * 24 in bar
    assert "20/20" in bar
    assert " tokens  $0.00" in bar
    assert told.rstrip().splitlines()[-1].startswith("20 rows written to ")


def test_reasoning_is_dim(shell: Shell) -> None:
    """In a chat, the reasoning and the price are dim, and the answer isn't."""
    with terminal() as screen, shell.start("chat", stdin=screen.theirs, stdout=screen.theirs, looks=LOOKS) as program:
        screen.type("hello", "/exit")
        told = screen.shown()
        assert program.wait(10) == 0
    assert "Let me think." in dim(told)
    assert " tokens in, " in dim(told)
    assert "You said: hello" in plain(told)
    assert "You said" not in dim(told)
