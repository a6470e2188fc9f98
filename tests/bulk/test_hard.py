"""One bad row ends nothing, and what happens to files while a job runs is noticed."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import time
from typing import TYPE_CHECKING, Any

import pytest

from cf_gemma import AsyncGemma
from cf_gemma.bulk import Bulk, BulkError, Tally
from cf_gemma.bulk import live as live_module
from cf_gemma.emulator import Emulator, Fault, Reply
from cf_gemma.transport.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """One that always answers "Yes."."""
    with Emulator("Yes.") as emulator:
        yield emulator


@pytest.fixture
def gemma(emulator: Emulator) -> AsyncGemma:
    """A client of it."""
    return AsyncGemma(emulator.account_id, emulator.api_token, base_url=emulator.base_url, max_tokens=50)


def written(path: Path, rows: list[Any]) -> Path:
    """A file of JSON lines."""
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def read(path: Path) -> dict[Any, dict[str, Any]]:
    """The records of an output by line."""
    return {record["line"]: record for record in map(json.loads, path.read_text().splitlines())}


def nested(levels: int) -> str:
    """A row with a schema so deep."""
    return '{"prompt": "a", "schema": ' + '{"type": "array", "items": ' * levels + "{}" + "}" * levels + "}"


BAD: dict[str, Any] = {
    "a path with NUL": {"prompt": "a", "image": "a\0b"},
    "half a surrogate in a path": '{"prompt": "a", "image": "\\ud800.png"}',
    "half a surrogate": '{"prompt": "\\ud800"}',
    "a folder": {"prompt": "a", "image": "."},
    "zeros without end": {"prompt": "a", "image": "/dev/zero"},
    "a pipe": {"prompt": "a", "image": "pipe"},
    "a damaged photo": {"prompt": "a", "image": "photo.jpg"},
    "a schema of 600 levels": nested(600),
    "a schema of 5,000 levels": nested(5_000),
    "no number": '{"prompt": "a", "temperature": NaN}',
    "no messages": {"messages": [7]},
    "what only the service refuses": {"prompt": "a", "response_format": {"type": "no"}},
    "a line of many brackets": "[" * 100_000,
}


@pytest.mark.parametrize("mode", ["live", "queue"])
@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_ends_nothing(name: str, mode: Any, gemma: AsyncGemma, tmp_path: Path) -> None:
    """Whatever is wrong with a row is that row's error, and the others are answered."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe1\0\x40" + b"Exif\0\0MM" + b"\xff" * 500_000)
    source = written(tmp_path / "in.jsonl", [{"prompt": "a"}, BAD[name], {"prompt": "c"}])
    tally = Bulk(source, tmp_path / "out.jsonl", mode=mode, rpm=0).run(gemma)
    records = read(tmp_path / "out.jsonl")
    assert (tally.stopped, tally.failed, sorted(records)) == ("", 1, [1, 2, 3])
    assert records[1]["text"] == records[3]["text"] == "Yes."
    assert records[2]["error"]["message"]


