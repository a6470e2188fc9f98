"""One run of `cf-gemma batch`: what is to be done, and the doing of it."""

from __future__ import annotations

import asyncio
import signal
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from cf_gemma.cli.batch.display import Display
from cf_gemma.cli.batch.live import LiveRun
from cf_gemma.cli.batch.output import Output, drop_failures
from cf_gemma.cli.batch.pending import checked, pending, unique
from cf_gemma.cli.batch.queued import QueuedRun, Receipts
from cf_gemma.cli.batch.rows import BadRow
from cf_gemma.cli.batch.tally import Tally
from cf_gemma.request.http_request import build
from cf_gemma.request.parameters import merged

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from cf_gemma import AsyncGemma
    from cf_gemma.cli.batch.ids import IdSet
    from cf_gemma.cli.batch.rows import Row, Rows


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, checked."""

    rows: Rows
    output: Path
    options: dict[str, Any]
    queue: bool
    """Whether rows go through the service's queue, and not a request each."""
    concurrency: int
    rpm: int
    max_cost: float | None
    overwrite: bool
    strict: bool
    retry_failed: bool


def carry_out(plan: Plan, gemma: AsyncGemma) -> int:
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
        if not plan.queue:
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
