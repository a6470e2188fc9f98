"""Which rows are still to be done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cf_gemma.bulk.disk_set import DiskSet
from cf_gemma.bulk.errors import of_row
from cf_gemma.bulk.rows import BadRow, Row
from cf_gemma.errors import InvalidRequest
from cf_gemma.request.http_request import build
from cf_gemma.request.parameters import merged

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator
    from typing import Any

    from cf_gemma import AsyncGemma


def unique(rows: Iterable[Row | BadRow]) -> Iterator[Row | BadRow]:
    """The rows; one whose id came before is a bad one."""
    seen = DiskSet()
    for row in rows:
        if row.id is None or seen.add(row.key):
            yield row
        else:
            yield BadRow(row.line, InvalidRequest(f"id {row.key} was used by an earlier line"))
    seen.close()


def pending(
    rows: Iterable[Row | BadRow], elsewhere: Container[str], *, only: DiskSet | None = None
) -> Iterator[Row | BadRow]:
    """The rows whose keys are not elsewhere; with `only`, those of them that are there."""
    for row in rows:
        if row.key not in elsewhere and (only is None or row.key in only):
            yield row


def checked(rows: Iterable[Row | BadRow], gemma: AsyncGemma, options: dict[str, Any]) -> Iterator[Row | BadRow]:
    """The rows; one that the client would refuse is a bad one."""
    for row in rows:
        try:
            if isinstance(row, Row):
                build(gemma.settings, row.messages, merged(gemma.options, {**options, **row.options}))
        except Exception as error:  # noqa: BLE001 - a row that can't be sent is a bad one, whatever it is
            yield BadRow(row.line, of_row(error), row.id)
        else:
            yield row