def test_a_row_that_breaks_the_client(gemma: AsyncGemma, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is an exception that nobody has thought of."""
    chat = AsyncGemma.chat

    async def odd(self: AsyncGemma, messages: Any, **options: Any) -> Any:
        if messages[-1]["content"] == "b":
            raise ZeroDivisionError("odd")
        return await chat(self, messages, **options)

    monkeypatch.setattr(AsyncGemma, "chat", odd)
    source = written(tmp_path / "in.jsonl", [{"prompt": text} for text in "abc"])
    tally = Bulk(source, tmp_path / "out.jsonl", rpm=0).run(gemma)
    assert (tally.done, tally.failed) == (3, 1)
    assert read(tmp_path / "out.jsonl")[2]["error"]["message"] == "ZeroDivisionError: odd"


def test_what_is_under_way_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the run itself breaks, the answers that have been paid for still come into the output."""
    settle = live_module.LiveRun._settle  # pyright: ignore[reportPrivateUsage]

    def odd(self: Any, row: Any, *arguments: Any) -> None:
        if row.line == 1:
            raise ZeroDivisionError("odd")
        settle(self, row, *arguments)

    monkeypatch.setattr(live_module.LiveRun, "_settle", odd)
    source = written(tmp_path / "in.jsonl", [{"prompt": str(number)} for number in range(100)])
    with Emulator(lambda body: Reply("a", delay=0.0 if body["messages"][-1]["content"] == "0" else 0.3)) as emulator:
        gemma = AsyncGemma(emulator.account_id, emulator.api_token, base_url=emulator.base_url, max_tokens=50)
        with pytest.raises(ZeroDivisionError):
            Bulk(source, tmp_path / "out.jsonl", concurrency=4, rpm=0).run(gemma)
        assert len(read(tmp_path / "out.jsonl")) == len(emulator.requests) - 1 >= 3


@pytest.mark.parametrize("how", ["retry", "order"])
def test_mode_and_link_stay(how: str, gemma: AsyncGemma, tmp_path: Path) -> None:
    """An output that is written anew keeps its mode, and a link to it stays one."""
    source = written(tmp_path / "in.jsonl", [{"prompt": "a"}, "no JSON"])
    real, link = tmp_path / "elsewhere" / "real.jsonl", tmp_path / "out.jsonl"
    real.parent.mkdir()
    link.symlink_to(real)
    Bulk(source, link, existing="overwrite", rpm=0).run(gemma)
    real.chmod(0o640)
    written(source, [{"prompt": "a"}, {"prompt": "b"}])
    tally = Bulk(source, link, existing="retry_failed", rpm=0, ordered=how == "order").run(gemma)
    assert (tally.failed, len(read(link))) == (0, 2)
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert sorted(os.listdir(tmp_path / "elsewhere")) == ["real.jsonl"]


@pytest.mark.parametrize("what", ["deleted", "cut", "replaced", "written to"])
def test_an_output_that_somebody_changes(what: str, gemma: AsyncGemma, tmp_path: Path) -> None:
    """An output that isn't there any more, or isn't what was written to it, stops the run, with exit code 3."""
    source = written(tmp_path / "in.jsonl", [{"prompt": str(number)} for number in range(40)])
    output = tmp_path / "out.jsonl"
    seen: list[Any] = []

    def change(record: dict[str, Any]) -> None:
        seen.append(record)
        if len(seen) == 3:
            if what == "deleted":
                output.unlink()
            elif what == "cut":
                os.truncate(output, 10)
            elif what == "replaced":
                (tmp_path / "new").write_bytes(output.read_bytes())
                os.replace(tmp_path / "new", output)
            else:
                with output.open("a") as file:
                    file.write("more\n")

    tally = asyncio.run(Bulk(source, output, concurrency=2, rpm=0).arun(gemma, each=change))
    assert "out.jsonl was deleted, moved or changed" in tally.stopped
    assert tally.exit_code == 3
    assert tally.done < 40


def test_a_run_that_waits_is_stopped_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that waits to be sent again doesn't keep a stopped run waiting, and stays undone."""
    monkeypatch.setattr(RetryPolicy, "wait", lambda *_: 30.0)
    source = written(tmp_path / "in.jsonl", [{"prompt": "a"}])
    with Emulator(Fault(500)) as emulator:
        gemma = AsyncGemma(emulator.account_id, emulator.api_token, base_url=emulator.base_url, max_tokens=50)

        async def run() -> Tally:
            tally = Tally()
            asyncio.get_running_loop().call_later(0.5, tally.stop, "for the test")
            return await Bulk(source, tmp_path / "out.jsonl").arun(gemma, tally)

        begin = time.monotonic()
        assert asyncio.run(run()).done == 0
        assert time.monotonic() - begin < 5


RECORD = {"id": 1, "line": 1, "error": None, "usage": None, "cost": None}


@pytest.mark.parametrize(
    ("field", "value"),
    [("cost", "0.1"), ("cost", True), ("cost", -1), ("cost", float("nan")), ("error", "bad"), ("line", "1"),
     ("line", None), ("id", [1]), ("id", 1.5)],
)  # fmt: skip
@pytest.mark.parametrize("existing", ["resume", "retry_failed"])
def test_an_odd_output(field: str, value: Any, existing: Any, gemma: AsyncGemma, tmp_path: Path) -> None:
    """A line that can't be gone on from is named, and nothing is sent."""
    source = written(tmp_path / "in.jsonl", [{"prompt": "a"}])
    output = written(tmp_path / "out.jsonl", [RECORD | {"id": 7}, RECORD | {field: value}])
    with pytest.raises(BulkError, match=f"see {field} in its line 2"):
        Bulk(source, output, existing=existing, rpm=0).run(gemma)
    assert len(output.read_text().splitlines()) == 2


@pytest.mark.parametrize("reference", ["", "7", "[]", "[1,2]", '["a","b",false]', "[1,[],false]", "{", "[" * 9_999])
def test_an_odd_receipt(reference: str, gemma: AsyncGemma, tmp_path: Path) -> None:
    """So is a receipt that isn't one of this command's."""
    source = written(tmp_path / "in.jsonl", [{"prompt": "a"}])
    output = written(tmp_path / "out.jsonl", [])
    parts = [{"request_id": "r", "references": [reference]}]
    written(tmp_path / "out.jsonl.queue", [{"model": "@cf/a/b", "parts": parts}])
    with pytest.raises(BulkError, match="no row of this command"):
        Bulk(source, output, mode="queue", existing="resume").run(gemma)


def test_a_line_without_end(gemma: AsyncGemma, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that is longer than any row is that row's error, and no more of it is kept."""
    monkeypatch.setattr("cf_gemma.bulk.forms.LONGEST_LINE", 1_000)
    source = written(tmp_path / "in.jsonl", [{"prompt": "a"}, "x" * 3_500, {"prompt": "c"}, "x" * 999, "x" * 1_000])
    tally = Bulk(source, tmp_path / "out.jsonl", rpm=0).run(gemma)
    assert (tally.total, tally.done, tally.failed) == (5, 5, 3)
    records = read(tmp_path / "out.jsonl")
    assert records[3]["text"] == "Yes."
    assert "longer than" in records[2]["error"]["message"]


def test_a_cell_that_is_too_long(gemma: AsyncGemma, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a table, too."""
    monkeypatch.setattr("cf_gemma.bulk.forms._LONGEST_CELL", 100)
    source = tmp_path / "in.csv"
    source.write_text("prompt\na\n" + "x" * 200 + "\nc\n")
    tally = Bulk(source, tmp_path / "out.jsonl", rpm=0).run(gemma)
    assert (tally.done, tally.failed) == (3, 1)
