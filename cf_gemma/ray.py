"""Ray Data: rows answered by workers on many machines, at one rate that all of them share.

    rows = ray.data.read_json("questions.jsonl", lines=True)
    answered(unanswered(rows, "answers"), max_tokens=500).write_parquet("answers")

Needs `pip install 'cf-gemma[ray]'`. Each worker makes a client of its own, with the account and the token of its
machine's environment: set them there.
"""

from __future__ import annotations

import asyncio
import logging
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cf_gemma import AsyncGemma
from cf_gemma.bulk.errors import BulkError
from cf_gemma.bulk.forms import COLUMNS, flat
from cf_gemma.bulk.live import LiveRun
from cf_gemma.bulk.pace import Pace, Turn
from cf_gemma.bulk.rows import Reader
from cf_gemma.bulk.schema import JsonFormat
from cf_gemma.bulk.tally import Tally
from cf_gemma.bulk.template import Template

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cf_gemma.bulk.records import Record
    from cf_gemma.errors import GemmaError

ANSWER: Final = {name: kind for name, kind in COLUMNS.items() if name not in ("id", "line")}
"""The columns that are added, with the names of their types in Arrow."""

logger = logging.getLogger("cf_gemma.ray")


def answered(
    rows: Any,
    *,
    workers: int = 2,
    rpm: int = 300,
    concurrency: int = 16,
    block_rows: int = 200,
    schema: Mapping[str, Any] | None = None,
    system: str | None = None,
    template: str | None = None,
    **options: Any,
) -> Any:
    """A dataset with the rows' answers beside their own columns, made as it is read or written.

    What is added is in `ANSWER`: `text`, `reasoning`, `parsed` (as JSON), `finish_reason`, `prompt_tokens`,
    `completion_tokens`, `cost` (US dollars), `error` (null, or the error's type) and `message`. Retries, refusals and
    errors are as in `cf_gemma.bulk.Bulk`.

    Args:
        rows: A `ray.data.Dataset`, with the columns of a Parquet input of `cf_gemma.bulk.Bulk`. Paths of images are
            from the worker's current folder.
        workers: Processes, each with a client. They wait more than they work, and take a quarter of a processor each.
        rpm: Requests a minute of all workers together, 0 for no limit. The service allows an account 300.
        concurrency: Requests that each worker may have under way at once.
        block_rows: Rows of a block, which is answered by one worker and written as a whole: blocks that are under way
            when a job is killed are lost, and paid again.
        schema: See `cf_gemma.bulk.Bulk`, as for the next two.
        system: A system message in front of every row's.
        template: A prompt with `{column}` in it.
        options: Settings and parameters of each worker's `AsyncGemma`.

    Raises:
        BulkError: Ray isn't installed. In the workers, where it ends the job: a column has the name of an answer's,
            or no row could be answered any more (a wrong token, a service that isn't there).
        InvalidRequest, ConfigurationError: What is given isn't a JSON Schema, or a template.
    """
    ray = _ray()
    reading: dict[str, Any] = {"schema": schema, "system": system, "template": template}
    _reader(**reading)
    turns = 2 * workers * concurrency  # waiting for a turn keeps nobody from reporting
    pace = ray.remote(num_cpus=0, max_concurrency=turns)(SharedPace).remote(rpm)
    return rows.repartition(target_num_rows_per_block=block_rows, strict=True).map_batches(
        Answers,
        fn_constructor_args=(PaceElsewhere(pace), concurrency, reading, options),
        compute=ray.data.ActorPoolStrategy(size=workers),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=0.25,
    )


def unanswered(rows: Any, target: str | Path) -> Any:
    """The rows of a dataset whose `id` is in none of the Parquet files that an earlier job has written.

    A file that a killed job left half written is put aside, under a name with a dot in front, which no reader takes.
    All ids of the target are kept in memory.

    Args:
        rows: A `ray.data.Dataset` with a column `id`.
        target: A folder's path or address, as for `write_parquet`; one that isn't there yet has no answers.

    Raises:
        BulkError: Ray isn't installed.
    """
    ray, compute = _ray(), import_module("pyarrow.compute")
    ids = ray.put(ids_in(str(target)))

    def left(block: Any) -> Any:
        done = ray.get(ids)
        column = block["id"]
        return block.filter(compute.invert(compute.is_in(column, value_set=done.cast(column.type)))) if done else block

    return rows.map_batches(left, batch_size=None, batch_format="pyarrow")


