"""`--mode queue`: rows handed over to the service's queue by the hundred, and collected when they are answered."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final, Self

import typer

from cf_gemma.cli.batch.output import write_line
from cf_gemma.cli.batch.pending import pending
from cf_gemma.cli.batch.records import of_error, of_outcome
from cf_gemma.cli.batch.rows import BadRow, Row
from cf_gemma.cli.batch.workers import at_once
from cf_gemma.errors import AuthenticationError, BatchInterrupted, GemmaError, InvalidRequest, PermissionDenied
from cf_gemma.queue.batch import BatchHandle
from cf_gemma.request.http_request import build
from cf_gemma.request.parameters import merged

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cf_gemma import AsyncGemma
    from cf_gemma.cli.batch.ids import IdSet
    from cf_gemma.cli.batch.output import Output
    from cf_gemma.cli.batch.tally import Tally
    from cf_gemma.completion import Completion

CHUNK_ROWS: Final = 500
CHUNK_BYTES: Final = 8_000_000
PATIENCE: Final = 6 * 3_600.0
"""Seconds to wait for a chunk; a run that gave up can be resumed, and asks again."""


class Receipts:
    """The handles of what the queue has, in a file beside the output: without them it would have to be paid again."""

    def __init__(self, output: Path) -> None:
        self._path = self.beside(output)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)

    @staticmethod
    def beside(output: Path) -> Path:
        """Where the receipts of an output are, when there are any."""
        return output.with_name(f"{output.name}.queue")

    def add(self, handle: BatchHandle) -> None:
        """Keeps a handle."""
        write_line(self._file, json.loads(handle.to_json()))

    def __iter__(self) -> Iterator[BatchHandle]:
        """The handles, one after the other. Half a line at the end is cut off."""
        begin = 0
        with self._path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    os.truncate(self._file, begin)
                    return
                begin += len(line)
                try:
                    yield BatchHandle.from_json(line.decode())
                except (UnicodeError, InvalidRequest):
                    raise typer.BadParameter(f"{self._path} has a line that is no receipt") from None

    def remove(self) -> None:
        """Nothing is in the queue any more."""
        self._path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._file)


class QueuedRun:
    """Hands rows over in chunks, so many at once, and writes what comes of them.

    Args:
        gemma: Who answers.
        output: Where to write.
        receipts: What the queue has from earlier runs, and will have from this one.
        tally: What is counted.
        options: Those that hold for every row. They are the client's, too; here they refuse a row before it is sent.
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
        options: dict[str, Any],
        concurrency: int,
        max_cost: float | None,
        only: IdSet | None = None,
    ) -> None:
        self._gemma, self._output, self._receipts, self._tally = gemma, output, receipts, tally
        self._options, self._concurrency, self._max_cost = options, concurrency, max_cost
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

        await at_once(self._concurrency, work)

    def _chunks(self, rows: Iterator[Row | BadRow]) -> Iterator[list[dict[str, Any]]]:
        chunk: list[dict[str, Any]] = []
        size = 0
        for row in rows:
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
        """What the queue is to be given for a row; None for one that can't be, which is written at once."""
        try:
            if isinstance(row, BadRow):
                raise row.error
            if row.options.keys() & {"model", "extra_headers"}:
                raise InvalidRequest("model and extra_headers are of the whole batch in --mode queue")
            size = len(build(self._gemma.settings, row.messages, merged(self._options, row.options)).body)
        except GemmaError as error:
            self._output.append(of_error(row, error))
            return None
        reference = json.dumps([row.line, row.id, row.wants_json], separators=(",", ":"))
        return {"messages": row.messages, **row.options, "external_reference": reference, "size": size + len(reference)}

    async def _hand_over(self, chunk: list[dict[str, Any]]) -> None:
        tally = self._tally
        if self._max_cost is not None and tally.cost + tally.expected(self._under_way + len(chunk)) > self._max_cost:
            tally.stop(f"the next chunk might have gone over --max-cost {self._max_cost:g}")
            return
        self._under_way += len(chunk)
        handle = await self._taken(chunk)
        if handle is not None:
            self._receipts.add(handle)
            self._owners |= dict.fromkeys((_row(reference).key for reference in _references(handle)), handle)
            await self._collect(handle)
        self._under_way -= len(chunk)

    async def _taken(self, chunk: list[dict[str, Any]]) -> BatchHandle | None:
        """What the queue has taken of a chunk; when that isn't all of it, the run ends."""
        try:
            return await self._gemma.batch.submit(chunk)
        except GemmaError as error:
            self._tally.stop(str(error))
            return error.handle if isinstance(error, BatchInterrupted) else None

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
                self._write(handle, _row(result.reference), result.outcome)

    def _write(self, handle: BatchHandle, row: Row, outcome: Completion | GemmaError) -> None:
        if self._owners.get(row.key) == handle:
            del self._owners[row.key]
            self._output.append(of_outcome(row, outcome))


def _references(handle: BatchHandle) -> Iterator[str]:
    for part in handle.parts:
        yield from part.references or ()


def _row(reference: str) -> Row:
    """The row that a reference names, without what was asked."""
    line, row_id, wants_json = json.loads(reference)
    return Row(line, row_id, [], {}, wants_json)
