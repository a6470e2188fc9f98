"""The least Typer app with as many commands as `cf-gemma` has."""

from __future__ import annotations

import typer

app = typer.Typer(help="An app.", no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def root() -> None:
    """An app."""


for name in ("ask", "batch", "chat", "demo", "doctor", "emulator"):

    @app.command(name, help=f"What {name} does.")
    def command(text: str = "") -> None:
        """Nothing."""


if __name__ == "__main__":
    app()
