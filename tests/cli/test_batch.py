"""`cf-gemma batch`: files in, files out, whatever happens in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cf_gemma.cli.schema import problems
from cf_gemma.emulator import Emulator, Reply
from cf_gemma.queue_flow import PollPolicy
from tests.cli.conftest import Shell

if TYPE_CHECKING:
    from collections.abc import Iterable

FAST = ("--rpm", "0", "--retries", "0")
MODES = pytest.mark.parametrize("mode", ["live", "queue"])


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queues are asked every few milliseconds."""
    monkeypatch.setattr("cf_gemma.batch.AsyncBatch.policy", PollPolicy(first=0.01, longest=0.05))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Where the input is."""
    return tmp_path / "in.jsonl"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Where the output is to be."""
    return tmp_path / "out.jsonl"


def write(path: Path, rows: Iterable[dict[str, Any] | str]) -> None:
    """Rows, as they are or as JSON."""
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))


def read(path: Path) -> dict[Any, dict[str, Any]]:
    """An output's records by id, or by line where there is none. Every line is whole, and no id comes twice."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert path.read_bytes().endswith(b"\n")
    ids = Counter(json.dumps(record["line"] if record["id"] is None else record["id"]) for record in records)
    assert set(ids.values()) <= {1}
    return {record["line"] if record["id"] is None else record["id"]: record for record in records}


@MODES
def test_a_line_in_a_line_out(shell: Shell, source: Path, output: Path, mode: str) -> None:
    """Prompts, messages, options, schemas and images each bring an answer with its usage and cost."""
    (source.parent / "red.png").write_bytes(png(16))
    schema = {"type": "object", "properties": {"said": {"type": "string"}}}
    write(
        source,
        [
            {"prompt": "one"},
            {"id": "m", "messages": [{"role": "user", "content": "two"}], "temperature": 0.5, "max_tokens": 50},
            "",
            {"id": 7, "prompt": "three", "schema": schema},
            {"id": "i", "prompt": "four", "image": "red.png"},
        ],
    )
    shell.run("batch", source, "-o", output, "--mode", mode, "--system", "Be brief.", *FAST)
    found = read(output)
    assert set(found) == {1, "m", 7, "i"}
    assert [record["error"] for record in found.values()] == [None] * 4
    assert (found[1]["text"], found[1]["reasoning"], found[1]["line"]) == ("You said: one", "Let me think.", 1)
    assert found["m"]["line"] == 2
    assert (found[7]["parsed"], found[7]["line"]) == ({"said": "three"}, 4)
    assert found["i"]["text"] == "You said: four"
    assert all(record["usage"]["total_tokens"] > 0 and record["cost"] > 0 for record in found.values())
    bodies = [request.json for request in shell.emulator.requests if "request_id" not in request.json]
    if mode == "queue":
        (submitted,) = bodies
        bodies = submitted["requests"]
    assert all(body["messages"][0] == {"role": "system", "content": "Be brief."} for body in bodies)
    sent = next(body for body in bodies if body["messages"][-1]["content"] == "two")
    assert (sent["temperature"], sent["max_tokens"]) == (0.5, 50)


def png(side: int) -> bytes:
    """The beginning of a PNG, which is all that anyone here looks at."""
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + side.to_bytes(4, "big") * 2


BAD_LINES: list[tuple[str, str]] = [
    ("not json", "not JSON"),
    ("\udcff", "not JSON"),
    ("[1]", "not a JSON object"),
    ("[" * 100_000, "not JSON"),
    ("{}", "a row needs a prompt or messages"),
    ('{"prompt": "a", "messages": []}', "not both"),
    ('{"prompt": ""}', "not empty"),
    ('{"messages": "a"}', "messages must be a list"),
    ('{"messages": ["a"]}', "messages"),
    ('{"prompt": "a", "id": 1.5}', "id must be"),
    ('{"prompt": "a", "temprature": 1}', "did you mean temperature"),
    ('{"prompt": "a", "temperature": 9}', "temperature must be"),
    ('{"prompt": "a", "self": 1}', "self is not a parameter"),
    ('{"prompt": "a", "schema": {"type": "strin"}}', "schema is not a JSON Schema"),
    ('{"prompt": "a", "image": "nowhere.png"}', "nowhere.png can't be read"),
    ('{"prompt": "a", "image": 3}', "image must be the path"),
    ('{"prompt": "a", "id": "good"}', "was used by an earlier line"),
]


@MODES
def test_bad_lines(shell: Shell, source: Path, output: Path, mode: str) -> None:
    """Each is named by its number and says what is wrong; the good ones go on; going on again writes none twice."""
    lines = ['{"prompt": "a", "id": "good"}', *[line for line, _ in BAD_LINES]]
    source.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    result = shell.run("batch", source, "-o", output, "--mode", mode, *FAST, code=1)
    assert f"{len(BAD_LINES)} failed" in result.stderr
    found = read(output)
    assert found.pop("good")["text"] == "You said: a"
    assert sorted(found) == list(range(2, len(BAD_LINES) + 2))
    for number, (_, told) in enumerate(BAD_LINES, 2):
        assert told in found[number]["error"]["message"], number
        assert found[number]["line"] == number
    sent = len(shell.emulator.requests)
    shell.run("batch", source, "-o", output, "--mode", mode, "--resume", *FAST, code=1)
    assert len(read(output)) == len(lines)
    assert len(shell.emulator.requests) == sent


def test_strict(shell: Shell, source: Path, output: Path) -> None:
    """One bad line stops everything before anything is sent, and is named."""
    write(source, [{"prompt": "a"}, {"prompt": "b", "temperature": 9}])
    result = shell.run("batch", source, "-o", output, "--strict", *FAST, code=2)
    assert "line 2: temperature must be" in result.stderr
    assert shell.emulator.requests == []
    assert not output.exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
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
        (["in.jsonl", "-o", "new.jsonl", "--schema", "in.jsonl"], "says nothing of a value"),
        (["in.jsonl", "-o", "new.jsonl", "--schema", "there.jsonl"], "can't be read"),
        (["in.jsonl", "-o", "new.jsonl", "--temperature", "9"], "temperature"),
        (["in.jsonl", "-o", "new.jsonl", "--model", "../x"], "model"),
    ],
)
def test_refused_before_any_request(
    shell: Shell, tmp_path: Path, arguments: list[str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What can't work is said at once, with exit code 2, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    write(Path("in.jsonl"), [{"prompt": "a"}])
    write(Path("other.jsonl"), [{"prompt": "a"}])
    Path("there.jsonl").write_text("")
    result = shell.run("batch", *arguments, code=2, COLUMNS="300")
    assert told in " ".join(result.stderr.replace("│", " ").split())
    assert shell.emulator.requests == []
    assert Path("in.jsonl").read_text() == '{"prompt": "a"}\n'


def test_settings_are_refused_before_any_request(shell: Shell, source: Path, output: Path) -> None:
    """Without an account there is one line that says what to set."""
    write(source, [{"prompt": "a"}])
    result = shell.run("batch", source, "-o", output, code=2, CLOUDFLARE_ACCOUNT_ID="")
    assert result.stderr == "cf-gemma batch: account_id is missing: pass account_id, or set CLOUDFLARE_ACCOUNT_ID\n"


@MODES
def test_rows_that_fail_and_their_second_chance(shell: Shell, source: Path, output: Path, mode: str) -> None:
    """A failed row has a typed error, the others don't mind, and --retry-failed runs the failed ones only."""
    write(source, [{"id": "a", "prompt": "a"}, {"id": "b", "prompt": "busy"}, {"id": "c", "prompt": "refused"}])
    result = shell.run("batch", source, "-o", output, "--mode", mode, *FAST, code=1)
    assert "2 failed" in result.stderr
    found = read(output)
    assert found["b"]["error"]["type"] == "CapacityExceeded"
    assert found["b"]["error"]["code"] == 3040
    assert found["c"]["error"]["type"] == "BadRequest"
    write(source, [{"id": "a", "prompt": "a"}, {"id": "b", "prompt": "well"}, {"id": "c", "prompt": "refused"}])
    shell.emulator.requests.clear()
    result = shell.run("batch", source, "-o", output, "--mode", mode, "--retry-failed", *FAST, code=1)
    assert "2 rows written" in result.stderr
    found = read(output)
    assert (found["b"]["error"], found["b"]["text"]) == (None, "You said: well")
    assert found["c"]["error"]["type"] == "BadRequest"
    assert len(shell.emulator.requests) == 2 if mode == "live" else True


