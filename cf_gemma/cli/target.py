"""Where a command's requests go: to the service, or to an emulator that runs as long as the command does."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cf_gemma.cli.emulator import echo_reply

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


@contextmanager
def target(*, local: bool, echo: bool) -> Generator[dict[str, Any], None, None]:
    """Arguments for `Gemma` or `AsyncGemma`. Raises ImportError or ConfigurationError for an emulator that can't be."""
    if not (local or echo):
        yield {}
        return
    from cf_gemma.emulator import Emulator, LlamaEngine, ScriptedEngine

    with ScriptedEngine(echo_reply) if echo else LlamaEngine() as engine, Emulator(engine) as emulator:
        typer.secho(f"What answers is {engine.name}: a local stand-in for Gemma 4.", dim=True, err=True)
        yield {"account_id": emulator.account_id, "api_token": emulator.api_token, "base_url": emulator.base_url}
