"""`cf-gemma batch --mode queue`: chunks, and the receipts of what the queue has."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from cf_gemma import Gemma
from cf_gemma.bulk.receipts import Receipts
from cf_gemma.emulator import Emulator, Reply
from cf_gemma.queue.batch import BatchHandle, BatchPart
from tests.cli.conftest import Shell
from tests.cli.files import FAST, prompts, read, write
from tests.faultserver import FIN, FaultServer, error_reply, json_reply

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

ONE_AT_A_TIME = ("--mode", "queue", "--concurrency", "1", *FAST)


@pytest.fixture
def receipts(output: Path) -> Path:
    """Where the receipts are."""
    return output.with_name("out.jsonl.queue")


def chunks(emulator: Emulator) -> list[int]:
    """How many rows each chunk had."""
    return [len(request.json["requests"]) for request in emulator.requests if "requests" in request.json]


def asked(emulator: Emulator) -> Counter[str]:
    """How often each prompt was handed over, or sent."""
    return Counter(text for request in emulator.requests for text in prompts(request.json))


def hand_over(emulator: Emulator, rows: dict[int, str]) -> BatchHandle:
    """Prompts by line, handed over as the command does it."""
    where = {"account_id": emulator.account_id, "api_token": emulator.api_token, "base_url": emulator.base_url}
    requests = [{"messages": text, "external_reference": f"[{line},{line},false]"} for line, text in rows.items()]
    with Gemma(**where) as gemma:
        return gemma.batch.submit(requests)


def keep(path: Path, handles: Iterable[BatchHandle]) -> None:
    """Writes receipts."""
    path.write_text("".join(f"{handle.to_json()}\n" for handle in handles))


def test_no_chunk_is_larger_than_it_may_be(
    shell: Shell, source: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500 rows are one, and 8 MB, here less; nothing is lost between two."""
    write(source, [{"prompt": str(number)} for number in range(501)])
    shell.run("batch", source, "-o", output, *ONE_AT_A_TIME)
    assert chunks(shell.emulator) == [500, 1]
    assert len(read(output)) == 501
    shell.emulator.requests.clear()
    monkeypatch.setattr("cf_gemma.bulk.queued.CHUNK_BYTES", 2_000)
    write(source, [{"prompt": letter * 700} for letter in "abcde"])
    shell.run("batch", source, "-o", output, "--overwrite", *ONE_AT_A_TIME)
    assert chunks(shell.emulator) == [2, 2, 1]
    assert len(read(output)) == 5