@MODES
def test_trouble_that_every_row_would_meet(shell: Shell, source: Path, output: Path, mode: str) -> None:
    """A wrong token stops the run with code 3; nothing is written that would have to be repeated."""
    write(source, [{"prompt": str(number)} for number in range(50)])
    result = shell.run(
        "batch", source, "-o", output, "--mode", mode, "--concurrency", "2", *FAST, code=3, CLOUDFLARE_API_TOKEN="wrong"
    )
    assert "401" in result.stderr
    assert "--resume" in result.stderr
    assert output.read_text() == ""
    assert len(shell.emulator.requests) <= 2
    shell.run("batch", source, "-o", output, "--mode", mode, "--resume", *FAST)
    assert len(read(output)) == 50


def test_what_is_not_the_answer_that_was_wanted(shell: Shell, source: Path, output: Path, tmp_path: Path) -> None:
    """An answer that isn't JSON, and thinking that ate the room, are failures that keep what was said and paid."""
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "properties": {"said": {"type": "string"}}}')
    write(source, [{"prompt": "ok"}, {"prompt": "bad"}])
    shell.run("batch", source, "-o", output, "--schema", schema, *FAST, code=1)
    found = read(output)
    assert found[1]["parsed"] == {"said": "ok"}
    assert (found[2]["error"]["type"], found[2]["text"]) == ("InvalidJSON", "no JSON")
    assert found[2]["cost"] > 0
    write(source, [{"prompt": "endless"}])
    shell.run("batch", source, "-o", output, "--overwrite", "--max-tokens", "20", *FAST, code=1)
    assert read(output)[1]["error"]["type"] == "ReasoningBudgetExceeded"
    assert read(output)[1]["reasoning"].startswith("hm hm")


