"""`cf-gemma demo`: the main job, end to end, against a small local model or against the service."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cf_gemma.cli.demo.section import section
from cf_gemma.cli.options import missing_credentials
from cf_gemma.errors import GemmaError

if TYPE_CHECKING:
    from collections.abc import Generator

HELP = """\
With CLOUDFLARE_ACCOUNT_ID and CLOUDFLARE_API_TOKEN set the service answers, for less than a cent; otherwise, or with
--local, a small language model behind a local emulator.

Exit codes: 0 all of it was shown; 1 something failed, or isn't installed.

Examples:

    cf-gemma demo

    cf-gemma demo --local
"""

_MODULES = ("langchain_core", "llama_index.core", "llama_index.retrievers.bm25")
_VARIABLES = ("CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_API_TOKEN", "CLOUDFLARE_BASE_URL")


@dataclass(frozen=True)
class Target:
    """Where the demo's requests go, as arguments for either adapter, and what answers there."""

    arguments: dict[str, Any]
    model_file: str | None
    """The local model's file; None when Workers AI answers."""


def demo(
    local: Annotated[
        bool, typer.Option("--local", help="The local model answers, even where credentials are set.")
    ] = False,
) -> None:
    """See HELP."""
    console = Console(highlight=False)
    try:
        _check_installed()
        with _target(console, local=local) as target:
            _run(console, target)
    except (GemmaError, ImportError, OSError) as error:
        console.print(f"cf-gemma demo: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error


def _run(console: Console, target: Target) -> None:
    with console.status("Loading LangChain"):
        from cf_gemma.cli.demo import langchain_part
    langchain_part.show(console, target.arguments)
    with console.status("Loading LlamaIndex"):
        from cf_gemma.cli.demo import llama_index_part
    llama_index_part.show(console, target.arguments)
    section(console, "What answered")
    if target.model_file is None:
        console.print(_answering(), markup=False)
    else:
        console.print(
            "All of it went over HTTP to a local emulator of Workers AI. The model in it is\n"
            f"{target.model_file}, a small stand-in for Gemma 4: judge what was shown, and not the words.",
            markup=False,
        )
    section(console, "What next")
    for command, purpose in _next(local=target.model_file is not None):
        console.print(f"[bold]{command}[/bold]\n  {purpose}")
    console.print()


def _next(*, local: bool) -> list[tuple[str, str]]:
    """What to type or to open, and what for."""
    run = sys.argv[0]
    if shutil.which("cf-gemma") or not run.endswith("cf-gemma"):
        run = "cf-gemma"  # and not .venv/bin/cf-gemma, say
    local_only = [
        (f"export {_VARIABLES[0]}=… {_VARIABLES[1]}=…", "Gemma 4 answers; the token needs the permission Workers AI"),
        (f"{run} demo", "the same once more, then from the service, for less than a cent"),
        (f"{run} emulator", "the local Workers AI, for programs of your own"),
    ]
    return [
        *(local_only if local else ()),
        (f"{run} doctor", "checks the token, the model and a streamed answer, one by one"),
        (f"{run} chat", "a conversation in the terminal"),
        ("examples/README.md", "in the repository: twelve short programs, from a first call to a web chat"),
    ]


def _answering() -> str:
    """What answers when credentials are set."""
    from cf_gemma.settings.defaults import BASE_URL

    url = os.environ.get(_VARIABLES[2], BASE_URL)
    return "Gemma 4 on Cloudflare Workers AI." if url == BASE_URL else f"Whatever it is that answers at {url}."


def _check_installed() -> None:
    """Raises ImportError, with what to type, before anything is loaded or paid for."""
    missing = [name for name in _MODULES if not _installed(name)]
    if missing:
        raise ImportError(f"{' and '.join(missing)} is missing; type: pip install 'cf-gemma[demo]'")


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@contextmanager
def _target(console: Console, *, local: bool) -> Generator[Target, None, None]:
    if not (local or missing_credentials()):
        console.print(f"Credentials are set. What answers: {_answering()}", style="dim", markup=False)
        yield Target({}, None)
        return
    with console.status("Loading the local model"):
        from cf_gemma.emulator import Emulator, LlamaEngine

        engine = LlamaEngine()
    with engine, Emulator(engine) as emulator:
        yield Target(
            {"account_id": emulator.account_id, "api_token": emulator.api_token, "base_url": emulator.base_url},
            engine.name,
        )
