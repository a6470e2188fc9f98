"""Inputs and outputs of `cf-gemma batch`."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FAST = ("--rpm", "0", "--retries", "0")
MODES = pytest.mark.parametrize("mode", ["live", "queue"])


def write(path: Path, rows: Iterable[dict[str, Any] | str]) -> None:
    """Rows, as they are or as JSON."""
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))


def read(path: Path) -> dict[Any, dict[str, Any]]:
    """An output's records by id, or by line where there is none. Every line is whole, and no id comes twice."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert path.read_bytes().endswith(b"\n")
    ids = Counter(json.dumps(record["line"] if record["id"] is None else record["id"]) for record in records)
    assert set(ids.values()) <= {1}
    return {record["line"] if record["id"] is None else record["id"]: record for record in records}


def prompts(body: dict[str, Any]) -> list[str]:
    """What a request asks, of either kind; nothing for a question after a batch."""
    return [one["messages"][-1]["content"] for one in body.get("requests", [body]) if "messages" in one]


def wait_for(path: Path, lines: int) -> None:
    """Until a file has so many lines."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if path.exists() and path.read_bytes().count(b"\n") >= lines:
            return
        time.sleep(0.002)
    raise AssertionError(f"{path} didn't get {lines} lines")


def png(side: int) -> bytes:
    """The beginning of a PNG, which is all that anyone here looks at."""
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + side.to_bytes(4, "big") * 2
