"""One job: a file of rows, the file of their answers, and how the one becomes the other."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cf_gemma.bulk.errors import BadLines, BulkError, OutputExists, QueueHoldsRows
from cf_gemma.bulk.live import LiveRun
from cf_gemma.bulk.output import Output, drop_failures
from cf_gemma.bulk.pending import checked, pending, unique
from cf_gemma.bulk.queued import QueuedRun
from cf_gemma.bulk.receipts import Receipts
from cf_gemma.bulk.rows import BadRow, Rows
from cf_gemma.bulk.schema import JsonFormat
from cf_gemma.bulk.tally import Tally
from cf_gemma.client import AsyncGemma
from cf_gemma.request.http_request import build
from cf_gemma.request.parameters import merged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cf_gemma.bulk.disk_set import DiskSet


@dataclass(frozen=True, slots=True)
class Bulk:
    """A job. The output has one JSON object for each row; a job that was stopped, or killed, continues from it.

    Attributes:
        source: The input, one JSON object a line: `prompt` or `messages`, perhaps `id`, `image` (a path or a list of
            them, from where the input is), `schema`, and any parameter of `AsyncGemma.chat`.
        output: Where the answers go: `id`, `line`, `text`, `reasoning`, `parsed`, `finish_reason`, `usage`, `cost` (US
            dollars) and `error`, in the order in which they come.
        mode: "live" sends a request a row; "queue" hands rows to the service's queue, which answers when it has room.
        existing: What to do with an output that exists. "resume" adds the rows that are not in it, by their ids;
            "retry_failed" asks those that have an error in it once more; "refuse" raises OutputExists.
        schema: A JSON Schema for every answer. One that doesn't fit is asked for once more (not by the queue), then it
            is the row's error. Needs the extra `bulk`.
        system: A system message in front of every row's.
        concurrency: Requests under way at once, default 16; in the queue, chunks of 500 rows, default 4.
        rpm: Requests a minute, 0 for no limit. The service allows an account 300.
        max_cost: US dollars for the whole output; the job stops before the next row may cost more.
        strict: Whether a bad line raises BadLines before anything is sent.
    """

    source: str | Path
    output: str | Path
    mode: Literal["live", "queue"] = "live"
    existing: Literal["refuse", "resume", "overwrite", "retry_failed"] = "refuse"
    schema: Mapping[str, Any] | None = None
    system: str | None = None
    concurrency: int | None = None
    rpm: int = 300
    max_cost: float | None = None
    strict: bool = False

    def run(self, gemma: AsyncGemma | None = None) -> Tally:
        """Does it, and blocks until it is done or stopped. For `gemma` and errors, see `arun`."""
        return asyncio.run(self.arun(gemma))

    async def arun(self, gemma: AsyncGemma | None = None, tally: Tally | None = None) -> Tally:
        """Does it.

        Args:
            gemma: Who answers, with parameters such as `temperature` that hold where a row has none of its own; by
                default a client of the environment's account.
            tally: Where to count, for those who want to watch. `tally.stop(…)` ends the job after what is under way.

        Raises:
            BulkError: The input or the output can't be used, see `cf_gemma.bulk.errors`.
            ConfigurationError, InvalidRequest: No row at all could be sent with these settings.
        """
        gemma, tally = gemma or AsyncGemma(), tally or Tally()
        rows, wanted, output = self._checked(gemma)
        only = drop_failures(output) if self.existing == "retry_failed" else None
        tally.total = len(rows)
        with Output(output, tally, overwrite=self.existing == "overwrite", retried=only) as opened:
            if self.existing == "overwrite":
                Receipts.beside(output).unlink(missing_ok=True)
            try:
                await self._run(gemma, rows, wanted, opened, tally, only)
            except OSError as error:
                tally.stop(f"{output} can't be written: {error.strerror}")
        return tally

    def _checked(self, gemma: AsyncGemma) -> tuple[Rows, JsonFormat | None, Path]:
        """The rows, the format of their answers, and the output's path."""
        source, output = Path(self.source), Path(self.output)
        wanted = None if self.schema is None else JsonFormat(dict(self.schema))
        options = wanted.options if wanted else {}
        build(gemma.settings, "Hello", merged(gemma.options, options))
        self._check_files(source, output)
        rows = Rows(source, wanted=wanted, system=self.system)
        if self.strict:
            lines = checked(unique(rows), gemma, options)
            if bad := [row for row in lines if isinstance(row, BadRow)]:
                raise BadLines(bad)
        return rows, wanted, output

    def _check_files(self, source: Path, output: Path) -> None:
        if not source.is_file():
            raise BulkError(f"{source} must be a file: it is read more than once")
        if output.exists() and (output.samefile(source) or not output.is_file()):
            raise BulkError(f"{output} must be a file, and another one than the input")
        if self.existing == "retry_failed" and not output.exists():
            raise BulkError(f"{output} isn't there: only an earlier run's failures can be asked again")
        if self.existing == "refuse" and output.exists():
            raise OutputExists(output)
        receipts = Receipts.beside(output)
        if self.mode == "live" and self.existing != "overwrite" and receipts.exists() and receipts.stat().st_size:
            raise QueueHoldsRows(receipts)

    async def _run(
        self,
        gemma: AsyncGemma,
        rows: Rows,
        wanted: JsonFormat | None,
        output: Output,
        tally: Tally,
        only: DiskSet | None,
    ) -> None:
        left = pending(unique(rows), output.done, only=only)
        if self.mode == "live":
            concurrency = self.concurrency or 16
            run = LiveRun(
                gemma, output, tally, wanted=wanted, concurrency=concurrency, rpm=self.rpm, max_cost=self.max_cost
            )
            await run.run(left)
            return
        with Receipts(output.path) as receipts:
            await QueuedRun(
                gemma,
                output,
                receipts,
                tally,
                wanted=wanted,
                concurrency=self.concurrency or 4,
                max_cost=self.max_cost,
                only=only,
            ).run(left)
