"""The handles of what the service's queue has, in a file beside the output."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Self

from cf_gemma.bulk.errors import BulkError
from cf_gemma.bulk.output import write_line
from cf_gemma.errors import InvalidRequest
from cf_gemma.queue.batch import BatchHandle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
                    raise BulkError(f"{self._path} has a line that is no receipt") from None

    def remove(self) -> None:
        """Nothing is in the queue any more."""
        self._path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._file)
