"""What a batch doesn't do in silence: rows that are left undone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Shell


def test_rows_that_no_run_has_done(shell: Shell, tmp_path: Path) -> None:
    """A run that retries failures says how many rows it leaves undone, and is no success; --resume does them."""
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"id": "a", "prompt": "a"}\n')
    shell.run("batch", source, "-o", output, "--rpm", "0")
    source.write_text('{"id": "a", "prompt": "a"}\n{"id": "b", "prompt": "b"}\n{"id": "c", "prompt": "c"}\n')
    result = shell.run("batch", source, "-o", output, "--rpm", "0", "--retry-failed", code=1)
    assert "2 rows of the input are not in" in result.stderr
    assert "--resume does them" in result.stderr
    shell.run("batch", source, "-o", output, "--rpm", "0", "--resume")
    assert {json.loads(line)["id"] for line in output.read_text().splitlines()} == {"a", "b", "c"}


def test_a_report_that_has_no_place(shell: Shell, tmp_path: Path) -> None:
    """The doctor refuses a report's path before it asks the service anything."""
    result = shell.run("doctor", "--yes", "--output", tmp_path / "nowhere" / "report.json", code=2)
    assert "nowhere" in result.stderr
    assert shell.emulator.requests == []
