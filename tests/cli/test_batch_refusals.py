"""What `cf-gemma batch` refuses before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.files import FAST, write

if TYPE_CHECKING:
    from tests.cli.conftest import Shell


def test_strict(shell: Shell, source: Path, output: Path) -> None:
    """One bad line stops everything before anything is sent, and is named."""
    write(source, [{"prompt": "a"}, {"prompt": "b", "temperature": 9}])
    result = shell.run("batch", source, "-o", output, "--strict", *FAST, code=2)
    assert "line 2: temperature must be" in result.stderr
    assert shell.emulator.requests == []
    assert not output.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.jsonl", "-o", "new.jsonl"], "does not exist"),
        (["in.jsonl", "-o", "there.jsonl"], "--resume"),
        (["in.jsonl", "-o", "new.jsonl", "--retry-failed"], "earlier run"),
        (["in.jsonl", "-o", "there.jsonl", "--resume", "--overwrite"], "exclude each other"),
        (["in.jsonl", "-o", "nofolder/new.jsonl"], "can't be written"),
        (["in.jsonl", "-o", "other.jsonl", "--resume"], "not an output of this command"),
        (["in.jsonl", "-o", "in.jsonl", "--overwrite"], "another one than the input"),
        (["in.jsonl", "-o", "/dev/null", "--overwrite"], "must be a file"),
        (["/dev/null", "-o", "new.jsonl"], "must be a file"),
        (["in.jsonl", "-o", "new.jsonl", "--schema", "nowhere.json"], "can't be read"),
        (["in.jsonl", "-o", "new.jsonl", "--schema", "in.jsonl"], "it has none of type, properties"),
        (["in.jsonl", "-o", "new.jsonl", "--schema", "there.jsonl"], "can't be read"),
        (["in.jsonl", "-o", "new.jsonl", "--temperature", "9"], "temperature"),
        (["in.jsonl", "-o", "new.jsonl", "--model", "../x"], "model"),
    ],
)
def test_refused_before_any_request(
    shell: Shell, tmp_path: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can't work is said at once, with exit code 2, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    write(Path("in.jsonl"), [{"prompt": "a"}])
    write(Path("other.jsonl"), [{"prompt": "a"}])
    Path("there.jsonl").write_text("")
    result = shell.run("batch", *arguments, code=2, COLUMNS="300")
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert shell.emulator.requests == []
    assert Path("in.jsonl").read_text() == '{"prompt": "a"}\n'


def test_one_writer_at_a_time(source: Path, output: Path, shell: Shell) -> None:
    """A second process is refused while the first one writes: it would pay for the same rows."""
    import fcntl

    write(source, [{"prompt": "a"}])
    output.write_text("")
    with output.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        result = shell.run("batch", source, "-o", output, "--resume", code=2, COLUMNS="300")
    assert "another process" in result.stderr
    shell.run("batch", source, "-o", output, "--resume", *FAST)
