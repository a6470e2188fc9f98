"""The forms of files: JSON lines, CSV and Parquet, read and written row by row, so in constant memory."""

from __future__ import annotations

import csv
import json
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol

from typing_extensions import override

from cf_gemma.bulk.errors import BulkError
from cf_gemma.errors import GemmaError, InvalidRequest
from cf_gemma.model.json_object import as_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    Fields = dict[str, Any] | GemmaError
    """The fields of a row, or why they can't be read."""

Record = dict[str, Any]
"""An answer, as a line of the output has it."""

COLUMNS: Final = {
    **dict.fromkeys(("id",), "string"),
    "line": "int64",
    **dict.fromkeys(("text", "reasoning", "parsed", "finish_reason"), "string"),
    **dict.fromkeys(("prompt_tokens", "completion_tokens"), "int64"),
    "cost": "double",
    **dict.fromkeys(("error", "message"), "string"),
}
"""The columns of a table of answers, with the names of their types in Arrow."""


class Form(Protocol):
    """A form of files."""

    text_cells: bool = False
    """Whether all values are texts, so that those of options have to be read as JSON."""

    def count(self, path: Path) -> int:
        """How many rows a file has."""
        ...

    def read(self, path: Path) -> Iterator[tuple[int, Fields]]:
        """The rows of a file, numbered from 1: by line in JSON lines, by row otherwise."""
        ...

    def write(self, path: Path, records: Iterable[Record]) -> None:
        """Writes answers to a file, which is replaced."""
        ...


class JsonLines(Form):
    """One JSON object a line; blank lines are no rows."""

    @override
    def count(self, path: Path) -> int:
        return sum(1 for _ in self.read(path))

    @override
    def read(self, path: Path) -> Iterator[tuple[int, Fields]]:
        with path.open("rb") as lines:
            for number, line in enumerate(_lines(lines), 1):
                if line is None or line.strip():
                    yield number, _decoded(line)

    @override
    def write(self, path: Path, records: Iterable[Record]) -> None:
        with path.open("wb") as file:
            for record in records:
                file.write(encoded(record))


class Csv(Form):
    """Comma-separated values in UTF-8 with a header."""

    text_cells = True

    @override
    def count(self, path: Path) -> int:
        return sum(1 for _ in self._rows(path))

    @override
    def read(self, path: Path) -> Iterator[tuple[int, Fields]]:
        for number, cells in enumerate(self._rows(path), 1):
            if isinstance(cells, GemmaError):
                yield number, cells
            elif None in cells:
                yield number, InvalidRequest("the row has more cells than the header")
            else:
                yield number, dict(cells)

    @override
    def write(self, path: Path, records: Iterable[Record]) -> None:
        with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(map(flat, records))

    @staticmethod
    def _rows(path: Path) -> Iterator[dict[Any, Any] | GemmaError]:
        csv.field_size_limit(_LONGEST_CELL)
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            while True:
                try:
                    yield next(rows)
                except StopIteration:
                    return
                except csv.Error as error:
                    if not rows.line_num:  # the header: without it no row can be read
                        raise BulkError(f"{path} can't be read as CSV: {error}") from None
                    yield InvalidRequest(f"not CSV: {error}")
                except UnicodeError as error:
                    raise BulkError(f"{path} can't be read as CSV in UTF-8: {error}") from None


class Parquet(Form):
    """Columns, as pandas, Spark and many databases write them. Needs the extra `parquet`."""

    @override
    def count(self, path: Path) -> int:
        return self._opened(path).metadata.num_rows

    @override
    def read(self, path: Path) -> Iterator[tuple[int, Fields]]:
        number = 0
        batches = self._opened(path).iter_batches(batch_size=_BATCH)
        while True:
            try:
                rows = next(batches).to_pylist()
            except StopIteration:
                return
            except (_arrow()[0].ArrowException, OSError, ValueError) as error:
                raise BulkError(f"{path} can't be read as Parquet behind row {number:,}: {error}") from None
            for fields in rows:
                number += 1
                yield number, fields

    @override
    def write(self, path: Path, records: Iterable[Record]) -> None:
        arrow, parquet = _arrow()
        schema = arrow.schema([(name, arrow.type_for_alias(kind)) for name, kind in COLUMNS.items()])
        with parquet.ParquetWriter(path, schema) as writer:
            rows: list[dict[str, Any]] = []
            for record in records:
                rows.append(flat(record))
                if len(rows) == _BATCH:
                    writer.write_batch(arrow.RecordBatch.from_pylist(rows, schema=schema))
                    rows = []
            writer.write_batch(arrow.RecordBatch.from_pylist(rows, schema=schema))

    @staticmethod
    def _opened(path: Path) -> Any:
        arrow, parquet = _arrow()
        try:
            return parquet.ParquetFile(path)
        except (arrow.ArrowException, OSError) as error:
            raise BulkError(f"{path} can't be read as Parquet: {error}") from None


FORMS: Final[dict[str, Form]] = {".csv": Csv(), ".parquet": Parquet()}
"""By the file's suffix; everything else is JSON lines."""


def form_of(path: Path) -> Form:
    """The form of a file, by its name."""
    return FORMS.get(path.suffix.lower(), JsonLines())


def flat(record: Record) -> dict[str, Any]:
    """An answer as a row of a table: values of JSON are text, `error` is the error's type."""
    usage: dict[str, Any] = record.get("usage") or {}
    error: dict[str, Any] = record["error"] or {}
    parsed = record.get("parsed")
    return {
        "id": None if record["id"] is None else str(record["id"]),
        "line": record["line"],
        "text": record.get("text"),
        "reasoning": record.get("reasoning"),
        "parsed": None if parsed is None else json.dumps(parsed, ensure_ascii=False),
        "finish_reason": record.get("finish_reason"),
        "prompt_tokens": usage.get("prompt_tokens"),
        "completion_tokens": usage.get("completion_tokens"),
        "cost": record["cost"],
        "error": error.get("type"),
        "message": error.get("message"),
    }


def encoded(record: Record) -> bytes:
    """An answer as a line of JSON."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace") + b"\n"


def _lines(file: BinaryIO) -> Iterator[bytes | None]:
    """The lines of a file; None for one that is longer than any row, of which no more is kept."""
    while line := file.readline(LONGEST_LINE):
        long = len(line) == LONGEST_LINE and not line.endswith(b"\n")
        rest = long
        while rest:
            rest = bool(more := file.readline(LONGEST_LINE)) and not more.endswith(b"\n")
        yield None if long else line


def _decoded(line: bytes | None) -> Fields:
    if line is None:
        return InvalidRequest(f"the line is longer than {LONGEST_LINE:,} bytes")
    try:
        fields = as_object(json.loads(line))
    except (ValueError, RecursionError) as error:
        return InvalidRequest(f"not JSON: {error}")
    return InvalidRequest("not a JSON object") if fields is None else fields


def options_of(cells: dict[str, Any]) -> dict[str, Any]:
    """Cells of a CSV file as fields of a row: those of options, such as `temperature`, are read as JSON."""
    return {name: _value(name, text) for name, text in cells.items() if text}


def _value(name: str, text: str) -> Any:
    if name in _TEXTS:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _arrow() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise BulkError("pyarrow is missing; type: pip install 'cf-gemma[parquet]'") from None


LONGEST_LINE: Final = 1 << 26
"""Bytes: a row has at most a few images of 20 MB, and the service takes 10 MB."""

_BATCH: Final = 1_000
_LONGEST_CELL: Final = 1 << 24
_TEXTS: Final = ("id", "prompt", "image", "model", "user")
"""Columns whose cells are texts, whatever they look like."""
