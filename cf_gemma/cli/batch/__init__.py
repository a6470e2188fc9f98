"""`cf-gemma batch`: a file of prompts in, a file of answers out, as many as there are."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer reads the annotations at run time
from typing import Annotated, Any

import typer

import cf_gemma
from cf_gemma.cli.schema import read_schema, response_format
from cf_gemma.cli.target import Echo, Local, MaxTokens, Model, System, Temperature, Thinking, target
from cf_gemma.errors import GemmaError

HELP = """\
A row has a "prompt" or "messages", and may have an "id" (else it is the line's number), an "image" (a path, or a list
of them, from where the input is), a "schema" (a JSON Schema to answer in), and options such as "temperature".

What comes out has "id", "line", "text", "reasoning", "parsed" (with a schema), "finish_reason", "usage", "cost" (US
dollars) and "error", in the order in which the answers come. The output is what a run that was stopped, or killed,
goes on from: nothing is lost, and what is written isn't paid again.

A wrong token, a used-up quota, a model that isn't there, or a service that can't be reached ends the run: rows that
weren't answered for it are not in the output, and --resume does them.

Exit codes: 0 every row has an answer; 1 some rows failed; 2 refused before any request; 3 stopped early, by --max-cost
or by trouble that every other row would meet, too; 130 stopped by Ctrl-C, after what was under way.

Examples:

    cf-gemma batch questions.jsonl -o answers.jsonl

    cf-gemma batch questions.jsonl -o answers.jsonl --resume

    cf-gemma batch invoices.jsonl -o invoices.out.jsonl --schema invoice.json --max-cost 2.50

    cf-gemma batch nightly.jsonl -o nightly.out.jsonl --mode queue

    cf-gemma batch questions.jsonl -o answers.jsonl --retry-failed
"""


class Mode(StrEnum):
    """How rows reach the model."""

    live = "live"
    queue = "queue"


def batch(
    source: Annotated[Path, typer.Argument(metavar="INPUT.jsonl", exists=True, dir_okay=False, readable=True)],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.jsonl", dir_okay=False)],
    mode: Annotated[
        Mode, typer.Option(help="live: a request a row; queue: the service's queue, which answers when it has room.")
    ] = Mode.live,
    concurrency: Annotated[
        int | None, typer.Option(min=1, max=256, help="Requests (default 16), or chunks of the queue (4), at once.")
    ] = None,
    rpm: Annotated[int, typer.Option(min=0, help="Requests a minute; the service allows 300. 0: no limit.")] = 300,
    max_cost: Annotated[
        float | None, typer.Option(min=0, help="US dollars, for the whole output; stops before it is spent.")
    ] = None,
    schema: Annotated[Path | None, typer.Option(help="A JSON Schema that every row is answered in.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an output that exists.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew with an output that exists.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run only the rows that have an error in the output.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="A bad line stops everything before it begins.")] = False,
    retries: Annotated[int, typer.Option(min=0, help="How often a request may be sent again.")] = 5,
    system: System = None,
    thinking: Thinking = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = None,
    model: Model = None,
    local: Local = False,
    echo: Echo = False,
) -> None:
    """See HELP."""
    _check_files(source, output)
    _check_output(output, resume=resume, overwrite=overwrite, retry_failed=retry_failed)
    if mode is Mode.live and not overwrite:
        _check_receipts(output)
    # Here, so that help doesn't load all that does the work.
    from cf_gemma.cli.batch.rows import Rows
    from cf_gemma.cli.batch.run import Plan, carry_out

    wanted = read_schema(schema)
    options: dict[str, Any] = {
        "thinking": thinking,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "model": model,
        "response_format": None if wanted is None else response_format(wanted),
    }
    plan = Plan(
        rows=Rows(source, wants_json=wanted is not None, system=system),
        output=output,
        options=options,
        queue=mode is Mode.queue,
        concurrency=concurrency or (16 if mode is Mode.live else 4),
        rpm=rpm,
        max_cost=max_cost,
        overwrite=overwrite,
        strict=strict,
        retry_failed=retry_failed,
    )
    try:
        with target(local=local, echo=echo) as arguments:
            code = carry_out(plan, cf_gemma.AsyncGemma(**arguments, max_retries=retries, **options))
    except (GemmaError, ImportError, OSError) as error:
        typer.echo(f"cf-gemma batch: {error}", err=True)
        raise typer.Exit(2) from error
    raise typer.Exit(code)


def _check_files(source: Path, output: Path) -> None:
    if not source.is_file():
        raise typer.BadParameter(f"{source} must be a file: it is read more than once")
    if output.exists() and (output.samefile(source) or not output.is_file()):
        raise typer.BadParameter(f"{output} must be a file, and another one than the input")


def _check_output(output: Path, *, resume: bool, overwrite: bool, retry_failed: bool) -> None:
    if resume + overwrite + retry_failed > 1:
        raise typer.BadParameter("--resume, --overwrite and --retry-failed exclude each other")
    if retry_failed and not output.exists():
        raise typer.BadParameter(f"{output} isn't there: --retry-failed needs the output of an earlier run")
    if output.exists() and not (resume or overwrite or retry_failed):
        raise typer.BadParameter(f"{output} exists: pass --resume to go on with it, or --overwrite to begin anew")


def _check_receipts(output: Path) -> None:
    from cf_gemma.cli.batch.queued import Receipts

    receipts = Receipts.beside(output)
    if receipts.exists() and receipts.stat().st_size:
        raise typer.BadParameter(
            f"{receipts} says that the queue has rows of this output, which would be paid for twice: "
            "pass --mode queue to go on with them, or --overwrite to begin anew"
        )
