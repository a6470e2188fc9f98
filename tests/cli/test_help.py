"""`--help` of every command."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import typer

from cf_gemma.cli.app import SUMMARIES, app

if TYPE_CHECKING:
    from tests.cli.conftest import Shell

COMMANDS = {
    name: [option for parameter in command.loaded.params for option in (*parameter.opts, *parameter.secondary_opts)]
    for name, command in vars(typer.main.get_command(app))["commands"].items()
}
"""The options of each command."""


@pytest.mark.parametrize("command", COMMANDS)
def test_examples(shell: Shell, command: str) -> None:
    """Help says what the command is for, and has examples, with options that there are."""
    output = shell.run(command, "--help", COLUMNS="200").stdout
    before, _, after = output.partition("Examples:")
    examples = [shlex.split(line, comments=True) for line in re.findall(rf"cf-gemma {command}\b.*", after)]
    assert len(examples) >= 2
    assert "See HELP" not in before
    assert {word for words in examples for word in words if word.startswith("-")} <= {*COMMANDS[command], "|", "-"}


def test_all_commands(shell: Shell) -> None:
    """Each has a line in the help of the whole."""
    output = shell.run("--help", COLUMNS="200").stdout
    assert set(COMMANDS) == {"ask", "batch", "chat", "demo", "doctor", "emulator"}
    assert all(re.search(rf"\b{command} +[A-Z]", output) for command in COMMANDS)


def loaded(*arguments: str) -> set[str]:
    """The modules of ours, and the libraries, that are there when the help has been shown."""
    script = """
import atexit, sys
from cf_gemma.cli import main
atexit.register(lambda: print("\\nmodules:", *sys.modules))
main()
"""
    command = [sys.executable, "-c", script, *arguments, "--help"]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own program
    return set(output.rpartition("modules:")[2].split())


def test_help_loads_no_command() -> None:
    """The list of commands is shown without loading any of them, the client, or what these stand on."""
    there = loaded()
    assert "typer" in there
    assert {name for name in there if name.startswith("cf_gemma")} == {
        *(
            "cf_gemma",
            "cf_gemma.settings",
            "cf_gemma.settings.version",
            "cf_gemma.cli",
            "cf_gemma.cli.app",
            "cf_gemma.cli.text",
        )
    }
    assert there.isdisjoint({"pydantic", "pydantic_core", "httpx", "asyncio", "ssl"})


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_loads_no_client(command: str) -> None:
    """A command's help is shown without loading the client, another command's work, or the network's libraries."""
    there = loaded(command)
    assert f"cf_gemma.cli.{command}" in there
    rooms = ("client", "settings.resolved", "request", "completion", "transport", "emulator", "bulk")
    assert there.isdisjoint({*(f"cf_gemma.{room}" for room in rooms), "httpx", "asyncio", "ssl", "sqlite3"})


@pytest.mark.parametrize("command", COMMANDS)
def test_help_begins_with_the_summary(shell: Shell, command: str) -> None:
    """A command's help begins with what the list of commands says of it."""
    output = " ".join(shell.run(command, "--help", COLUMNS="200").stdout.split())
    assert SUMMARIES[command] in output


@pytest.mark.parametrize("command", ["ask", "batch", "chat"])
def test_shared_settings(command: str) -> None:
    """Whatever asks the model has these, under the same names."""
    shared = {"--local", "--echo", "--no-thinking", "--max-tokens", "--model", "--system", "--retries", "--temperature"}
    assert shared | {"--account", "--token", "--base-url"} <= set(COMMANDS[command])


@pytest.mark.parametrize("command", sorted({*COMMANDS} - {"emulator"}))
def test_local(command: str) -> None:
    """Whatever asks the model can do so without an account."""
    assert "--local" in COMMANDS[command]
