"""A job on the terminal: a bar, or now and then a line where there is no terminal, and what Ctrl-C does."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cf_gemma.bulk import Tally
from cf_gemma.cli.text import dollars

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from cf_gemma import AsyncGemma
    from cf_gemma.bulk import Bulk

PERIOD: Final = 10.0
"""Seconds between two lines."""


def watched(job: Bulk, gemma: AsyncGemma, each: Callable[[dict[str, Any]], None] | None = None) -> int:
    """Does a job, with its progress on the standard error. Returns the command's exit code."""
    tally = Tally()
    console = Console(stderr=True, highlight=False)
    with Display(console, tally) as display:
        interrupted = asyncio.run(_run(job, gemma, tally, display, each))
    console.print(display.summary(str(job.output)), markup=False, soft_wrap=not console.is_terminal)
    return 130 if interrupted else tally.exit_code


async def _run(
    job: Bulk, gemma: AsyncGemma, tally: Tally, display: Display, each: Callable[[dict[str, Any]], None] | None
) -> bool:
    """Whether it was stopped by a signal."""
    with _signals(tally) as signals:
        showing = asyncio.create_task(_show(display))
        try:
            await job.arun(gemma, tally, each)
        except asyncio.CancelledError:
            if not signals:
                raise
        finally:
            showing.cancel()
    return bool(signals)


async def _show(display: Display) -> None:
    while True:
        display.update()
        await asyncio.sleep(0.2)


@contextmanager
def _signals(tally: Tally) -> Generator[list[int], None, None]:
    """The first Ctrl-C, or SIGTERM, lets what is under way end; the second doesn't."""
    received: list[int] = []
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def stop(number: int) -> None:
        if received and task is not None:
            task.cancel()
        received.append(number)
        tally.stop("by a signal")
        typer.echo("\nEnding what is under way; once more ends at once.", err=True)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        yield received
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


class Display:
    """Shows a tally; call `update()` often."""

    def __init__(self, console: Console, tally: Tally) -> None:
        self._console, self._tally = console, tally
        self._begin = self._printed = time.monotonic()
        self._bar = Progress(
            TextColumn("[bold]batch"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, facts="")

    def update(self) -> None:
        """Shows how far it is; nothing until the rows have been counted."""
        tally = self._tally
        if not tally.total:
            return
        self._bar.start()
        written = tally.earlier + tally.done
        self._bar.update(self._task, total=tally.total, completed=written, facts=self.facts)
        if not self._console.is_terminal and time.monotonic() - self._printed >= PERIOD:
            self._printed = time.monotonic()
            self._console.print(f"{written:,} of {tally.total:,} rows  {self.facts}", markup=False, soft_wrap=True)

    @property
    def facts(self) -> str:
        """Rate, tokens, cost and errors."""
        tally = self._tally
        rate = 60 * tally.done / max(time.monotonic() - self._begin, 0.001)
        failed = f"  {tally.failed:,} failed" if tally.failed else ""
        waiting = f"  {tally.waiting}" if tally.waiting else ""
        cost = dollars(tally.cost - tally.cost_earlier)
        return f"{rate:,.0f} rows/min  {tally.tokens:,} tokens  {cost}{failed}{waiting}"

    def summary(self, output: str) -> str:
        """The end, in a line or two."""
        tally = self._tally
        took = time.monotonic() - self._begin
        failed, cost = tally.failed - tally.failed_earlier, tally.cost - tally.cost_earlier
        lines = [
            f"{tally.done:,} rows written to {output} in {took:,.1f} s: "
            f"{failed:,} failed, {tally.tokens:,} tokens, {dollars(cost)}",
        ]
        if tally.earlier or tally.cost_earlier:
            written = tally.earlier + tally.done
            lines.append(
                f"In all runs: {written:,} of {tally.total:,} rows, {tally.failed:,} failed, {dollars(tally.cost)}"
            )
        if tally.stopped:
            lines.append(f"Stopped: {tally.stopped}. --resume goes on from here.")
        elif tally.failed:
            lines.append("The rows that failed say why in `error`; --retry-failed runs them again.")
        if tally.missing:
            lines.append(f"{tally.missing:,} rows of the input are not in {output}; --resume does them")
        return "\n".join(lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.update()
        if not self._bar.disable:  # else Rich before 14.3 prints an empty line
            self._bar.stop()
