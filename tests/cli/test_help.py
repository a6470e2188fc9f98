"""`--help` of every command."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import pytest
import typer

from cf_gemma.cli.app import app

if TYPE_CHECKING:
    from tests.cli.conftest import Shell

COMMANDS = {
    name: [option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)]
    for name, command in vars(typer.main.get_command(app))["commands"].items()
}
"""The options of each command."""


@pytest.mark.parametrize("command", COMMANDS)
def test_examples(shell: Shell, command: str) -> None:
    """Help says what the command is for, and has examples, with options that there are."""
    told = shell.run(command, "--help", COLUMNS="200").stdout
    before, _, after = told.partition("Examples:")
    examples = [shlex.split(line, comments=True) for line in re.findall(rf"cf-gemma {command}\b.*", after)]
    assert len(examples) >= 2
    assert "See HELP" not in before
    assert {word for words in examples for word in words if word.startswith("-")} <= {*COMMANDS[command], "|"}


def test_all_commands(shell: Shell) -> None:
    """Each has a line in the help of the whole."""
    told = shell.run("--help", COLUMNS="200").stdout
    assert set(COMMANDS) == {"ask", "batch", "chat", "demo", "doctor", "emulator"}
    assert all(re.search(rf"\b{command} +[A-Z]", told) for command in COMMANDS)


@pytest.mark.parametrize("command", ["ask", "batch", "chat"])
def test_shared_settings(command: str) -> None:
    """Whatever asks the model has these, under the same names."""
    assert {"--local", "--echo", "--no-thinking", "--max-tokens", "--model", "--system"} <= set(COMMANDS[command])


@pytest.mark.parametrize("command", sorted({*COMMANDS} - {"emulator"}))
def test_local(command: str) -> None:
    """Whatever asks the model can do so without an account."""
    assert "--local" in COMMANDS[command]