@pytest.mark.parametrize("concurrency", ["1", "2"])
def test_max_cost(source: Path, output: Path, concurrency: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No chunk is handed over that might cost more in all, what the queue has just then included."""
    monkeypatch.setattr("cf_gemma.bulk.queued.CHUNK_ROWS", 5)
    write(source, [{"prompt": str(number)} for number in range(30)])
    with Emulator(Reply("x", usage=(1_000, 1_000))) as emulator:  # $0.0004 each
        shell = Shell(emulator)
        options = ("batch", source, "-o", output, *ONE_AT_A_TIME)
        result = shell.run(*options, "--max-cost", "0.0039", code=3)
        assert "might have gone over the cost limit of $0.0039" in result.stderr
        assert len(read(output)) == sum(chunks(emulator)) == 5
        shell.run(*options, "--resume", "--concurrency", concurrency, "--max-cost", "0.0059", code=3)
        assert len(read(output)) == sum(chunks(emulator)) == 10
        shell.run(*options, "--resume", "--max-cost", "1")
        assert len(read(output)) == sum(chunks(emulator)) == 30


def test_a_second_chance_after_a_run_that_stopped(
    shell: Shell, source: Path, output: Path, receipts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that stopped, and to which the queue owes nothing, can be gone on with in every manner."""
    monkeypatch.setattr("cf_gemma.bulk.queued.CHUNK_ROWS", 2)
    write(source, [{"prompt": text} for text in ("a", "broken", "c", "d")])
    options = ("batch", source, "-o", output, *ONE_AT_A_TIME)
    shell.run(*options, "--max-cost", "1e-9", code=3)
    assert {line: record["error"] is None for line, record in read(output).items()} == {1: True, 2: False}
    assert not receipts.exists()
    write(source, [{"prompt": text} for text in ("a", "well", "c", "d")])
    result = shell.run(*options, "--retry-failed", code=1)
    assert "2 rows of the input are not in" in result.stderr
    assert {line: record["text"] for line, record in read(output).items()} == {1: "You said: a", 2: "You said: well"}
    shell.run(*options, "--resume")
    assert len(read(output)) == 4
    assert asked(shell.emulator) == Counter(["a", "broken", "well", "c", "d"])


def test_a_second_chance_while_the_queue_still_has_the_first(
    shell: Shell, source: Path, output: Path, receipts: Path
) -> None:
    """--retry-failed hands a failed row over again, though a receipt still tells what came of it the first time."""
    write(source, [{"prompt": text} for text in ("a", "well")])
    handle = hand_over(shell.emulator, {1: "a", 2: "broken"})
    keep(receipts, [handle])
    shell.run("batch", source, "-o", output, *ONE_AT_A_TIME, code=1)
    keep(receipts, [handle])
    shell.run("batch", source, "-o", output, *ONE_AT_A_TIME, "--retry-failed")
    assert {line: record["text"] for line, record in read(output).items()} == {1: "You said: a", 2: "You said: well"}
    assert asked(shell.emulator) == Counter(["a", "broken", "well"])


def test_a_second_chance_that_was_killed(shell: Shell, source: Path, output: Path, receipts: Path) -> None:
    """Of a row that was handed over twice, what came of it the second time is written, and only that."""
    write(source, [{"prompt": text} for text in ("a", "well")])
    first, second = (hand_over(shell.emulator, rows) for rows in ({1: "a", 2: "broken"}, {2: "well"}))
    keep(receipts, [first, second])
    shell.run("batch", source, "-o", output, *ONE_AT_A_TIME)
    assert {line: record["text"] for line, record in read(output).items()} == {1: "You said: a", 2: "You said: well"}
    assert asked(shell.emulator) == Counter(["a", "broken", "well"])


@pytest.mark.parametrize("how", ["--resume", "--retry-failed"])
def test_going_on_without_the_queue_is_refused(
    shell: Shell, source: Path, output: Path, receipts: Path, how: str
) -> None:
    """Rows that the queue has would be paid for twice, so --mode queue is asked for, and nothing is touched."""
    write(source, [{"prompt": text} for text in ("a", "broken")])
    shell.run("batch", source, "-o", output, *FAST, code=1)
    before, sent = output.read_bytes(), len(shell.emulator.requests)
    receipts.write_text("x")
    result = shell.run("batch", source, "-o", output, how, *FAST, code=2, COLUMNS="300")
    assert "--mode queue" in result.stderr
    assert (output.read_bytes(), len(shell.emulator.requests)) == (before, sent)
    receipts.write_text("")
    shell.run("batch", source, "-o", output, how, *FAST, code=1)


@pytest.mark.parametrize("mode", ["live", "queue"])
def test_beginning_anew_forgets_what_the_queue_has(
    shell: Shell, source: Path, output: Path, receipts: Path, mode: str
) -> None:
    """--overwrite leaves no receipt of an earlier run, in either mode."""
    write(source, [{"prompt": "new"}])
    output.write_text("")
    keep(receipts, [hand_over(shell.emulator, {1: "old"})])
    shell.run("batch", source, "-o", output, "--mode", mode, "--overwrite", *FAST)
    assert read(output)[1]["text"] == "You said: new"
    assert not receipts.exists()


def test_half_a_receipt(output: Path, receipts: Path) -> None:
    """What a crash of the machine left of a line is cut off, so that the next receipt has a line of its own."""
    first, second = (BatchHandle((BatchPart(name, ("[1,1,false]",)),)) for name in ("first", "second"))
    receipts.write_text(f'{first.to_json()}\n{{"model": "@cf/go')
    with Receipts(output) as kept:
        assert list(kept) == [first]
        kept.add(second)
        assert list(kept) == [first, second]


def test_a_chunk_that_is_taken_in_part(
    shell: Shell, source: Path, output: Path, receipts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the queue has taken of it is collected and not handed over again; the rest is left undone."""
    monkeypatch.setattr("cf_gemma.queue.requests.PART_ITEMS", 2)
    write(source, [{"prompt": str(number)} for number in range(4)])
    answer = {"choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}]}
    responses: list[dict[str, Any]] = [{"id": number, "success": True, "result": answer} for number in range(2)]
    taken, refused, answered = (
        json_reply({"result": {"status": "queued", "request_id": "r"}}),
        error_reply(403, message="Not allowed"),
        json_reply({"result": {"responses": responses}}),
    )
    options = ("batch", source, "-o", output, *ONE_AT_A_TIME)
    with FaultServer([taken], [refused], [answered], [FIN]) as server:
        result = shell.run(*options, code=3, CLOUDFLARE_BASE_URL=server.url)
        assert [request.json.get("request_id") for request in server.requests] == [None, None, "r"]
    assert "1 of 2 parts of the batch were handed over, and then: 403" in result.stderr
    assert {line: record["text"] for line, record in read(output).items()} == {1: "Yes.", 2: "Yes."}
    assert not receipts.exists()
    shell.run(*options, "--resume")
    assert asked(shell.emulator) == Counter(["2", "3"])


def test_a_chunk_that_was_perhaps_taken(shell: Shell, source: Path, output: Path) -> None:
    """It isn't handed over again, its rows are left undone, and the run says why."""
    write(source, [{"prompt": "a"}])
    with FaultServer([FIN]) as server:
        options = ("batch", source, "-o", output, "--mode", "queue", "--retries", "5")
        result = shell.run(*options, code=3, CLOUDFLARE_BASE_URL=server.url)
        assert len(server.requests) == 1
    assert "the queue may have taken" in result.stderr
    assert output.read_text() == ""
