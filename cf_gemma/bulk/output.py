"""The output: whole lines only, one for each row, from which a run that was killed finds where it was."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import sqlite3
import sys
from typing import TYPE_CHECKING, Any, Final, Self

from cf_gemma.bulk.disk_set import DiskSet
from cf_gemma.bulk.errors import BulkError, OutputBroken
from cf_gemma.bulk.forms import encoded
from cf_gemma.bulk.records import key
from cf_gemma.model.json_object import as_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from cf_gemma.bulk.forms import Record
    from cf_gemma.bulk.tally import Tally


class Output:
    """An open output file. One process at a time writes to it.

    Args:
        path: Of the file.
        tally: What is counted.
        overwrite: Whether to begin with an empty file.
        retried: Rows whose failures were taken out of it, with their cost, which stays part of their next line's.
        each: Is called with every line that is written.

    Raises BulkError for a file that another process writes to, or that can't be written.
    """

    def __init__(
        self,
        path: Path,
        tally: Tally,
        *,
        overwrite: bool = False,
        retried: DiskSet | None = None,
        each: Callable[[Record], None] | None = None,
    ) -> None:
        self.path, self._tally = path, tally
        self._retried, self._each = retried, each
        if retried:
            tally.add_earlier_cost(retried.total())
        self.done = DiskSet()
        """The keys of the rows that are in it from earlier runs."""
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise BulkError(f"{path} can't be written: {error.strerror}") from None
        _lock(self._file, path)
        if overwrite:
            os.truncate(self._file, 0)
        for record in whole_lines(self._file, path):
            if self.done.add(key(record)):
                tally.add(record, earlier=True)
        self._size = os.fstat(self._file).st_size

    def append(self, record: Record) -> None:
        """Writes a row's line."""
        if self._retried and (cost := self._retried.number(key(record))):
            record = {**record, "cost": (record["cost"] or 0.0) + cost}
        try:
            self._size += write_line(self._file, record)
        except OSError as error:
            raise OutputBroken(f"{self.path} can't be written: {error.strerror}") from None
        self.check()
        self._tally.add(record)
        if self._each:
            self._each(record)

    def check(self) -> None:
        """Raises OutputBroken when the file isn't there any more, or isn't what was written to it."""
        now = os.fstat(self._file)
        try:
            there = os.path.samestat(now, os.stat(self.path))
        except OSError:
            there = False
        if not there or now.st_size != self._size:
            raise OutputBroken(f"{self.path} was deleted, moved or changed by somebody else while this ran")

    def close(self) -> None:
        """Frees the file."""
        os.close(self._file)
        self.done.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def drop_failures(path: Path) -> DiskSet:
    """Takes the lines with an error out of an output, and returns their keys with their cost in US dollars.

    The file is replaced as a whole, or not at all.
    """
    failed = DiskSet()
    rest = beside(path, "retrying")
    source = os.open(path, os.O_RDWR)
    target = os.open(rest, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        _lock(source, path)
        for record in whole_lines(source, path):
            if record["error"] is None:
                write_line(target, record)
            else:
                failed.add(key(record), record["cost"] or 0.0)
        os.fsync(target)
        put_in_place(rest, path)
    finally:
        os.close(target)
        os.close(source)
    return failed


def beside(path: Path, suffix: str) -> Path:
    """A hidden file to be put in a file's place, where that really is."""
    real = path.resolve()
    return real.with_name(f".{real.name}.{suffix}")


def put_in_place(new: Path, path: Path) -> None:
    """Replaces a file as a whole. Its mode stays, and so does a link to it."""
    real = path.resolve()
    if real.exists():
        shutil.copymode(real, new)
    os.replace(new, real)


def whole_lines(file: int, path: Path) -> Iterator[Record]:
    """The records of an output. Half a line at its end, which a crash of the machine may leave, is cut off."""
    begin = 0
    with os.fdopen(os.dup(file), "rb") as lines:
        lines.seek(0)
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                os.truncate(file, begin)
                return
            begin += len(line)
            yield _record(line, number, path)


def in_order(path: Path) -> Iterator[Record]:
    """The records of an output in the order of the input; where they are is kept on disk meanwhile."""
    with contextlib.closing(sqlite3.connect("", isolation_level=None)) as index, path.open("rb") as lines:
        index.execute("CREATE TABLE records (line INTEGER, begin INTEGER)")
        begin = 0
        for line in lines:
            index.execute("INSERT INTO records VALUES (?, ?)", (json.loads(line)["line"], begin))
            begin += len(line)
        for (place,) in index.execute("SELECT begin FROM records ORDER BY line, begin"):
            lines.seek(place)
            yield json.loads(lines.readline())


def write_line(file: int, record: dict[str, Any]) -> int:
    """Appends a record in one go: whoever kills the process gets all of the line, or nothing. Returns its length."""
    data = encoded(record)
    written = 0
    try:
        while written < len(data):
            written += os.write(file, data[written:])
    except OSError:
        if written:  # a full disk: half a line mustn't stay
            os.ftruncate(file, os.fstat(file).st_size - written)
        raise
    return written


def _record(line: bytes, number: int, path: Path) -> Record:
    try:
        record = as_object(json.loads(line))
    except (ValueError, RecursionError):
        record = None
    if record is None or not record.keys() >= {"id", "line", "error", "usage", "cost"}:
        raise BulkError(f"{path} is not an output of this command: see its line {number}")
    for name, is_right in _FIELDS.items():
        if not is_right(record[name]):
            raise BulkError(f"{path} is not an output of this command: see {name} in its line {number}")
    return record


def _is_cost(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or (number and math.isfinite(value) and value >= 0)


_FIELDS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "id": lambda value: isinstance(value, str | int | None),
    "line": lambda value: isinstance(value, int),
    "error": lambda value: isinstance(value, dict | None),
    "cost": _is_cost,
}
"""What the fields may be from which a run goes on."""


def _lock(file: int, path: Path) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise BulkError(f"another process is writing to {path}") from None