def test_max_cost(source: Path, output: Path) -> None:
    """The run stops before it would cost more, counts what earlier runs cost, and goes on with more money."""
    write(source, [{"prompt": str(number)} for number in range(30)])
    with Emulator(Reply("x", usage=(1_000, 1_000))) as emulator:  # $0.0004 each
        shell = Shell(emulator)
        options = ("batch", source, "-o", output, "--concurrency", "1", *FAST)
        result = shell.run(*options, "--max-cost", "0.0041", code=3)
        assert "--max-cost 0.0041" in result.stderr
        assert len(read(output)) == 10
        shell.run(*options, "--max-cost", "0.0041", "--resume", code=3)
        assert len(read(output)) == len(emulator.requests) == 10
        shell.run(*options, "--max-cost", "1", "--resume")
        assert len(read(output)) == len(emulator.requests) == 30


def test_rpm(shell: Shell, source: Path, output: Path) -> None:
    """Requests are spread over the minute, however many may be under way at once."""
    write(source, [{"prompt": str(number)} for number in range(7)])
    begin = time.monotonic()
    shell.run("batch", source, "-o", output, "--rpm", "1200")
    assert time.monotonic() - begin >= 6 * 0.05


@MODES
def test_killed_and_resumed(shell: Shell, source: Path, output: Path, mode: str) -> None:
    """After kill -9 nothing is lost, nothing that was written is asked again, and every id is there once."""
    rows, concurrency = 300, 4
    write(source, [{"id": f"row {number}", "prompt": str(number)} for number in range(rows)])
    options = ("batch", source, "-o", output, "--mode", mode, "--concurrency", str(concurrency), "--rpm", "0")
    with shell.start(*options) as program:
        wait_for(output if mode == "live" else output.with_name("out.jsonl.queue"), 60 if mode == "live" else 1)
        program.send_signal(signal.SIGKILL)
    before = output.read_bytes()
    assert before.endswith(b"\n") or not before
    assert before.count(b"\n") < rows
    with output.open("ab") as file:
        file.write(b'{"id": "row 299", "li')  # what a crash of the machine may leave
    shell.run(*options, "--resume")
    assert output.read_bytes().startswith(before)
    assert set(read(output)) == {f"row {number}" for number in range(rows)}
    assert not output.with_name("out.jsonl.queue").exists()
    asked = Counter(text for request in shell.emulator.requests for text in prompts(request.json))
    assert set(asked) == {str(number) for number in range(rows)}
    assert sum(asked.values()) - rows <= (concurrency if mode == "live" else 0)


