"""The options of every command that asks the model, and the client that they describe."""

from __future__ import annotations

import inspect
import os
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from cf_gemma.cli.emulator import echo_reply
from cf_gemma.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

Local = Annotated[
    bool, typer.Option("--local", help="Start an emulator for this run; a small language model answers, not Gemma 4.")
]


AccountId = Annotated[str | None, typer.Option(help="Default: CLOUDFLARE_ACCOUNT_ID.")]
Token = Annotated[str | None, typer.Option(help="Default: CLOUDFLARE_API_TOKEN, which no list of processes shows.")]
BaseUrl = Annotated[str | None, typer.Option(help="Where the service is; an emulator's, to try this out.")]


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """What `ask`, `batch` and `chat` have in common."""

    system: Annotated[str | None, typer.Option(help="A system message in front.")] = None
    thinking: Annotated[
        bool | None, typer.Option("--thinking/--no-thinking", help="Default: on, but off where JSON is asked for.")
    ] = None
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer; reasoning counts as part of it.")] = (
        None
    )
    temperature: Annotated[float | None, typer.Option(min=0, max=2)] = None
    model: Annotated[str | None, typer.Option(help="Another model of Workers AI.")] = None
    retries: Annotated[int, typer.Option(min=0, help="How often a request may be sent again.")] = 2
    account: AccountId = None
    token: Token = None
    base_url: BaseUrl = None
    local: Local = False
    echo: Annotated[
        bool, typer.Option("--echo", help="Like --local, without a model: the answer repeats the prompt.")
    ] = False

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of each request; None where nothing was chosen."""
        names = ("thinking", "max_tokens", "temperature", "model")
        return {name: getattr(self, name) for name in names}

    @contextmanager
    def client(self) -> Generator[dict[str, Any], None, None]:
        """The arguments for `Gemma` or `AsyncGemma`, while the emulator runs that --local or --echo asks for.

        Raises ConfigurationError where the environment has no credentials, and that or ImportError for an emulator
        that can't be started.
        """
        service = {"account_id": self.account, "api_token": self.token, "base_url": self.base_url}
        if self.local or self.echo:
            if any(service.values()):
                raise ConfigurationError("--local and --echo go without --account, --token and --base-url")
            with local_emulator(echo=self.echo) as arguments:
                yield {**arguments, "max_retries": self.retries}
        else:
            check_credentials(self.account, self.token, instead="pass --local, which needs no account")
            yield {**service, "max_retries": self.retries}


def with_model_options(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options of `ModelOptions`, which it gets as its argument `options`."""
    hints = get_type_hints(ModelOptions, include_extras=True)
    shared = [
        inspect.Parameter(
            option.name, inspect.Parameter.KEYWORD_ONLY, default=option.default, annotation=hints[option.name]
        )
        for option in fields(ModelOptions)
    ]
    signature = inspect.signature(command, eval_str=True)
    own = [parameter for parameter in signature.parameters.values() if parameter.name != "options"]

    @wraps(command)
    def run(*args: Any, **values: Any) -> None:
        options = ModelOptions(**{parameter.name: values.pop(parameter.name) for parameter in shared})
        command(*args, options=options, **values)

    run.__signature__ = signature.replace(parameters=[*own, *shared])  # type: ignore[attr-defined]
    del run.__wrapped__  # type: ignore[attr-defined]  # typer would take the annotations from there
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *shared]}
    return run


def check_credentials(account: str | None = None, token: str | None = None, *, instead: str) -> None:
    """Raises ConfigurationError where there are none.

    Args:
        account: The command's own option; None for the environment's.
        token: Likewise.
        instead: What the command offers to those who don't set the environment.
    """
    if token is not None:
        typer.echo("--token shows in the list of processes (ps); CLOUDFLARE_API_TOKEN doesn't", err=True)
    if missing := missing_credentials(account, token):
        raise ConfigurationError(f"{' and '.join(missing)} must be set in the environment; or {instead}")


def missing_credentials(account: str | None = None, token: str | None = None) -> list[str]:
    """The variables that are not set, each with what belongs there."""
    # Here, so that a command's help doesn't load the client.
    from cf_gemma.settings.defaults import ACCOUNT_VARIABLES, TOKEN_VARIABLES

    needed = (
        (account, ACCOUNT_VARIABLES, "32 hexadecimal digits, from the dashboard"),
        (token, TOKEN_VARIABLES, 'a token with the permission "Workers AI"'),
    )
    return [
        f"{names[0]} ({what})" for value, names, what in needed if value is None and not any(map(os.environ.get, names))
    ]


@contextmanager
def local_emulator(*, echo: bool = False) -> Generator[dict[str, Any], None, None]:
    """Starts one; the arguments with which a client reaches it."""
    from cf_gemma.emulator import Emulator, LlamaEngine, ScriptedEngine

    with ScriptedEngine(echo_reply) if echo else LlamaEngine() as engine, Emulator(engine) as emulator:
        typer.secho(f"Answers come from {engine.name}, a local stand-in for Gemma 4.", dim=True, err=True)
        yield {"account_id": emulator.account_id, "api_token": emulator.api_token, "base_url": emulator.base_url}
