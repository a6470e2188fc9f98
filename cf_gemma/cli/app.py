"""The commands of `cf-gemma`, in one Typer app; each is loaded when it is run, or asked for its help."""

from __future__ import annotations

from functools import cached_property
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand
from typing_extensions import override

from cf_gemma import __version__
from cf_gemma.cli.text import flowing

SUMMARIES: Final = {
    "ask": "Asks one question; the answer goes to the standard output.",
    "batch": "Answers every row of a file: JSON lines, CSV or Parquet.",
    "chat": "A conversation on the terminal, token by token; reasoning is dim.",
    "demo": "Streams, extracts, calls a tool and answers from documents, with LangChain and LlamaIndex.",
    "doctor": "Checks the token, the model and a streamed answer; with --survey, what no document says.",
    "emulator": "Runs a local Workers AI until Ctrl-C; point any client of the service at it.",
}
"""What each command does. The rest of its help is in its module, `cf_gemma.cli.<name>`."""

app = typer.Typer(help="Gemma 4 on Cloudflare Workers AI.", no_args_is_help=True, pretty_exceptions_enable=False)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cf-gemma {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Gemma 4 on Cloudflare Workers AI."""


class Deferred(TyperCommand):
    """A command of which only the summary is there until it is needed."""

    @cached_property
    def loaded(self) -> Any:
        """The command itself."""
        name = str(self.name)
        module = import_module(f"cf_gemma.cli.{name}")
        alone = typer.Typer(add_completion=False)
        alone.command(name, help=flowing(f"{SUMMARIES[name]}\n\n{module.HELP}"))(getattr(module, name))
        return typer.main.get_command(alone)

    @override
    def make_context(self, *args: Any, **more: Any) -> Any:
        return self.loaded.make_context(*args, **more)


def _not_loaded() -> None:
    raise AssertionError("the loaded command runs, not this one")


for _name, _summary in SUMMARIES.items():
    app.command(_name, help=_summary, cls=Deferred)(_not_loaded)
