"""`cf-gemma chat`: a conversation, here through pipes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from cf_gemma.cli.text import message_of, printable
from cf_gemma.emulator import CUT, Emulator, Reply
from cf_gemma.errors import GemmaError
from tests.cli.conftest import Shell
from tests.cli.files import png

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


def talk(shell: Shell, *lines: str, arguments: tuple[str, ...] = (), code: int = 0) -> Result:
    """Says these lines, and leaves."""
    return shell.run("chat", *arguments, stdin="".join(f"{line}\n" for line in lines), code=code)


def contents(shell: Shell, number: int) -> list[object]:
    """What a request's messages say."""
    return [message["content"] for message in shell.emulator.requests[number].json["messages"]]


def test_a_conversation(shell: Shell) -> None:
    """Each turn shows reasoning, answer, usage and cost, and the next one knows of it."""
    shown = talk(shell, "hello", "", "and now?", arguments=("--system", "Be brief.")).output
    assert shown.index("Let me think.") < shown.index("You said: hello") < shown.index("You said: and now?")
    assert shown.count(" tokens in, ") == shown.count("in all ") == 2
    assert "$0.0000" in shown
    assert contents(shell, 1) == ["Be brief.", "hello", "You said: hello", "and now?"]
    first, second = (request.headers["x-session-affinity"] for request in shell.emulator.requests)
    assert first == second
    assert "tools" not in shell.emulator.requests[0].json


def test_only_answers_are_on_the_standard_output(shell: Shell) -> None:
    """Where it is piped in: prompts, reasoning, prices and notices are on the standard error."""
    result = talk(shell, "hello", "/help", "/thought", "/dance", "and now?")
    assert result.stdout == "You said: hello\nYou said: and now?\n"
    assert result.stderr.count("> ") == 6
    assert result.stderr.count("Let me think.") == 3
    assert result.stderr.count(" tokens in, ") == 2
    assert "There is no /dance" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal: docs.python.org/3/library/pty.html")
def test_a_terminal_shows_everything(shell: Shell) -> None:
    """Where it is typed, prompts, reasoning and prices are beside the answers, and a failure is no exit code."""
    import pty

    ours, theirs = pty.openpty()
    with shell.start("chat", stdin=theirs) as program:
        os.close(theirs)
        os.write(ours, b"refused\nhello\n/exit\n")
        shown, trouble = program.communicate(timeout=30)
    os.close(ours)
    assert (program.returncode, trouble) == (0, "")
    assert shown.count("> ") == 3
    assert shown.index("400 from Workers AI") < shown.index("Let me think.") < shown.index("You said: hello")
    assert " tokens in, " in shown


def test_options(shell: Shell) -> None:
    """Options reach the model."""
    talk(shell, "hello", arguments=("--no-thinking", "--max-tokens", "9"))
    body = shell.emulator.requests[0].json
    assert (body["chat_template_kwargs"], body["max_tokens"]) == ({"enable_thinking": False}, 9)


def test_reasoning_folds(shell: Shell) -> None:
    """Folded, reasoning isn't shown until it is asked for."""
    shown = talk(shell, "/thought", "hello", "/thought", "/fold", "again", arguments=("--fold",)).output
    assert shown.index("There was none.") < shown.index("You said: hello") < shown.index("Let me think.")
    assert shown.count("Let me think.") == 2
    assert shown.count("thinking…") == 1


def test_images_and_commands(shell: Shell, tmp_path: Path) -> None:
    """An image goes along with one message; what isn't an image, or a command, is said so; /exit ends it."""
    (tmp_path / "red.png").write_bytes(png(16))
    lines = [
        f"/image {tmp_path}/red.png",
        "look",
        "/image nowhere.png",
        "/dance",
        "next",
        "/clear",
        "new",
        "/exit",
        "x",
    ]
    shown = talk(shell, *lines).stderr
    assert "nowhere.png can't be read" in shown
    assert "There is no /dance" in shown
    first, second, third = (contents(shell, number) for number in range(3))
    assert [part["type"] for part in first[0]] == ["image_url", "text"]
    assert second[2:] == ["next"]
    assert third == ["new"]
    assert len(shell.emulator.requests) == 3


def test_an_error_is_not_the_end(shell: Shell) -> None:
    """What fails is told and forgotten; the conversation goes on, and whoever piped it in learns of it at the end."""
    result = talk(shell, "refused", "hello", code=1)
    assert "400 from Workers AI" in result.stderr
    assert result.stdout == "You said: hello\n"
    assert contents(shell, 1) == ["hello"]


def test_what_was_heard_is_kept() -> None:
    """Half an answer stays part of the conversation."""
    with Emulator([Reply("one two", error=CUT), "three"]) as emulator:
        shell = Shell(emulator)
        assert talk(shell, "count", "go on", code=1).stdout == "one two\nthree\n"
        assert contents(shell, 1) == ["count", "one two", "go on"]


def test_ctrl_c_stops_the_answer() -> None:
    """Ctrl-C stops the answer, and the program takes the next message; at the prompt it says how to leave."""
    with Emulator([Reply("one" + " more" * 40, gap=0.2), "five"]) as emulator:
        shell = Shell(emulator)
        with shell.start("chat", stdin=subprocess.PIPE) as program:
            assert program.stdin
            assert program.stdout
            program.stdin.write("count\n")
            program.stdin.flush()
            assert program.stdout.read(3) == "one"
            program.send_signal(signal.SIGINT)
            rest, shown = program.communicate("go on\n", timeout=30)
        assert rest.endswith("\nfive\n")
        assert "(stopped)" in shown
        assert "Traceback" not in shown
        assert program.returncode == 0
        assert contents(shell, 1)[0] == "count"
        assert str(contents(shell, 1)[1]).startswith("one")


def test_a_model_can_not_write_to_the_terminal() -> None:
    """Escape sequences are taken out, letters of all scripts and emoji stay."""
    assert printable("a\x1b[31mb\x07\x9bc\r\n\té👨‍👩‍👧‎") == "a[31mbc\n\té👨‍👩‍👧‎"


def test_system_model_and_save(shell: Shell, tmp_path: Path) -> None:
    """The system message and the model can be changed on the way; the conversation is saved, but over no other file."""
    file = tmp_path / "talk.json"
    lines = ["/system Be brief.", "hello", f"/save {file}", f"/save {file}", "/model @cf/nobody/nothing", "again"]
    shown = talk(shell, *lines, code=1).stderr
    assert contents(shell, 0) == ["Be brief.", "hello"]
    saved = json.loads(file.read_text())
    assert [message["role"] for message in saved] == ["system", "user", "assistant"]
    assert f"{file} can't be written: File exists" in shown
    assert "@cf/nobody/nothing" in shell.emulator.requests[-1].path
    assert "code 5007" in shown


def test_no_words_of_the_library() -> None:
    """What an error says to programs isn't said here."""
    error = GemmaError(
        "the answer broke off; error.partial has what had arrived: raise max_tokens, or set thinking=False"
    )
    assert message_of(error) == "the answer broke off: raise --max-tokens, or use --no-thinking"
