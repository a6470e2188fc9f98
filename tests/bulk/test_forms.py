"""Inputs and outputs that aren't JSON lines, the order of the output, and the estimate."""

from __future__ import annotations

import csv
import json
import tracemalloc
from collections import deque
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import pytest

from cf_gemma import AsyncGemma
from cf_gemma.bulk import Bulk, BulkError
from cf_gemma.bulk.forms import Csv, Parquet
from cf_gemma.emulator import Emulator, Fault, Reply

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


def reply(body: dict[str, Any]) -> Reply | Fault:
    """Echoes; the first row takes longest, and one fails."""
    text = body["messages"][-1]["content"]
    if text == "broken":
        return Fault(400)
    return Reply(f"You said: {text}", delay=0.1 if text == "first" else 0)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """An emulator that echoes."""
    with Emulator(reply) as running:
        yield running


@pytest.fixture
def gemma(emulator: Emulator) -> AsyncGemma:
    """A client of it."""
    return AsyncGemma(emulator.account_id, emulator.api_token, base_url=emulator.base_url, max_tokens=50, max_retries=0)


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_csv(gemma: AsyncGemma, emulator: Emulator, tmp_path: Path) -> None:
    """Columns are a row's fields; the output is a table in the input's order, with errors beside the answers."""
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text('\ufeffid,prompt,temperature\na,first,0.5\n,"two, with\na line",\nc,broken,\n', "utf-8")
    tally = Bulk(source, output, rpm=0).run(gemma)
    assert (tally.done, tally.failed) == (3, 1)
    first, second, third = table(output)
    assert (first["id"], first["line"], first["text"], first["error"]) == ("a", "1", "You said: first", "")
    assert (second["id"], second["text"]) == ("2", "You said: two, with\na line")
    assert (third["id"], third["text"], third["error"]) == ("c", "", "BadRequest")
    assert float(first["cost"]) > 0
    temperatures = {one.json["messages"][-1]["content"]: one.json.get("temperature") for one in emulator.requests}
    assert temperatures["first"] == 0.5
    assert temperatures["broken"] is None


def test_a_table_is_continued(gemma: AsyncGemma, tmp_path: Path) -> None:
    """A run continues from the lines beside the table, and makes the table anew; without them it is refused."""
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("id,prompt\na,one\nb,broken\n")
    Bulk(source, output, rpm=0).run(gemma)
    source.write_text("id,prompt\na,one\nb,two\nc,three\n")
    Bulk(source, output, existing="retry_failed", rpm=0).run(gemma)
    assert [row["text"] for row in table(output)] == ["You said: one", "You said: two"]
    Bulk(source, output, existing="resume", rpm=0).run(gemma)
    assert [row["text"] for row in table(output)] == ["You said: one", "You said: two", "You said: three"]
    (tmp_path / "out.csv.jsonl").unlink()
    with pytest.raises(BulkError, match=r"out\.csv\.jsonl isn't there"):
        Bulk(source, output, existing="resume", rpm=0).run(gemma)


def test_a_template(gemma: AsyncGemma, emulator: Emulator, tmp_path: Path) -> None:
    """Columns go into the prompt as they are written, and nothing else is made of them."""
    source = tmp_path / "in.csv"
    source.write_text("id,number,temperature\n7,007,hot\n")
    Bulk(source, tmp_path / "out.jsonl", rpm=0, template="{number}, {temperature}").run(gemma)
    assert emulator.requests[0].json["messages"][-1]["content"] == "007, hot"
    assert json.loads((tmp_path / "out.jsonl").read_text())["id"] == "7"


def test_bad_rows_of_a_table(gemma: AsyncGemma, tmp_path: Path) -> None:
    """A row with too many cells is an error of its own; a file that isn't text is refused."""
    source = tmp_path / "in.csv"
    source.write_text("prompt\na,b\nc\n")
    tally = Bulk(source, tmp_path / "out.jsonl", rpm=0).run(gemma)
    assert (tally.done, tally.failed) == (2, 1)
    source.write_bytes(b"prompt\n\xff\xfe\n")
    with pytest.raises(BulkError, match="can't be read as CSV"):
        Bulk(source, tmp_path / "other.jsonl", rpm=0).run(gemma)


def test_ordered(gemma: AsyncGemma, tmp_path: Path) -> None:
    """The output has the input's order at the end, also with rows that an earlier run has done."""
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in ("first", "b", "c")))
    Bulk(source, output, rpm=0).run(gemma)
    assert json.loads(output.read_text().splitlines()[-1])["line"] == 1
    Bulk(source, output, existing="resume", rpm=0, ordered=True).run(gemma)
    assert [json.loads(line)["line"] for line in output.read_text().splitlines()] == [1, 2, 3]


def test_estimate(gemma: AsyncGemma, emulator: Emulator, tmp_path: Path) -> None:
    """Rows, tokens and cost, without a request."""
    source = tmp_path / "in.jsonl"
    source.write_text('{"prompt": "' + "word " * 80 + '"}\n{"prompt": "b", "max_tokens": 100}\n{}\n')
    about = Bulk(source, tmp_path / "out.jsonl").estimate(gemma)
    assert (about.rows, about.bad, about.max_tokens) == (3, 1, 150)
    assert 100 <= about.prompt_tokens <= 130
    assert 0 < about.prompt_cost < about.highest_cost < 0.001
    assert emulator.requests == []


def test_parquet_in_constant_memory(tmp_path: Path) -> None:
    """Reading and writing keep a thousand rows in memory, however many a file has."""
    pytest.importorskip("pyarrow")
    records = ({"id": line, "line": line, "text": "a" * 500, "error": None, "cost": 0.0} for line in count(1))

    def peak(work: Iterable[object]) -> int:
        tracemalloc.start()
        deque(work, maxlen=0)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    def measured(rows: int) -> tuple[int, int]:
        path = tmp_path / f"{rows}.parquet"
        written = peak(Parquet().write(path, islice(records, rows)) for _ in "1")
        return written, peak(Parquet().read(path))

    measured(1)  # imports
    few, many = measured(2_000), measured(20_000)
    assert all(after < 1.5 * before for before, after in zip(few, many, strict=True))


def test_parquet(gemma: AsyncGemma, tmp_path: Path) -> None:
    """Columns in, columns out, with their types."""
    pytest.importorskip("pyarrow")
    import pyarrow
    import pyarrow.parquet

    source, output = tmp_path / "in.parquet", tmp_path / "out.parquet"
    rows = {"id": ["a", "b"], "review": ["good", None], "temperature": [0.5, None]}
    pyarrow.parquet.write_table(pyarrow.table(rows), source)
    Bulk(source, output, rpm=0, template="Mood: {review}").run(gemma)
    answers = pyarrow.parquet.read_table(output)
    assert answers.column("text").to_pylist() == ["You said: Mood: good", "You said: Mood: "]
    assert str(answers.schema.field("cost").type) == "double"
    assert str(answers.schema.field("line").type) == "int64"
    source.write_bytes(b"PAR")
    with pytest.raises(BulkError, match="can't be read as Parquet"):
        Bulk(source, output, existing="overwrite").run(gemma)


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parquet says what to install; CSV doesn't need it."""
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(BulkError, match=r"pip install 'cf-gemma\[parquet\]'"):
        Parquet().count(tmp_path / "in.parquet")
    (tmp_path / "in.csv").write_text("prompt\na\n")
    assert Csv().count(tmp_path / "in.csv") == 1
