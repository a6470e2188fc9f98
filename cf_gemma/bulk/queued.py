"""`--mode queue`: rows handed over to the service's queue by the hundred, and collected when they are answered."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from cf_gemma.bulk.errors import BulkError, of_row
from cf_gemma.bulk.pending import pending
from cf_gemma.bulk.records import of_error, of_outcome
from cf_gemma.bulk.rows import BadRow, Row
from cf_gemma.bulk.schema import JsonFormat
from cf_gemma.bulk.workers import at_once
from cf_gemma.errors import (
    AuthenticationError,
    BadRequest,
    BatchInterrupted,
    GemmaError,
    InvalidRequest,
    PermissionDenied,
    RequestTooLarge,
)
from cf_gemma.queue.batch import BatchHandle
from cf_gemma.request.http_request import build
from cf_gemma.request.parameters import merged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cf_gemma import AsyncGemma, Completion
    from cf_gemma.bulk.disk_set import DiskSet
    from cf_gemma.bulk.output import Output
    from cf_gemma.bulk.receipts import Receipts
    from cf_gemma.bulk.tally import Tally


CHUNK_ROWS: Final = 500
CHUNK_BYTES: Final = 8_000_000
PATIENCE: Final = 6 * 3_600.0
"""Seconds to wait for a chunk; a run that gave up can be resumed, and asks again."""

_REFUSED: Final = (BadRequest, RequestTooLarge, InvalidRequest)
"""What a single row of a chunk may be to blame for."""


class QueuedRun:
    """Hands rows over in chunks, so many at once, and writes what comes of them.

    Args:
        gemma: Who answers.
        output: Where to write.
        receipts: What the queue has from earlier runs, and will have from this one.
        tally: What is counted.
        wanted: The format of rows without one of their own.
        concurrency: Chunks that may be with the queue at once.
        max_cost: US dollars, those of earlier runs included.
        only: Keys of the rows that are to be handed over again, though the queue may still have an answer to them.
    """

    def __init__(
        self,
        gemma: AsyncGemma,
        output: Output,
        receipts: Receipts,
        tally: Tally,
        *,
        wanted: JsonFormat | None,
        concurrency: int,
        max_cost: float | None,
        only: DiskSet | None = None,
    ) -> None:
        self._gemma, self._output, self._receipts, self._tally = gemma, output, receipts, tally
        self._wanted, self._concurrency, self._max_cost = wanted, concurrency, max_cost
        self._only = only
        self._owners: dict[str, BatchHandle] = {}
        """For each row that the queue has, by its key, the handle with which its answer is collected."""
        self._under_way = 0
        """Rows that this run has handed over, or is about to, and that are not written."""

    async def run(self, rows: Iterator[Row | BadRow]) -> None:
        """Collects what earlier runs have handed over, and then the rest."""
        for handle in self._receipts:
            self._owe(handle)
        waiting = frozenset(self._owners)
        await self._each(iter(dict.fromkeys(self._owners.values())), self._collect)
        await self._each(self._chunks(pending(rows, waiting)), self._hand_over)
        if not self._owners:
            self._receipts.remove()

    def _owe(self, handle: BatchHandle) -> None:
        """Keeps in mind a receipt's rows that are not written. A row that was retried has several: the last counts."""
        for reference in _references(handle):
            key = _row(reference).key
            if key not in self._output.done and (self._only is None or key not in self._only):
                self._owners[key] = handle

    async def _each(self, jobs: Iterator[Any], do: Any) -> None:
        async def work() -> None:
            for job in jobs:
                if self._tally.stopped:
                    return
                await do(job)

        await at_once(self._concurrency, work, self._tally)

    def _chunks(self, rows: Iterator[Row | BadRow]) -> Iterator[list[dict[str, Any]]]:
        chunk: list[dict[str, Any]] = []
        size = 0
        for row in rows:
            if self._tally.stopped:
                return
            item = self._item(row)
            if item is None:
                continue
            added = item.pop("size")
            if chunk and (len(chunk) == CHUNK_ROWS or size + added > CHUNK_BYTES):
                yield chunk
                chunk, size = [], 0
            chunk.append(item)
            size += added
        if chunk:
            yield chunk

    def _item(self, row: Row | BadRow) -> dict[str, Any] | None:
        """The queue item of a row; None for one that can't be, which is written at once."""
        if isinstance(row, BadRow):
            self._output.append(of_error(row, row.error))
            return None
        try:
            _check(row)
            options = {**(self._wanted.options if self._wanted else {}), **row.options}
            size = len(build(self._gemma.settings, row.messages, merged(self._gemma.options, options)).body)
        except Exception as error:  # noqa: BLE001 - is the row's, whatever it is
            self._output.append(of_error(row, of_row(error)))
            return None
        wants = "schema" if row.format is self._wanted is not None else row.format is not None
        reference = json.dumps([row.line, row.id, wants], separators=(",", ":"))
        return {
            "messages": row.messages,
            **options,
            "external_reference": reference,
            "size": size + len(reference),
        }

    async def _hand_over(self, chunk: list[dict[str, Any]]) -> None:
        tally = self._tally
        if self._max_cost is not None and tally.cost + tally.expected(self._under_way + len(chunk)) > self._max_cost:
            tally.stop(f"the next chunk might have gone over the cost limit of ${self._max_cost:g}")
            return
        self._under_way += len(chunk)
        try:
            handle = await self._taken(chunk)
        except _REFUSED as error:
            self._under_way -= len(chunk)
            await self._divide(chunk, error)
            return
        if handle is not None:
            self._receipts.add(handle)
            self._owners |= dict.fromkeys((_row(reference).key for reference in _references(handle)), handle)
            await self._collect(handle)
        self._under_way -= len(chunk)

    async def _divide(self, chunk: list[dict[str, Any]], error: GemmaError) -> None:
        """Hands the halves of a refused chunk over, so that a row that the service refuses fails alone."""
        if len(chunk) == 1:
            self._output.append(of_outcome(_row(chunk[0]["external_reference"]), error))
            return
        middle = len(chunk) // 2
        for half in (chunk[:middle], chunk[middle:]):
            if not self._tally.stopped:
                await self._hand_over(half)

    async def _taken(self, chunk: list[dict[str, Any]]) -> BatchHandle | None:
        """What the queue has taken of a chunk; when that isn't all of it, the run ends.

        Raises what says that a row is to blame, and that none was taken.
        """
        try:
            return await self._gemma.batch.submit(chunk)
        except _REFUSED:
            raise
        except GemmaError as error:
            self._tally.stop(str(error))
            handle = error.handle if isinstance(error, BatchInterrupted) else None
            return None if handle is None else BatchHandle.of(handle)

    async def _collect(self, handle: BatchHandle) -> None:
        try:
            results = await self._gemma.batch.wait(handle, timeout=PATIENCE)
        except GemmaError as error:
            # An error that passes, or that is about who asks: the queue still has the chunk.
            if error.retryable or isinstance(error, AuthenticationError | PermissionDenied):
                self._tally.stop(str(error))
            else:
                for reference in _references(handle):
                    self._write(handle, _row(reference), error)
        else:
            for result in results:
                self._write(handle, _row(result.reference, self._wanted), result.outcome)

    def _write(self, handle: BatchHandle, row: Row, outcome: Completion | GemmaError) -> None:
        if self._owners.get(row.key) == handle:
            del self._owners[row.key]
            record = of_outcome(row, outcome)
            self._tally.cost += record["cost"] or 0.0
            self._output.append(record)


def _check(row: Row) -> None:
    if row.options.keys() & {"model", "extra_headers"}:
        raise InvalidRequest("model and extra_headers are of the whole batch in --mode queue")


def _references(handle: BatchHandle) -> Iterator[str]:
    for part in handle.parts:
        yield from part.references or ()


def _row(reference: str, wanted: JsonFormat | None = None) -> Row:
    """The row that a reference names, without what was asked; `wanted` is the format of rows without their own."""
    try:
        line, row_id, wants = json.loads(reference)
    except (ValueError, TypeError, RecursionError):
        line = row_id = wants = None
    if not isinstance(line, int) or not isinstance(row_id, int | str):
        raise BulkError(f"the queue's receipts name {reference[:80]!r}, which is no row of this command's")
    row_format = wanted if wants == "schema" else JsonFormat() if wants else None
    return Row(line, row_id, [], {}, row_format)
