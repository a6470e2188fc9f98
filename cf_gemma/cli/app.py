"""The commands of `cf-gemma`, in one Typer app."""

from __future__ import annotations

import typer

from cf_gemma.cli.demo import demo
from cf_gemma.cli.emulator import emulator

app = typer.Typer(help="Gemma 4 on Cloudflare Workers AI.", no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def root() -> None:
    """Gemma 4 on Cloudflare Workers AI."""


app.command()(demo)
app.command()(emulator)
