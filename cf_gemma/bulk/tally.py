"""How far a batch is: what its progress, its summary and its exit code are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cf_gemma.bulk.forms import Record


@dataclass(slots=True)
class Tally:
    """Counts of rows, tokens and dollars; those of earlier runs that are in the output are counted, too."""

    total: int = 0
    """Rows of the input."""
    earlier: int = 0
    """Rows that were in the output already."""
    done: int = 0
    """Rows that this run has written."""
    failed: int = 0
    """Rows with an error in the whole output."""
    failed_earlier: int = 0
    """Those of earlier runs."""
    tokens: int = 0
    """Prompt and completion tokens of this run."""
    answered: int = 0
    """Rows with a price in the whole output."""
    cost: float = 0.0
    """US dollars: those in the output from earlier runs, and whatever this one pays, written or not."""
    cost_earlier: float = 0.0
    """What of that earlier runs have paid."""
    waiting: str = ""
    """Why no request goes out just now; "" while they do."""
    stopped: str = ""
    """Why the run ended, or ends, before the input did."""

    def stop(self, why: str) -> None:
        """Lets nothing begin any more. The first reason counts."""
        self.stopped = self.stopped or why

    @property
    def exit_code(self) -> int:
        """How it went, for who called the command."""
        return 3 if self.stopped else int(self.failed > 0 or self.missing > 0)

    def add(self, record: Record, *, earlier: bool = False) -> None:
        """Counts a line of the output."""
        if earlier:
            self.earlier += 1
            self.failed_earlier += record["error"] is not None
            self.add_earlier_cost(record["cost"] or 0.0)
        else:
            self.done += 1
            self.tokens += record["usage"]["total_tokens"] if record["usage"] else 0
        self.failed += record["error"] is not None
        self.answered += record["cost"] is not None

    def add_earlier_cost(self, cost: float) -> None:
        """Counts what earlier runs have paid."""
        self.cost += cost
        self.cost_earlier += cost

    @property
    def missing(self) -> int:
        """Rows of the input that are not in the output."""
        return max(0, self.total - self.earlier - self.done)

    def expected(self, rows: int) -> float:
        """What so many rows may cost, if they are like those that came before."""
        return rows * self.cost / self.answered if self.answered else 0.0
