"""`cf-gemma batch`: a file of prompts in, a file of answers out, as many as there are."""

from __future__ import annotations

import asyncio
import signal
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path  # noqa: TC003 - typer reads the annotations at run time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cf_gemma import AsyncGemma
from cf_gemma.cli.batch.display import Display
from cf_gemma.cli.batch.live import LiveRun
from cf_gemma.cli.batch.output import Output, drop_failures
from cf_gemma.cli.batch.pending import checked, pending, unique
from cf_gemma.cli.batch.queued import QueuedRun, Receipts
from cf_gemma.cli.batch.rows import BadRow, Rows
from cf_gemma.cli.batch.tally import Tally
from cf_gemma.cli.schema import read_schema, response_format
from cf_gemma.cli.target import Echo, Local, MaxTokens, Model, System, Temperature, Thinking, target
from cf_gemma.errors import GemmaError
from cf_gemma.parameters import merged
from cf_gemma.request import build

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from cf_gemma.cli.batch.ids import IdSet
    from cf_gemma.cli.batch.rows import Row

HELP = """Answers every row of a JSONL file; one JSON object a line in and out.

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


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, checked."""

    rows: Rows
    output: Path
    options: dict[str, Any]
    mode: Mode
    concurrency: int
    rpm: int
    max_cost: float | None
    overwrite: bool
    strict: bool
    retry_failed: bool


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
        mode=mode,
        concurrency=concurrency or (16 if mode is Mode.live else 4),
        rpm=rpm,
        max_cost=max_cost,
        overwrite=overwrite,
        strict=strict,
        retry_failed=retry_failed,
    )
    try:
        with target(local=local, echo=echo) as arguments:
            code = _carry_out(plan, AsyncGemma(**arguments, max_retries=retries, **options))
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
    receipts = Receipts.beside(output)
    if receipts.exists() and receipts.stat().st_size:
        raise typer.BadParameter(
            f"{receipts} says that the queue has rows of this output, which would be paid for twice: "
            "pass --mode queue to go on with them, or --overwrite to begin anew"
        )


def _carry_out(plan: Plan, gemma: AsyncGemma) -> int:
    """The exit code. Raises GemmaError for options with which no row at all can be sent."""
    build(gemma.settings, "Hello", merged(plan.options))
    if plan.strict:
        _refuse_bad_lines(checked(unique(plan.rows), gemma.settings, plan.options))
    only = drop_failures(plan.output) if plan.retry_failed else None
    tally = Tally(total=len(plan.rows))
    console = Console(stderr=True, highlight=False)
    with Output(plan.output, tally, overwrite=plan.overwrite) as output:
        if plan.overwrite:
            Receipts.beside(plan.output).unlink(missing_ok=True)
        with Display(console, tally) as display:
            interrupted = False
            try:
                interrupted = asyncio.run(_run(plan, gemma, output, tally, display, only))
            except OSError as error:
                tally.stop(f"{plan.output} can't be written: {error.strerror}")
        console.print(display.summary(str(plan.output)), markup=False, soft_wrap=True)
    if tally.missing:
        told = f"{tally.missing:,} rows of the input are not in {plan.output}; --resume does them"
        console.print(told, markup=False, soft_wrap=True)
    return 130 if interrupted else tally.exit_code


def _refuse_bad_lines(rows: Iterator[Row | BadRow]) -> None:
    bad = [row for row in rows if isinstance(row, BadRow)]
    for row in bad[:20]:
        typer.echo(f"line {row.line}: {row.error.message}", err=True)
    if bad:
        raise typer.BadParameter(f"{len(bad):,} bad lines; nothing was sent (--strict)")


async def _run(
    plan: Plan, gemma: AsyncGemma, output: Output, tally: Tally, display: Display, only: IdSet | None
) -> bool:
    """Whether it was stopped by a signal."""
    rows = pending(unique(plan.rows), output.done, only=only)
    with ExitStack() as stack:
        interrupted = stack.enter_context(_signals(tally))
        if plan.mode is Mode.live:
            run = LiveRun(gemma, output, tally, concurrency=plan.concurrency, rpm=plan.rpm, max_cost=plan.max_cost).run(
                rows
            )
        else:
            receipts = stack.enter_context(Receipts(plan.output))
            run = QueuedRun(
                gemma,
                output,
                receipts,
                tally,
                options=plan.options,
                concurrency=plan.concurrency,
                max_cost=plan.max_cost,
                only=only,
            ).run(rows)
        showing = asyncio.create_task(_show(display))
        try:
            await run
        except asyncio.CancelledError:
            if not interrupted:
                raise
        finally:
            showing.cancel()
    return bool(interrupted)


async def _show(display: Display) -> None:
    while True:
        display.update()
        await asyncio.sleep(0.2)


@contextmanager
def _signals(tally: Tally) -> Generator[list[int], None, None]:
    """The first Ctrl-C, or SIGTERM, lets what is under way end; the second doesn't."""
    told: list[int] = []
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def stop(number: int) -> None:
        if told and task is not None:
            task.cancel()
        told.append(number)
        tally.stop("by a signal")
        typer.echo("\nEnding what is under way; once more ends at once.", err=True)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        yield told
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
