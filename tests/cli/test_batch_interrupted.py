"""`cf-gemma batch`, killed, stopped, or out of room: nothing is lost, nothing is paid twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from cf_gemma.emulator import Emulator, Reply
from tests.cli.conftest import Shell
from tests.cli.files import prompts, read, wait_for, write

if TYPE_CHECKING:
    from pathlib import Path


def test_killed_and_resumed(shell: Shell, source: Path, output: Path) -> None:
    """After kill -9 nothing is lost, nothing that was written is asked again, and every id is there once."""
    rows, concurrency = 300, 4
    write(source, [{"id": f"row {number}", "prompt": str(number)} for number in range(rows)])
    options = ("batch", source, "-o", output, "--concurrency", str(concurrency), "--rpm", "0")
    with shell.start(*options) as program:
        wait_for(output, 60)
        program.send_signal(signal.SIGKILL)
    before = output.read_bytes()
    assert before.endswith(b"\n")
    assert before.count(b"\n") < rows
    with output.open("ab") as file:
        file.write(b'{"id": "row 299", "li')  # what a crash of the machine may leave
    shell.run(*options, "--resume")
    assert output.read_bytes().startswith(before)
    assert set(read(output)) == {f"row {number}" for number in range(rows)}
    asked = Counter(text for request in shell.emulator.requests for text in prompts(request.json))
    assert set(asked) == {str(number) for number in range(rows)}
    assert sum(asked.values()) - rows <= concurrency


CHUNK = 20
KILLED = """\
import os, signal, sys
from cf_gemma.queue.batch import AsyncBatch
from cf_gemma.cli import main
from cf_gemma.bulk import queued
from cf_gemma.bulk.output import Output
from cf_gemma.queue.flow import PollPolicy

AsyncBatch.policy = PollPolicy(first=0.01, longest=0.05)
queued.CHUNK_ROWS = {chunk}
write = Output.append

def append(output, record):
    write(output, record)
    if output._tally.done == {line}:
        os.kill(os.getpid(), signal.SIGKILL)

Output.append = append
main()
"""
"""The command, with small chunks, which kills itself as soon as it has written so many lines."""


@pytest.mark.parametrize("line", [CHUNK, 2 * CHUNK + 7], ids=["between chunks", "within a chunk"])
def test_killed_and_resumed_with_the_queue(
    shell: Shell, source: Path, output: Path, line: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while a chunk's answers are written, the rest of them is collected, and nothing is paid for twice."""
    monkeypatch.setattr("cf_gemma.bulk.queued.CHUNK_ROWS", CHUNK)
    rows, receipts = 5 * CHUNK, output.with_name("out.jsonl.queue")
    write(source, [{"id": f"row {number}", "prompt": str(number)} for number in range(rows)])
    options = ("batch", source, "-o", output, "--mode", "queue", "--concurrency", "1")
    command = [sys.executable, "-W", "error", "-c", KILLED.format(chunk=CHUNK, line=line)]
    with shell.start(*options, command=command) as program:
        _, stderr = program.communicate(timeout=20)
    assert program.returncode == -signal.SIGKILL, stderr
    before = output.read_bytes()
    assert before.count(b"\n") == line
    assert len(receipts.read_bytes().splitlines()) == -(-line // CHUNK)
    shell.run(*options, "--resume")
    assert output.read_bytes().startswith(before)
    assert set(read(output)) == {f"row {number}" for number in range(rows)}
    assert not receipts.exists()
    asked = Counter(text for request in shell.emulator.requests for text in prompts(request.json))
    assert asked == Counter(str(number) for number in range(rows))


def test_ctrl_c(source: Path, output: Path) -> None:
    """The first Ctrl-C writes what is under way, and ends with 130."""
    write(source, [{"prompt": str(number)} for number in range(300)])
    with Emulator(Reply("a", delay=0.1)) as emulator:
        shell = Shell(emulator)
        with shell.start("batch", source, "-o", output, "--concurrency", "4", "--rpm", "0") as program:
            wait_for(output, 4)
            program.send_signal(signal.SIGINT)
            assert program.wait(10) == 130
            assert program.stderr
            stderr = program.stderr.read()
        assert "Stopped: by a signal. --resume goes on from here." in stderr
        assert "Traceback" not in stderr
        assert len(read(output)) == len(emulator.requests) < 300


def test_a_full_disk(shell: Shell, source: Path, output: Path) -> None:
    """What doesn't fit any more isn't written in half; the run says why it stopped, and can go on."""
    write(source, [{"prompt": str(number)} for number in range(40)])
    options = ("batch", source, "-o", output, "--concurrency", "2", "--rpm", "0")
    limited = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000)); " + (
        "sys.argv = ['cf-gemma', *sys.argv[1:]]; runpy.run_module('cf_gemma', run_name='__main__')"
    )
    environment = {**os.environ, **shell.environment}
    command = [sys.executable, "-c", limited, *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)  # noqa: S603 - our own
    assert done.returncode == 3, done.stderr
    assert "can't be written: File too large" in done.stderr
    written = len(read(output))
    assert 0 < written < 40
    shell.run(*options, "--resume")
    assert len(read(output)) == 40


def test_output_is_appended_in_one_go(tmp_path: Path) -> None:
    """Half a surrogate pair doesn't keep a line from being written."""
    from cf_gemma.bulk.output import write_line

    file = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    write_line(file, {"text": "\ud800é"})
    os.close(file)
    assert json.loads((tmp_path / "out").read_bytes().decode()) == {"text": "\ud800é"}
