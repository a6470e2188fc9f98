"""Jobs that meet a limit: of requests a minute, of capacity, of money."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from cf_gemma import AsyncGemma
from cf_gemma.bulk import Bulk
from cf_gemma.bulk.rate import RECOVERY, pause
from cf_gemma.emulator import Emulator, Fault
from tests.faultserver import FIN, FaultServer, chunk, stream_head

if TYPE_CHECKING:
    from pathlib import Path


USAGE = {"prompt_tokens": 1_000, "completion_tokens": 1_000, "total_tokens": 2_000}
FASTER = 100
"""How much faster than real time the tests' minutes go."""


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses and recovery take a hundredth of their time."""
    monkeypatch.setattr("cf_gemma.bulk.pace.pause", lambda *arguments: pause(*arguments) / FASTER)
    monkeypatch.setattr("cf_gemma.bulk.rate.RECOVERY", RECOVERY / FASTER)


def client(emulator: Emulator, max_retries: int = 0) -> AsyncGemma:
    """A client of this emulator."""
    return AsyncGemma(
        emulator.account_id, emulator.api_token, base_url=emulator.base_url, max_retries=max_retries, max_tokens=50
    )


def job(folder: Path, rows: int, **settings: Any) -> Bulk:
    """A job of so many rows, the prompt of each its number."""
    source = folder / "in.jsonl"
    source.write_text("".join(f"{json.dumps({'prompt': str(number)})}\n" for number in range(rows)))
    return Bulk(source, folder / "out.jsonl", **{"rpm": 0, **settings})


def records(folder: Path) -> list[dict[str, Any]]:
    """The output."""
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def test_a_shared_limit_costs_no_row(tmp_path: Path) -> None:
    """At half the rate that it asks for, a job answers all rows, without a retry of their own; few are refused."""
    with Emulator("Yes.", requests_per_minute=30, clock=lambda: time.time() * FASTER) as emulator:
        tally = job(tmp_path, 200, rpm=60 * FASTER).run(client(emulator, max_retries=0))
        sent = len(emulator.requests)
    assert (tally.done, tally.failed, tally.missing) == (200, 0, 0)
    assert 200 < sent < 300
    assert all(record["text"] == "Yes." for record in records(tmp_path))


def test_a_row_that_is_always_refused(tmp_path: Path) -> None:
    """A row for which there is never room, though there is for others, is an error at last and stops nobody."""

    def answer(body: dict[str, Any]) -> str | Fault:
        return Fault.of(3040) if body["messages"][-1]["content"] == "3" else "Yes."

    with Emulator(answer) as emulator:
        tally = job(tmp_path, 200, concurrency=2).run(client(emulator))
    assert (tally.done, tally.failed) == (200, 1)
    (failed,) = [record for record in records(tmp_path) if record["error"]]
    assert (failed["line"], failed["error"]["type"]) == (4, "CapacityExceeded")


def test_a_service_that_refuses_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its patience with pauses a job stops, and leaves the rows to be resumed."""
    monkeypatch.setattr("cf_gemma.bulk.pace.PATIENCE", 0.2)
    with Emulator(Fault(429)) as emulator:
        tally = job(tmp_path, 50).run(client(emulator))
        assert len(emulator.requests) < 50
    assert tally.stopped.startswith("every request for ")
    assert (tally.done, tally.missing) == (0, 50)


def test_retries_take_a_turn(tmp_path: Path) -> None:
    """Requests that are sent again are spread over the minute like all others."""
    times: list[float] = []

    def answer(body: dict[str, Any]) -> str | Fault:
        times.append(time.monotonic())
        return Fault(500) if len(times) < 3 else "Yes."

    with Emulator(answer) as emulator:
        tally = job(tmp_path, 4, rpm=120).run(client(emulator, max_retries=2))
    assert tally.failed == 0
    assert len(times) == 6
    assert all(later - earlier > 0.2 for earlier, later in pairwise(times))


def test_the_cost_of_failures_counts(tmp_path: Path) -> None:
    """What streams reported before they were cut is paid: in the row's line, in the tally, and against the limit."""
    event = {"choices": [{"index": 0, "delta": {"content": "a"}}], "usage": USAGE}
    cut = [stream_head(), chunk(f"data: {json.dumps(event)}\n\n"), FIN]
    with FaultServer(*[cut] * 60) as server:
        gemma = AsyncGemma("0" * 32, "token", base_url=server.url, max_retries=1, wire_streaming=True)
        tally = job(tmp_path, 30, concurrency=1, max_cost=0.004).run(gemma)
        sent = len(server.requests)
    lines = records(tmp_path)
    each = lines[0]["cost"]
    assert lines[0]["usage"]["total_tokens"] == 2_000
    assert sent == 2 * len(lines), "each row is sent twice, and each time paid"
    assert tally.cost == pytest.approx(sum(record["cost"] for record in lines))
    assert tally.stopped.startswith("the next row might have gone over")
    assert 0.004 - each < tally.cost <= 0.004


def test_the_cost_of_a_second_chance(tmp_path: Path) -> None:
    """A row that failed and is asked again has cost both, in its new line and against the limit."""
    event = {"choices": [{"index": 0, "delta": {"content": "a"}}], "usage": USAGE}
    cut = [stream_head(), chunk(f"data: {json.dumps(event)}\n\n"), FIN]
    with FaultServer(cut, cut) as server:
        gemma = AsyncGemma("0" * 32, "token", base_url=server.url, max_retries=0, wire_streaming=True)
        job(tmp_path, 1).run(gemma)
        (first,) = records(tmp_path)
        tally = job(tmp_path, 1, existing="retry_failed").run(gemma)
    (second,) = records(tmp_path)
    assert second["cost"] == tally.cost == pytest.approx(2 * first["cost"])
