"""The `cf-gemma` command."""

from __future__ import annotations

import logging
import sys


def main() -> None:
    """Runs the command line. Says in one line what to install when something is missing."""
    # A command says itself what matters; whoever wants the log sets up logging.
    logging.getLogger("cf_gemma").addHandler(logging.NullHandler())
    try:
        from cf_gemma.cli.app import app

        app()
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        sys.exit(f"cf-gemma: {error.name} is missing; type: pip install 'cf-gemma[cli]'")
