"""What one sees of a batch while it runs: a bar on a terminal, now and then a line anywhere else."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from rich.console import Console

    from cf_gemma.cli.batch.tally import Tally

PERIOD: Final = 10.0
"""Seconds between two lines."""


class Display:
    """Shows a tally; call `update()` often."""

    def __init__(self, console: Console, tally: Tally) -> None:
        self._console, self._tally = console, tally
        self._begin = self._told = time.monotonic()
        self._bar = Progress(
            TextColumn("[bold]batch"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(compact=True),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=tally.total, completed=tally.earlier, facts="")

    def update(self) -> None:
        """Shows how far it is."""
        tally = self._tally
        written = tally.earlier + tally.done
        self._bar.update(self._task, completed=written, facts=self.facts)
        if not self._console.is_terminal and time.monotonic() - self._told >= PERIOD:
            self._told = time.monotonic()
            self._console.print(f"{written:,} of {tally.total:,} rows  {self.facts}", markup=False, soft_wrap=True)

    @property
    def facts(self) -> str:
        """Rate, tokens, cost and errors."""
        tally = self._tally
        rate = 60 * tally.done / max(time.monotonic() - self._begin, 0.001)
        failed = f"  {tally.failed:,} failed" if tally.failed else ""
        return f"{rate:,.0f} rows/min  {tally.tokens:,} tokens  ${tally.cost:.4f}{failed}"

    def summary(self, output: str) -> str:
        """The end, in a line or two."""
        tally = self._tally
        took = time.monotonic() - self._begin
        again = f" ({tally.earlier:,} were there already)" if tally.earlier else ""
        lines = [
            f"{tally.done:,} rows written to {output}{again} in {took:,.1f} s: "
            f"{tally.failed:,} failed, {tally.tokens:,} tokens, ${tally.cost:.4f}",
        ]
        if tally.stopped:
            lines.append(f"Stopped: {tally.stopped}. --resume goes on from here.")
        elif tally.failed:
            lines.append("The rows that failed say why in `error`; --retry-failed runs them again.")
        return "\n".join(lines)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.update()
        self._bar.stop()
