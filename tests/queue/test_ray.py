"""Rows answered in blocks; with Ray's own workers where Ray is installed (`make ray` does that)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cf_gemma.bulk import BulkError
from cf_gemma.emulator import Emulator, Fault
from cf_gemma.ray import ANSWER, Answers, PaceElsewhere, SharedPace, answered, ids_in, unanswered

pa: Any = pytest.importorskip("pyarrow")
parquet: Any = pytest.importorskip("pyarrow.parquet")

EXAMPLE = Path(__file__).parents[2] / "examples" / "ray_bulk.py"
PROGRAM = """
import runpy, sys
import ray
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
example = runpy.run_path(sys.argv[1])
example["main"](sys.argv[2], sys.argv[3], int(sys.argv[4]))
"""
with_ray = pytest.mark.skipif(
    find_spec("ray") is None,
    reason="make ray installs it, 612 MB: https://docs.ray.io/en/latest/ray-overview/installation.html",
)


class Actor:
    """The actor in the test's own process; it keeps what is called."""

    def __init__(self, pace: SharedPace) -> None:
        self._pace = pace
        self.calls: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        def remote(*arguments: Any) -> Any:
            self.calls.append((name, arguments))
            return getattr(self._pace, name)(*arguments)

        return SimpleNamespace(remote=remote)


def worker(emulator: Emulator, actor: Actor, **reading: Any) -> Answers:
    """A worker that asks this emulator."""
    options = {"account_id": emulator.account_id, "api_token": emulator.api_token, "base_url": emulator.base_url}
    return Answers(PaceElsewhere(actor), 4, {"schema": None, "system": None, "template": None, **reading}, options)


def test_a_block() -> None:
    """Its columns stay, with the answers beside them in its order, typed also where there are none."""
    block = pa.table({"id": [7, 8, 9], "prompt": ["a", None, "c"]})
    actor = Actor(SharedPace(0))
    with Emulator(lambda body: f"You said: {body['messages'][-1]['content']}") as emulator:
        made = worker(emulator, actor, system="Be brief.")(block)
        assert len(emulator.requests) == [name for name, _ in actor.calls].count("report") == 2
    assert made.column_names == ["id", "prompt", *ANSWER]
    assert [str(made.schema.field(name).type) for name in ANSWER] == [*ANSWER.values()]
    assert made["id"].to_pylist() == [7, 8, 9]
    assert made["text"].to_pylist() == ["You said: a", None, "You said: c"]
    assert made["error"].to_pylist() == [None, "InvalidRequest", None]


def test_a_taken_column() -> None:
    """A column that an answer's would replace is named before anything is sent."""
    with Emulator("Yes.") as emulator:
        with pytest.raises(BulkError, match="rename them: text"):
            worker(emulator, Actor(SharedPace(0)), template="{text}")(pa.table({"text": ["a"]}))
        assert emulator.requests == []


def test_a_service_that_refuses_all() -> None:
    """A block keeps what was answered and leaves the rest out, for another job; then the job ends."""
    actor = Actor(SharedPace(0))
    with Emulator(["Yes.", "Yes.", *[Fault(401, 10000)] * 20]) as emulator:
        answers = worker(emulator, actor)
        made = answers(pa.table({"id": list(range(40)), "prompt": ["a"] * 40}))
        sent = len(emulator.requests)
        with pytest.raises(BulkError):
            answers(pa.table({"id": [1], "prompt": ["a"]}))
        assert len(emulator.requests) == sent < 10
    assert made["text"].to_pylist() == ["Yes.", "Yes."]
    ((why,),) = [arguments for name, arguments in actor.calls if name == "stop"][:1]
    assert "10000" in why


def test_ids(tmp_path: Path) -> None:
    """Of all files' rows; what was left half written is put aside."""
    assert len(ids_in(str(tmp_path / "nowhere"))) == 0
    parquet.write_table(pa.table({"id": [1, 2], "text": ["a", "b"]}), tmp_path / "1.parquet")
    parquet.write_table(pa.table({"id": [3]}), tmp_path / "2.parquet")
    half = (tmp_path / "1.parquet").read_bytes()[:-20]
    (tmp_path / "3.parquet").write_bytes(half)
    assert ids_in(str(tmp_path)).to_pylist() == [1, 2, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".3.parquet", "1.parquet", "2.parquet"]
    assert ids_in(tmp_path.as_uri()).to_pylist() == [1, 2, 3]


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is here")
def test_without_ray() -> None:
    """It says what to install."""
    for make in (lambda: answered(None), lambda: unanswered(None, "x")):
        with pytest.raises(BulkError, match=r"cf-gemma\[ray\]"):
            make()


def run(emulator: Emulator, source: Path, target: Path, rpm: int) -> None:
    """The example, in a process of its own."""
    environment = {
        **os.environ,
        "CLOUDFLARE_ACCOUNT_ID": emulator.account_id,
        "CLOUDFLARE_API_TOKEN": emulator.api_token,
        "CLOUDFLARE_BASE_URL": emulator.base_url,
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    command = [sys.executable, "-c", PROGRAM, EXAMPLE, source, target, str(rpm)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr


def written(target: Path) -> list[dict[str, Any]]:
    """All rows of a folder, by their ids."""
    rows = [row for path in target.glob("[!.]*.parquet") for row in parquet.ParquetFile(path).read().to_pylist()]
    return sorted(rows, key=lambda row: row["id"])


@with_ray
def test_two_workers_share_a_limit(tmp_path: Path) -> None:
    """Two workers ask together at twice the account's rate: each row is answered once, and few requests are refused."""
    rows = [{"id": number, "prompt": f"word {number}"} for number in range(120)]
    source, target = tmp_path / "in.jsonl", tmp_path / "out"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with Emulator(
        lambda body: f"You said: {body['messages'][0]['content']}",
        requests_per_minute=60,
        clock=lambda: time.time() * 10,
    ) as emulator:
        run(emulator, source, target, 1_200)
        assert len(rows) < len(emulator.requests) < len(rows) + 40
    assert [(row["id"], row["text"], row["error"]) for row in written(target)] == [
        (row["id"], f"You said: {row['prompt']}", None) for row in rows
    ]


@with_ray
def test_a_job_goes_on(tmp_path: Path) -> None:
    """Rows that a target has are not sent again, and those of a half-written file are."""
    source, target = tmp_path / "in.jsonl", tmp_path / "out"
    source.write_text("".join(json.dumps({"id": number, "prompt": "a"}) + "\n" for number in range(450)))
    with Emulator(lambda _: "Yes.") as emulator:
        run(emulator, source, target, 0)
        assert len(emulator.requests) == 450
        half = next(target.glob("*.parquet"))
        missing = parquet.ParquetFile(half).metadata.num_rows
        assert 0 < missing < 450
        half.write_bytes(half.read_bytes()[:-20])
        run(emulator, source, target, 0)
        assert len(emulator.requests) == 450 + missing
    assert [row["id"] for row in written(target)] == [*range(450)]