class SharedPace:
    """The pace of all workers: an actor, which keeps one account's rate."""

    def __init__(self, rpm: int) -> None:
        self._tally = Tally()
        self._pace = Pace(rpm, self._tally)

    async def turn(self) -> Turn | str:
        """The next request's turn, or why there is none any more."""
        return await self._pace.turn() or self._tally.stopped

    async def report(self, turn: Turn, error: GemmaError | None) -> bool:
        """See `Pace.report`."""
        return await self._pace.report(turn, error)

    async def stop(self, why: str) -> None:
        """Gives nobody a turn any more."""
        self._tally.stop(why)


class Answers:
    """One worker.

    Args:
        pace: That of all workers.
        concurrency: Requests under way at once.
        reading: The schema, system message and template of the rows.
        options: Of the client.
    """

    def __init__(self, pace: PaceElsewhere, concurrency: int, reading: dict[str, Any], options: dict[str, Any]) -> None:
        self._pace, self._concurrency = pace, concurrency
        self._reader, self._wanted = _reader(**reading)
        self._gemma = AsyncGemma(**options)
        self._loop = asyncio.Runner()

    def __call__(self, block: Any) -> Any:
        """The block with its answers."""
        if taken := ANSWER.keys() & {*block.column_names}:
            raise BulkError(f"the rows have columns of the answers' names, rename them: {', '.join(sorted(taken))}")
        arrow = import_module("pyarrow")
        records = self._loop.run(self._answers(block.to_pylist()))
        answers = [flat(record) for record in records]
        block = block.take(arrow.array([record["line"] for record in records], "int64"))
        for name, kind in ANSWER.items():
            block = block.append_column(name, arrow.array([answer[name] for answer in answers], kind))
        return block

    async def _answers(self, fields: list[dict[str, Any]]) -> list[Record]:
        """The lines of a block, of rows that are numbered from 0. Raises BulkError when none could be answered."""
        records: list[Record] = []
        tally = Tally()
        self._pace.tally = tally
        run = LiveRun(
            self._gemma, records.append, tally, self._pace, concurrency=self._concurrency, wanted=self._wanted
        )
        await run.run(self._reader.row(number, row) for number, row in enumerate(fields))
        if tally.stopped:
            await self._pace.stop(tally.stopped)
            if not records:
                raise BulkError(tally.stopped)
            logger.error("%d rows of a block are left undone: %s", len(fields) - len(records), tally.stopped)
        return sorted(records, key=lambda record: record["line"])


class PaceElsewhere:
    """The actor, as a worker sees it. `tally` is that of the block under way."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self.tally = Tally()

    async def turn(self) -> Turn | None:
        """See `Pace`, as for the others."""
        turn = await self._actor.turn.remote()
        if isinstance(turn, str):
            self.tally.stop(turn)
            return None
        return turn

    async def report(self, turn: Turn, error: GemmaError | None) -> bool:
        """Takes what came of a request."""
        return await self._actor.report.remote(turn, error)

    async def stop(self, why: str) -> None:
        """Ends the job."""
        await self._actor.stop.remote(why)


def _reader(
    schema: Mapping[str, Any] | None, system: str | None, template: str | None
) -> tuple[Reader, JsonFormat | None]:
    wanted = None if schema is None else JsonFormat(dict(schema))
    filled = None if template is None else Template(template)
    return Reader(Path(), wanted=wanted, system=system, template=filled), wanted


def ids_in(target: str) -> Any:
    """The ids in a folder of Parquet files, of which half-written ones are put aside."""
    arrow, files, parquet = (import_module(name) for name in ("pyarrow", "pyarrow.fs", "pyarrow.parquet"))
    address = target if "://" in target else Path(target).absolute().as_uri()
    system, folder = files.FileSystem.from_uri(address)
    ids: list[Any] = []
    for info in system.get_file_info(files.FileSelector(folder, allow_not_found=True)):
        if info.base_name.startswith((".", "_")) or info.extension != "parquet":
            continue
        try:
            with system.open_input_file(info.path) as file:
                ids += parquet.read_table(file, columns=["id"])["id"].drop_null().chunks
        except arrow.ArrowInvalid:
            system.move(info.path, f"{folder}/.{info.base_name}")
    return arrow.concat_arrays(ids) if ids else arrow.array([])


def _ray() -> Any:
    try:
        ray = import_module("ray")
        import_module("ray.data")
    except ImportError:
        raise BulkError("Ray is missing; type: pip install 'cf-gemma[ray]'") from None
    return ray
