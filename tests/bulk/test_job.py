"""`cf_gemma.bulk` from Python: the same jobs as the command's, and errors of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from cf_gemma import AsyncGemma
from cf_gemma.bulk import BadLines, Bulk, BulkError, OutputExists, QueueHoldsRows, Tally
from cf_gemma.emulator import Emulator
from cf_gemma.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def gemma() -> Iterator[AsyncGemma]:
    """A client of an emulator that always answers "Yes."."""
    with Emulator("Yes.") as emulator:
        yield AsyncGemma(emulator.account_id, emulator.api_token, base_url=emulator.base_url, max_tokens=50)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An input of three rows."""
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"id": name, "prompt": name}) + "\n" for name in "abc"))
    return path


def texts(output: Path) -> dict[str, Any]:
    """The answers by id."""
    records = map(json.loads, output.read_text().splitlines())
    return {record["id"]: record["text"] for record in records}


def test_run(gemma: AsyncGemma, source: Path) -> None:
    """A job answers every row and returns its counts."""
    output = source.with_name("out.jsonl")
    tally = Bulk(source, output, rpm=0).run(gemma)
    assert texts(output) == {"a": "Yes.", "b": "Yes.", "c": "Yes."}
    assert (tally.total, tally.done, tally.failed, tally.missing, tally.stopped) == (3, 3, 0, 0, "")
    assert tally.cost > 0


async def test_stop_and_resume(gemma: AsyncGemma, source: Path) -> None:
    """A job that is stopped leaves rows undone, and another one with existing="resume" does them."""
    output = source.with_name("out.jsonl")
    tally = Tally()
    tally.stop("for the test")
    tally = await Bulk(source, output, rpm=0).arun(gemma, tally)
    assert (tally.done, tally.missing, tally.stopped) == (0, 3, "for the test")
    tally = await Bulk(source, str(output), existing="resume", rpm=0).arun(gemma)
    assert (tally.done, tally.missing) == (3, 0)
    assert len(texts(output)) == 3


def test_what_is_refused(gemma: AsyncGemma, source: Path) -> None:
    """Each reason not to begin is a BulkError, and nothing is written."""
    output = source.with_name("out.jsonl")
    with pytest.raises(BulkError, match="must be a file"):
        Bulk(source.parent, output).run(gemma)
    with pytest.raises(BulkError, match="only an earlier run's failures"):
        Bulk(source, output, existing="retry_failed").run(gemma)
    with pytest.raises(InvalidRequest, match="JSON"):
        Bulk(source, output, schema={"type": object}).run(gemma)
    receipts = output.with_name("out.jsonl.queue")
    receipts.write_text("x")
    with pytest.raises(QueueHoldsRows) as held:
        Bulk(source, output).run(gemma)
    assert held.value.path == receipts
    assert not output.exists()
    output.write_text("")
    with pytest.raises(OutputExists, match="existing='resume'"):
        Bulk(source, output).run(gemma)
    assert output.read_text() == ""


def test_bad_lines(gemma: AsyncGemma, source: Path) -> None:
    """A strict job names the lines that can't be sent."""
    source.write_text('{"prompt": "a"}\n{"prompt": "b", "temperature": 9}\n')
    with pytest.raises(BadLines, match="line 2: temperature must be") as bad:
        Bulk(source, source.with_name("out.jsonl"), strict=True).run(gemma)
    assert [row.line for row in bad.value.rows] == [2]


def test_without_credentials(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default the environment's account answers, and where there is none it is a clear error."""
    for name in ("CLOUDFLARE_ACCOUNT_ID", "CF_ACCOUNT_ID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="CLOUDFLARE_ACCOUNT_ID"):
        Bulk(source, source.with_name("out.jsonl")).run()
