"""One job: a file of rows, the file of their answers, and how the one becomes the other."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cf_gemma import AsyncGemma
from cf_gemma.bulk.errors import BulkError, OutputBroken, OutputExists, QueueHoldsRows
from cf_gemma.bulk.estimate import Estimate, estimate
from cf_gemma.bulk.forms import FORMS, form_of
from cf_gemma.bulk.live import LiveRun
from cf_gemma.bulk.output import Output, beside, drop_failures, in_order, put_in_place
from cf_gemma.bulk.pace import Pace
from cf_gemma.bulk.pending import checked, pending, unique
from cf_gemma.bulk.queued import QueuedRun
from cf_gemma.bulk.receipts import Receipts
from cf_gemma.bulk.rows import BadLines, BadRow, Rows
from cf_gemma.bulk.schema import JsonFormat
from cf_gemma.bulk.tally import Tally
from cf_gemma.bulk.template import Template
from cf_gemma.request.http_request import build
from cf_gemma.request.parameters import merged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cf_gemma.bulk.disk_set import DiskSet


@dataclass(frozen=True, slots=True)
class Bulk:
    """A job. The output has one JSON object for each row; a job that was stopped, or killed, continues from it.

    Attributes:
        source: The input, one JSON object a line, or a `.csv` or `.parquet` file with such columns: `prompt` or
            `messages`, perhaps `id`, `image` (a path or a list of them, from where the input is), `schema`, and any
            parameter of `AsyncGemma.chat`.
        output: Where the answers go: `id`, `line`, `text`, `reasoning`, `parsed`, `finish_reason`, `usage`, `cost` (US
            dollars) and `error`, in the order in which they come. A `.csv` or `.parquet` file is made of these at the
            end of each run; until then, and for the next run, they are beside it, in a file with `.jsonl` added.
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
        template: A prompt with `{column}` in it for each value of a row; only `id` then means anything else.
        ordered: Whether the output is put into the input's order at the end of each run.
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
    template: str | None = None
    ordered: bool = False

    def run(self, gemma: AsyncGemma | None = None) -> Tally:
        """Does it, and blocks until it is done or stopped. For `gemma` and errors, see `arun`."""
        return asyncio.run(self.arun(gemma))

    def estimate(self, gemma: AsyncGemma | None = None) -> Estimate:
        """Rows, tokens and cost of the whole input, about. Nothing is sent; for errors, see `arun`."""
        gemma = gemma or AsyncGemma()
        rows, wanted = self._rows(gemma)
        options = wanted.options if wanted else {}
        return estimate(checked(unique(rows), gemma, options), gemma, options)

    async def arun(
        self,
        gemma: AsyncGemma | None = None,
        tally: Tally | None = None,
        each: Callable[[dict[str, Any]], None] | None = None,
    ) -> Tally:
        """Does it.

        Args:
            gemma: Who answers, with parameters such as `temperature` that hold where a row has none of its own; by
                default a client of the environment's account.
            tally: Where to count, for those who want to watch. `tally.stop(…)` ends the job after what is under way.
            each: Called with every answer as it is written.

        Raises:
            BulkError: The input or the output can't be used, see `cf_gemma.bulk.errors`.
            ConfigurationError, InvalidRequest: No row at all could be sent with these settings.
        """
        gemma, tally = gemma or AsyncGemma(), tally or Tally()
        rows, wanted = self._rows(gemma)
        self._check_files()
        if self.strict:
            lines = checked(unique(rows), gemma, wanted.options if wanted else {})
            if bad := [row for row in lines if isinstance(row, BadRow)]:
                raise BadLines(bad)
        journal, overwrite = self._journal, self.existing == "overwrite"
        only = drop_failures(journal) if self.existing == "retry_failed" else None
        tally.total = len(rows)
        with Output(journal, tally, overwrite=overwrite, retried=only, each=each) as opened:
            if overwrite:
                Receipts.beside(journal).unlink(missing_ok=True)
            try:
                await self._run(gemma, rows, wanted, opened, tally, only)
                opened.check()
                self._finish()
            except OutputBroken as error:
                tally.stop(str(error))
            except OSError as error:
                tally.stop(f"{self.output} can't be written: {error.strerror}")
        return tally

    @property
    def _journal(self) -> Path:
        """The lines of answers, from which a run continues: the output itself, or beside one of another form."""
        output = Path(self.output)
        return output.with_name(f"{output.name}.jsonl") if output.suffix.lower() in FORMS else output

    def _finish(self) -> None:
        """Gives the output its form and order."""
        output, journal = Path(self.output), self._journal
        if output == journal and not self.ordered:
            return
        unfinished = beside(output, "unfinished")
        form_of(output).write(unfinished, in_order(journal))
        put_in_place(unfinished, output)

    def _rows(self, gemma: AsyncGemma) -> tuple[Rows, JsonFormat | None]:
        """The rows, and the format of their answers, once it is clear that any could be sent."""
        source = Path(self.source)
        wanted = None if self.schema is None else JsonFormat(dict(self.schema))
        build(gemma.settings, "Hello", merged(gemma.options, wanted.options if wanted else {}))
        if not source.exists():
            raise BulkError(f"{source} does not exist")
        if not source.is_file():
            raise BulkError(f"{source} must be a file: it is read more than once")
        template = None if self.template is None else Template(self.template)
        return Rows(source, wanted=wanted, system=self.system, template=template), wanted

    def _check_files(self) -> None:
        source, output, journal = Path(self.source), Path(self.output), self._journal
        for path in {output, journal}:
            if path.exists() and (path.samefile(source) or not path.is_file()):
                raise BulkError(f"{path} must be a file, and another one than the input")
        if self.existing == "retry_failed" and not journal.exists():
            raise BulkError(f"{journal} isn't there: only an earlier run's failures can be asked again")
        if self.existing == "resume" and output.exists() and not journal.exists():
            raise BulkError(f"{journal} isn't there: only with that can {output} be continued")
        if self.existing == "refuse" and (output.exists() or journal.exists()):
            raise OutputExists(output)
        receipts = Receipts.beside(journal)
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
            pace = Pace(self.rpm, tally)
            run = LiveRun(
                gemma, output.append, tally, pace, wanted=wanted, concurrency=concurrency, max_cost=self.max_cost
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
