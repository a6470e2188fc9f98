"""Where a command's requests go: to the service, or to an emulator that runs as long as the command does."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cf_gemma.cli.emulator import echo_reply
from cf_gemma.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Generator

Local = Annotated[
    bool, typer.Option("--local", help="Start an emulator for this run; a small language model answers, not Gemma 4.")
]
Echo = Annotated[
    bool, typer.Option("--echo", help="Like --local, but nothing thinks: it answers with what it is told.")
]
Model = Annotated[str | None, typer.Option(help="Another model of Workers AI.")]
MaxTokens = Annotated[int | None, typer.Option(min=1, help="Longest answer; reasoning counts as part of it.")]
Temperature = Annotated[float | None, typer.Option(min=0, max=2)]
System = Annotated[str | None, typer.Option(help="A system message in front.")]
Thinking = Annotated[
    bool | None, typer.Option("--thinking/--no-thinking", help="Default: on, but off where JSON is asked for.")
]


def check_credentials(account: str | None = None, token: str | None = None, *, instead: str) -> None:
    """Raises ConfigurationError where there are none, in words of the command line.

    Args:
        account: What the command was given, None for the environment's.
        token: Likewise.
        instead: What the command offers to those who don't set the environment.
    """
    if missing := missing_credentials(account, token):
        raise ConfigurationError(f"{' and '.join(missing)} must be set in the environment; or {instead}")


def missing_credentials(account: str | None = None, token: str | None = None) -> list[str]:
    """The variables that are not set, and neither given, each with what belongs there."""
    # Here, so that a command's help doesn't load the client.
    from cf_gemma.settings import ACCOUNT_VARIABLES, TOKEN_VARIABLES

    needed = (
        (account, ACCOUNT_VARIABLES, "32 hexadecimal digits, from the dashboard"),
        (token, TOKEN_VARIABLES, 'a token with the permission "Workers AI"'),
    )
    return [
        f"{names[0]} ({what})" for value, names, what in needed if value is None and not any(map(os.environ.get, names))
    ]


@contextmanager
def target(*, local: bool, echo: bool = False) -> Generator[dict[str, Any], None, None]:
    """Arguments for `Gemma` or `AsyncGemma`, which are none where the environment names account and token.

    Raises ConfigurationError where it doesn't, and that or ImportError for an emulator that can't be.
    """
    if not (local or echo):
        check_credentials(instead="pass --local, which needs no account")
        yield {}
        return
    from cf_gemma.emulator import Emulator, LlamaEngine, ScriptedEngine

    with ScriptedEngine(echo_reply) if echo else LlamaEngine() as engine, Emulator(engine) as emulator:
        typer.secho(f"What answers is {engine.name}: a local stand-in for Gemma 4.", dim=True, err=True)
        yield {"account_id": emulator.account_id, "api_token": emulator.api_token, "base_url": emulator.base_url}
