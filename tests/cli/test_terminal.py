"""What a terminal shows that a pipe doesn't."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest

from cf_gemma.emulator import Emulator
from cf_gemma.model.facts import MODEL
from tests.cli.conftest import Shell
from tests.cli.files import write
from tests.cli.terminal import LOOKS, dim, plain, terminal

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal")


def test_a_batch_has_a_bar(shell: Shell, source: Path, output: Path) -> None:
    """A bar with rows, tokens and cost, and the summary below it; the standard output stays empty."""
    write(source, [{"prompt": str(number)} for number in range(20)])
    options = ("batch", source, "-o", output, "--rpm", "0")
    with terminal() as screen, shell.start(*options, stderr=screen.theirs, looks=LOOKS) as program:
        shown = plain(screen.shown())
        assert program.communicate(timeout=30)[0] == ""
    assert program.returncode == 0
    bar = next(line for line in reversed(shown.splitlines()) if line.startswith("batch "))
    assert "━" * 24 in bar
    assert "20/20" in bar
    assert " tokens  $0.00" in bar
    assert shown.rpartition(bar)[2].strip().startswith("20 rows written to ")
    assert max(map(len, shown.splitlines())) <= 120, "what is longer is wrapped at words"


def test_reasoning_is_dim(shell: Shell) -> None:
    """In a chat, the reasoning and the price are dim, and the answer isn't."""
    with terminal() as screen, shell.start("chat", stdin=screen.theirs, stdout=screen.theirs, looks=LOOKS) as program:
        screen.type("hello", "/exit")
        shown = screen.shown()
        assert program.wait(10) == 0
    assert "Let me think." in dim(shown)
    assert " tokens in, " in dim(shown)
    assert "You said: hello" in plain(shown)
    assert "You said" not in dim(shown)


def test_a_paste_is_one_message(shell: Shell) -> None:
    """Several lines that are pasted at once are one message, and one request; so are lines that go on."""
    with terminal() as screen, shell.start("chat", stdin=screen.theirs, stdout=screen.theirs, looks=LOOKS) as program:
        screen.paste("one\ntwo\n\nthree")
        screen.type("", "four \\", "five", "/exit")
        screen.shown()
        assert program.wait(10) == 0
    messages = [request.json["messages"][-1]["content"] for request in shell.emulator.requests]
    assert messages == ["one\ntwo\n\nthree", "four \nfive"]


MARKDOWN = (
    "# Title\n\nSome **bold** words, and so many more that they don't fit into one line of it.\n\n```\na\n\nb\n```\n"
)


@pytest.mark.parametrize("plain_text", [False, True], ids=["drawn", "plain"])
def test_markdown_is_drawn(plain_text: bool) -> None:
    """On a terminal Markdown is drawn, and words aren't broken; --plain leaves it as it is."""
    looks = {**LOOKS, "COLUMNS": "40"}
    options = ["--plain"] if plain_text else []
    with Emulator(MARKDOWN) as emulator, terminal() as screen:
        shell = Shell(emulator)
        with shell.start("chat", *options, stdin=screen.theirs, stdout=screen.theirs, looks=looks) as program:
            screen.type("hello", "/exit")
            shown = plain(screen.shown())
            assert program.wait(10) == 0
    assert ("**bold**" in shown) is plain_text
    assert ("```" in shown) is plain_text
    if not plain_text:
        assert "bold words, and so many more that" in shown
        assert re.search(r"they don't fit into one line of it\.", shown)


def test_the_first_line_says_who_answers(shell: Shell) -> None:
    """Model and host, and that it isn't Cloudflare."""
    with terminal() as screen, shell.start("chat", stdin=screen.theirs, stdout=screen.theirs, looks=LOOKS) as program:
        screen.type("/exit")
        shown = plain(screen.shown())
        assert program.wait(10) == 0
    assert f"{MODEL} at 127.0.0.1:" in shown
    assert "a server on this machine and not Cloudflare" in shown