def wait_for(path: Path, lines: int) -> None:
    """Until a file has so many lines."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if path.exists() and path.read_bytes().count(b"\n") >= lines:
            return
        time.sleep(0.002)
    raise AssertionError(f"{path} didn't get {lines} lines")


def prompts(body: dict[str, Any]) -> list[str]:
    """What a request asks, of either kind."""
    return [one["messages"][-1]["content"] for one in body.get("requests", [body]) if "messages" in one]


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
            told = program.stderr.read()
        assert "Stopped: by a signal. --resume goes on from here." in told
        assert "Traceback" not in told
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


def test_progress_without_a_terminal(shell: Shell, source: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are plain lines now and then, and a summary; the standard output stays empty."""
    monkeypatch.setattr("cf_gemma.cli.batch.display.PERIOD", 0.0)
    write(source, [{"prompt": str(number)} for number in range(20)])
    result = shell.run("batch", source, "-o", output, "--rpm", "6000")
    lines = result.stderr.splitlines()
    assert lines[0].startswith("0 of 20 rows")
    assert lines[-1].startswith(f"20 rows written to {output} in ")
    assert "0 failed" in lines[-1]
    assert "\x1b" not in result.stderr
    assert result.stdout == ""


def test_local(source: Path, output: Path, shell: Shell) -> None:
    """--echo answers by itself, without account and network."""
    write(source, [{"prompt": "hello"}])
    nothing = dict.fromkeys(shell.environment, "")
    result = shell.run("batch", source, "-o", output, "--echo", **nothing)
    assert read(output)[1]["text"] == "You said: hello"
    assert "a local stand-in for Gemma 4" in result.stderr
    assert shell.emulator.requests == []


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}, None),
        ({"anyOf": [{"type": "string"}, {"type": ["null", "integer"]}]}, None),
        ({"type": "array", "items": {"$ref": "#/$defs/x"}, "$defs": {"x": {"enum": [1]}}}, None),
        ({"type": "object", "additionalProperties": False, "properties": {"a": True}}, None),
        ([], "/ must be an object"),
        ({"prompt": "a"}, "says nothing of a value"),
        ({"type": "strin"}, "/type must be one of"),
        ({"type": "object", "properties": []}, "/properties must be an object"),
        ({"type": "object", "properties": {"a": {"type": "text"}}}, "/properties/a/type must be one of"),
        ({"type": "object", "properties": {"a": "string"}}, "/properties/a/ must be an object"),
        ({"type": "object", "required": "a"}, "/required must be a list"),
        ({"type": "array", "items": {"type": 3}}, "/items/type must be one of"),
        ({"anyOf": {"type": "string"}}, "/anyOf must be a list"),
    ],
)
def test_schemas(schema: Any, told: str | None) -> None:
    """What isn't a JSON Schema is told from what is, with the place."""
    problem = next(problems(schema), None)
    assert problem is None if told is None else told in (problem or "")


def test_output_is_appended_in_one_go(tmp_path: Path) -> None:
    """Half a surrogate pair doesn't keep a line from being written."""
    from cf_gemma.cli.batch.output import write_line

    file = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    write_line(file, {"text": "\ud800é"})
    os.close(file)
    assert json.loads((tmp_path / "out").read_bytes().decode()) == {"text": "\ud800é"}
