"""`cf-gemma demo`: the main job, end to end, against a small local model or against the service."""

from __future__ import annotations

import importlib.util
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

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
    from cf_gemma.settings.defaults import BASE_URL

    with console.status("Loading LangChain"):
        from cf_gemma.cli.demo import langchain_part
    langchain_part.show(console, target.arguments)
    with console.status("Loading LlamaIndex"):
        from cf_gemma.cli.demo import llama_index_part
    llama_index_part.show(console, target.arguments)
    console.rule("What answered")
    if target.model_file is None:
        console.print(_answering(), markup=False)
        return
    console.print(
        f"All of it went over HTTP to a local emulator, where {target.model_file} answered: a 135M stand-in and not "
        f"Gemma 4, so judge the wire and not the words. To point the same code at the real service, set "
        f"{_VARIABLES[0]} and {_VARIABLES[1]} (and {_VARIABLES[2]} only to go elsewhere than {BASE_URL}).",
        markup=False,
    )


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
