"""What the commands say when nobody told them whose account it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Shell

ACCOUNT = "CLOUDFLARE_ACCOUNT_ID (32 hexadecimal digits, from the dashboard)"
TOKEN = 'CLOUDFLARE_API_TOKEN (a token with the permission "Workers AI")'


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        (["CLOUDFLARE_ACCOUNT_ID"], ACCOUNT),
        (["CLOUDFLARE_API_TOKEN"], TOKEN),
        (["CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_API_TOKEN"], f"{ACCOUNT} and {TOKEN}"),
    ],
)
@pytest.mark.parametrize("command", ["ask", "batch", "chat", "doctor"])
def test_what_is_missing(shell: Shell, source: Path, output: Path, command: str, gone: list[str], message: str) -> None:
    """One line names what is missing, and what this command offers instead; nothing is sent."""
    source.write_text("")
    arguments = {"ask": ["Why?"], "batch": [source, "-o", output]}.get(command, [])
    code = 1 if command == "doctor" else 2
    result = shell.run(command, *arguments, stdin="", code=code, **dict.fromkeys(gone, ""))
    instead = "--account and --token, or --local" if command == "doctor" else "--local, which needs no account"
    line = f"cf-gemma {command}: {message} must be set in the environment; or pass {instead}\n"
    assert result.output == line
    assert shell.emulator.requests == []
    assert not output.exists()


def test_other_names_of_the_environment(shell: Shell) -> None:
    """What other packages read will do."""
    emulator = shell.emulator
    others = {"CF_ACCOUNT_ID": emulator.account_id, "CF_AI_API_TOKEN": emulator.api_token}
    none = {"CLOUDFLARE_ACCOUNT_ID": "", "CLOUDFLARE_API_TOKEN": ""}
    assert shell.run("ask", "Why?", **none, **others).stdout == "You said: Why?\n"


def test_options_instead_of_the_environment(shell: Shell) -> None:
    """Account, token and base URL can be passed, and a token on the command line brings a warning."""
    emulator = shell.emulator
    where = ("--account", emulator.account_id, "--token", emulator.api_token, "--base-url", emulator.base_url)
    result = shell.run("ask", "Why?", *where, **dict.fromkeys(shell.environment, ""))
    assert result.stdout == "You said: Why?\n"
    assert "list of processes" in result.stderr
    assert emulator.api_token not in result.output
    assert "go without --account" in shell.run("ask", "Why?", "--echo", *where, code=2).stderr
