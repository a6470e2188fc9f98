"""What a batch doesn't do in silence: rows that are left undone."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest

from cf_gemma import Gemma
from cf_gemma.emulator import Emulator, Fault, Reply
from tests.cli.conftest import Shell
from tests.cli.files import FAST, MODES, read, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def nowhere() -> Iterator[str]:
    """A base URL at which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@MODES
@pytest.mark.parametrize(
    ("extra", "message"), [((), "401"), (("--model", "@cf/nobody/nothing"), "code 5007")], ids=["token", "model"]
)
def test_trouble_that_every_row_would_meet(
    shell: Shell, source: Path, output: Path, mode: str, extra: tuple[str, ...], message: str
) -> None:
    """It stops the run with code 3, and is told once; nothing is written that would have to be repeated."""
    write(source, [{"prompt": str(number)} for number in range(50)])
    options = ("batch", source, "-o", output, "--mode", mode, "--concurrency", "2", *FAST)
    token = shell.emulator.api_token if extra else "wrong"
    result = shell.run(*options, *extra, code=3, CLOUDFLARE_API_TOKEN=token)
    assert result.stderr.count("Stopped: ") == result.stderr.count(message) == 1
    assert "--resume goes on from here" in result.stderr
    assert output.read_text() == ""
    assert len(shell.emulator.requests) <= 2
    shell.run(*options, "--resume")
    assert len(read(output)) == 50


def test_a_quota_that_is_used_up_on_the_way(source: Path, output: Path) -> None:
    """What was answered before is kept, the row that was refused and all others are left undone."""
    write(source, [{"prompt": str(number)} for number in range(30)])
    replies = [Reply("a"), Reply("b"), Fault.of(4006), *[Reply("c")] * 28]
    with Emulator(replies) as emulator:
        options = ("batch", source, "-o", output, "--concurrency", "1", *FAST)
        result = Shell(emulator).run(*options, code=3)
        assert "28 rows of the input are not in" in result.stderr
        assert [record["error"] for record in read(output).values()] == [None, None]
        assert len(emulator.requests) == 3
        Shell(emulator).run(*options, "--resume")
        assert len(read(output)) == 30


@MODES
def test_a_service_that_is_not_reached(shell: Shell, source: Path, output: Path, nowhere: str, mode: str) -> None:
    """A run gives up after a few rows, which are left undone like all others; --resume does them."""
    write(source, [{"prompt": str(number)} for number in range(50)])
    options = ("batch", source, "-o", output, "--mode", mode, "--concurrency", "2", *FAST)
    result = shell.run(*options, code=3, CLOUDFLARE_BASE_URL=nowhere)
    assert result.stderr.count("Stopped: ") == result.stderr.count("no answer came from 127.0.0.1") == 1
    assert "--resume goes on from here" in result.stderr
    assert "50 rows of the input are not in" in result.stderr
    assert output.read_text() == ""
    shell.run(*options, "--resume")
    assert len(read(output)) == 50


def test_too_few_rows_to_know(shell: Shell, source: Path, output: Path, nowhere: str) -> None:
    """Where the input ends before it is clear that nothing is reached, each row says that it was tried."""
    write(source, [{"prompt": str(number)} for number in range(4)])
    shell.run("batch", source, "-o", output, *FAST, code=1, CLOUDFLARE_BASE_URL=nowhere)
    assert [record["error"]["type"] for record in read(output).values()] == ["ConnectionFailed"] * 4


def test_rows_that_are_to_blame_themselves(shell: Shell, source: Path, output: Path) -> None:
    """A model or a header that only one row has doesn't stop the others."""
    own = [{"model": "@cf/nobody/nothing"}, {"model": "../x"}, {"extra_headers": {"no header": "a"}}]
    write(source, [*({"prompt": "a", **options} for options in own), *({"prompt": "b"} for _ in range(20))])
    result = shell.run("batch", source, "-o", output, *FAST, code=1)
    assert "3 failed" in result.stderr
    kinds = [(record["error"] or {}).get("type") for _, record in sorted(read(output).items())]
    assert kinds == ["NotFound", "ConfigurationError", "ConfigurationError", *[None] * 20]


def test_a_token_that_may_not_ask_for_what_the_queue_has(shell: Shell, source: Path, output: Path) -> None:
    """What was handed over isn't given up for it: with the right token it is collected, and not paid again."""
    write(source, [{"prompt": "hello"}])
    emulator = shell.emulator
    with Gemma(emulator.account_id, emulator.api_token, base_url=emulator.base_url) as gemma:
        handle = gemma.batch.submit([{"messages": "hello", "external_reference": "[1,1,false]"}])
    output.with_name("out.jsonl.queue").write_text(f"{handle.to_json()}\n")
    options = ("batch", source, "-o", output, "--mode", "queue", *FAST)
    result = shell.run(*options, code=3, CLOUDFLARE_API_TOKEN="wrong")
    assert "Stopped: 401" in result.stderr
    assert output.read_text() == ""
    shell.run(*options, "--resume")
    assert read(output)[1]["text"] == "You said: hello"
    assert len([request for request in emulator.requests if "requests" in request.json]) == 1


def test_max_cost(source: Path, output: Path) -> None:
    """The run stops before it would cost more, counts what earlier runs cost, and goes on with more money."""
    write(source, [{"prompt": str(number)} for number in range(30)])
    with Emulator(Reply("x", usage=(1_000, 1_000))) as emulator:  # $0.0004 each
        shell = Shell(emulator)
        options = ("batch", source, "-o", output, "--concurrency", "1", *FAST)
        result = shell.run(*options, "--max-cost", "0.0041", code=3)
        assert "cost limit of $0.0041" in result.stderr
        assert len(read(output)) == 10
        shell.run(*options, "--max-cost", "0.0041", "--resume", code=3)
        assert len(read(output)) == len(emulator.requests) == 10
        shell.run(*options, "--max-cost", "1", "--resume")
        assert len(read(output)) == len(emulator.requests) == 30


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
    result = shell.run("doctor", "--survey", "--yes", "--output", tmp_path / "nowhere" / "report.json", code=2)
    assert "nowhere" in "".join(result.stderr.replace("│", "").split())  # a long path is broken into lines of a box
    assert shell.emulator.requests == []
