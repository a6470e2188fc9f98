"""The commands of `cf-gemma`, in one Typer app."""

from __future__ import annotations

from typing import Annotated

import typer

from cf_gemma.cli import ask as ask_command
from cf_gemma.cli import batch as batch_command
from cf_gemma.cli import chat as chat_command
from cf_gemma.cli import demo as demo_command
from cf_gemma.cli import doctor as doctor_command
from cf_gemma.cli import emulator as emulator_command
from cf_gemma.cli.wording import flowing
from cf_gemma.version import __version__

app = typer.Typer(help="Gemma 4 on Cloudflare Workers AI.", no_args_is_help=True, pretty_exceptions_enable=False)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"cf-gemma {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Gemma 4 on Cloudflare Workers AI."""


app.command(help=flowing(ask_command.HELP))(ask_command.ask)
app.command(help=flowing(batch_command.HELP))(batch_command.batch)
app.command(help=flowing(chat_command.HELP))(chat_command.chat)
app.command(help=flowing(demo_command.HELP))(demo_command.demo)
app.command(help=flowing(doctor_command.HELP))(doctor_command.doctor)
app.command(help=flowing(emulator_command.HELP))(emulator_command.emulator)
