"""`cf-gemma ask`: for pipes and scripts."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from cf_gemma import __version__
from cf_gemma.emulator import CUT, Emulator, Reply, ScriptedEngine
from cf_gemma.emulator.engines.model_file import STAND_IN_TOKENS
from tests.cli.conftest import Shell
from tests.cli.files import png

if TYPE_CHECKING:
    from pathlib import Path


def asked(shell: Shell) -> object:
    """What the model was asked last."""
    return shell.emulator.requests[-1].json["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("arguments", "piped", "content"),
    [
        (["Why?"], "", "Why?"),
        (["Why?"], "some text\n", "some text\n\nWhy?"),
        ([], "Why?\n", "Why?"),
    ],
)
def test_what_is_asked(shell: Shell, arguments: list[str], piped: str, content: str) -> None:
    """The question, behind what is piped in; the answer alone is on the standard output."""
    result = shell.run("ask", *arguments, stdin=piped)
    assert result.stdout == f"You said: {content}\n"
    assert result.stderr == ""
    assert asked(shell) == content


def test_options(shell: Shell, tmp_path: Path) -> None:
    """Options reach the model; reasoning and usage are told on the standard error."""
    (tmp_path / "red.png").write_bytes(png(16))
    options = ["--no-thinking", "--max-tokens", "50", "--temperature", "0", "--system", "Be brief."]
    shell.run("ask", "Why?", "--image", tmp_path / "red.png", *options)
    body = shell.emulator.requests[-1].json
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert [part["type"] for part in body["messages"][1]["content"]] == ["image_url", "text"]
    assert (body["max_tokens"], body["temperature"]) == (50, 0)
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    result = shell.run("ask", "Why?", "--reasoning", "--usage")
    assert result.stdout == "You said: Why?\n"
    assert result.stderr.startswith("Let me think.")
    assert " tokens in, " in result.stderr
    assert "$0.0000" in result.stderr


def test_json(shell: Shell, tmp_path: Path) -> None:
    """With a schema the answer is one line of JSON; what isn't JSON is an error."""
    schema = tmp_path / "schema.json"
    schema.write_text('{"title": "speech", "type": "object", "properties": {"said": {"type": "string"}}}')
    result = shell.run("ask", "Why?", "--json-schema", schema)
    assert json.loads(result.stdout) == {"said": "Why?"}
    assert shell.emulator.requests[-1].json["response_format"]["json_schema"]["name"] == "speech"
    assert json.loads(shell.run("ask", "fenced", "--json-schema", schema).stdout) == {"said": "fenced"}
    shell.emulator.requests.clear()
    result = shell.run("ask", "misfit", "--json-schema", schema, code=1)
    assert "doesn't fit the schema: $.said" in result.stderr
    assert len(shell.emulator.requests) == 2, "it is asked for once more"
    result = shell.run("ask", "bad", "--json-schema", schema, code=1)
    assert "the answer is not JSON" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "there is no question"),
        (["Why?", "--json-schema", "nowhere.json"], 2, "can't be read"),
        (["Why?", "--image", "nowhere.png"], 2, "nowhere.png can't be read"),
        (["Why?", "--image", "/dev/zero"], 2, "/dev/zero can't be read: it is not a file"),
        (["Why?", "--model", "../x"], 2, "model must be"),
        (["refused"], 1, "400 from Workers AI"),
        (["quota"], 1, "429 from Workers AI"),
        (["endless", "--max-tokens", "10"], 3, "cut off"),
    ],
)
def test_exit_codes(shell: Shell, arguments: list[str], code: int, message: str) -> None:
    """A script can tell what it was: refused, failed, or cut off."""
    result = shell.run("ask", *arguments, code=code, COLUMNS="300")
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "tokens", "message"),
    [
        ((), STAND_IN_TOKENS, "cut off: the local stand-in stops at 512 tokens"),
        (("--max-tokens", "7"), 7, "cut off: raise --max-tokens"),
        ((), 100, "cut off: the local model's context is full"),
    ],
)
def test_what_cuts_a_local_answer(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], tokens: int, message: str
) -> None:
    """With --local, the hint names what really cut the answer, and no remedy that can't help."""
    cut = Reply("on and on", finish_reason="length", usage=(9, tokens))
    monkeypatch.setattr("cf_gemma.emulator.LlamaEngine", lambda: ScriptedEngine(cut))
    result = shell.run("ask", "Why?", "--local", *arguments, code=3)
    assert result.stderr.endswith(f"cf-gemma ask: {message}\n")


def test_half_an_answer() -> None:
    """An answer whose connection was lost is an error, and what had come of it was shown."""
    with Emulator(Reply("one two three", error=CUT)) as emulator:
        result = Shell(emulator).run("ask", "Why?", code=1)
    assert result.stdout == "one two three"
    assert "lost" in result.stderr


def test_ctrl_c() -> None:
    """Ctrl-C ends it with 130, without a traceback, at once."""
    with Emulator(Reply("one" + " more" * 40, gap=0.25)) as emulator:
        with Shell(emulator).start("ask", "Why?", stdin=subprocess.DEVNULL) as program:
            assert program.stdout
            assert program.stdout.read(3) == "one"
            begin = time.monotonic()
            program.send_signal(signal.SIGINT)
            assert program.wait(10) == 130
            assert program.stderr
            assert program.stderr.read() == ""
        assert time.monotonic() - begin < 6


def test_local_and_version(shell: Shell) -> None:
    """--echo needs no account; the version is told, also by python -m."""
    nothing = dict.fromkeys(shell.environment, "")
    assert shell.run("ask", "Why?", "--echo", **nothing).stdout == "You said: Why?\n"
    assert shell.run("--version").stdout == f"cf-gemma {__version__}\n"
    with shell.start("--version") as program:
        assert program.communicate()[0] == f"cf-gemma {__version__}\n"
