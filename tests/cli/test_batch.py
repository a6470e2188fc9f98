"""`cf-gemma batch`: files in, files out."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from cf_gemma.cli.text import dollars
from cf_gemma.model.facts import PRICE
from tests.cli.files import FAST, MODES, png, prompts, read, write

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Shell


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
    records = read(output)
    assert set(records) == {1, "m", 7, "i"}
    assert [record["error"] for record in records.values()] == [None] * 4
    assert (records[1]["text"], records[1]["reasoning"], records[1]["line"]) == ("You said: one", "Let me think.", 1)
    assert records["m"]["line"] == 2
    assert (records[7]["parsed"], records[7]["line"]) == ({"said": "three"}, 4)
    assert records["i"]["text"] == "You said: four"
    assert all(record["usage"]["total_tokens"] > 0 and record["cost"] > 0 for record in records.values())
    bodies = [request.json for request in shell.emulator.requests if "request_id" not in request.json]
    if mode == "queue":
        (submitted,) = bodies
        bodies = submitted["requests"]
    assert all(body["messages"][0]["role"] == "system" for body in bodies)
    assert all(body["messages"][0]["content"].startswith("Be brief.") for body in bodies)  # the schema follows
    sent = next(body for body in bodies if body["messages"][-1]["content"] == "two")
    assert (sent["temperature"], sent["max_tokens"]) == (0.5, 50)


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
    ('{"prompt": "a", "image": "https://x.test/a.png"}', "give the path of a file"),
    ('{"prompt": "a", "n": 2}', "n must be 1"),
    ('{"prompt": "a", "id": "good"}', "was used by an earlier line"),
]


@MODES
def test_bad_lines(shell: Shell, source: Path, output: Path, mode: str) -> None:
    """Each is named by its number and says what is wrong; the good ones go on; going on again writes none twice."""
    lines = ['{"prompt": "a", "id": "good"}', *[line for line, _ in BAD_LINES]]
    source.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    result = shell.run("batch", source, "-o", output, "--mode", mode, *FAST, code=1)
    assert f"{len(BAD_LINES)} failed" in result.stderr
    records = read(output)
    assert records.pop("good")["text"] == "You said: a"
    assert sorted(records) == list(range(2, len(BAD_LINES) + 2))
    for number, (_, message) in enumerate(BAD_LINES, 2):
        assert message in records[number]["error"]["message"], number
        assert records[number]["line"] == number
    sent = len(shell.emulator.requests)
    shell.run("batch", source, "-o", output, "--mode", mode, "--resume", *FAST, code=1)
    assert len(read(output)) == len(lines)
    assert len(shell.emulator.requests) == sent


@MODES
def test_rows_that_fail_and_their_second_chance(shell: Shell, source: Path, output: Path, mode: str) -> None:
    """A failed row has a typed error, the others don't mind, and --retry-failed runs the failed ones only."""
    write(source, [{"id": "a", "prompt": "a"}, {"id": "b", "prompt": "broken"}, {"id": "c", "prompt": "refused"}])
    result = shell.run("batch", source, "-o", output, "--mode", mode, *FAST, code=1)
    assert "2 failed" in result.stderr
    records = read(output)
    assert records["b"]["error"]["type"] == "ServerError"
    assert records["b"]["error"]["code"] == 3050
    assert records["c"]["error"]["type"] == "BadRequest"
    write(source, [{"id": "a", "prompt": "a"}, {"id": "b", "prompt": "well"}, {"id": "c", "prompt": "refused"}])
    shell.emulator.requests.clear()
    result = shell.run("batch", source, "-o", output, "--mode", mode, "--retry-failed", *FAST, code=1)
    assert "2 rows written" in result.stderr
    records = read(output)
    assert (records["b"]["error"], records["b"]["text"]) == (None, "You said: well")
    assert records["c"]["error"]["type"] == "BadRequest"
    asked = sorted(text for request in shell.emulator.requests for text in prompts(request.json))
    assert asked == ["refused", "well"]


def test_what_is_not_the_answer_that_was_wanted(shell: Shell, source: Path, output: Path, tmp_path: Path) -> None:
    """An answer that isn't JSON, and thinking that ate the room, are failures that keep what was said and paid."""
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "properties": {"said": {"type": "string"}}}')
    write(source, [{"prompt": "ok"}, {"prompt": "bad"}, {"prompt": "fenced"}, {"prompt": "misfit"}])
    shell.run("batch", source, "-o", output, "--schema", schema, *FAST, code=1)
    records = read(output)
    assert records[3]["parsed"] == {"said": "fenced"}
    assert records[4]["error"]["message"] == "the answer doesn't fit the schema: $.said: 1 is not of type 'string'"
    assert (records[4]["parsed"], records[4]["text"]) == (None, '{"said": 1}')
    asked = sorted(text for request in shell.emulator.requests for text in prompts(request.json))
    assert asked == ["bad", "bad", "fenced", "misfit", "misfit", "ok"], "what doesn't fit is asked for once more"
    assert records[4]["cost"] == pytest.approx(2 * records[4]["usage"]["neurons"] * PRICE.neurons / 1_000), (
        "both times are paid"
    )
    assert records[1]["parsed"] == {"said": "ok"}
    assert (records[2]["error"]["type"], records[2]["text"]) == ("InvalidJSON", "no JSON")
    assert records[2]["cost"] > 0
    write(source, [{"prompt": "endless"}])
    shell.run("batch", source, "-o", output, "--overwrite", "--max-tokens", "20", *FAST, code=1)
    assert read(output)[1]["error"]["type"] == "ReasoningBudgetExceeded"
    assert read(output)[1]["reasoning"].startswith("hm hm")


def test_rpm(shell: Shell, source: Path, output: Path) -> None:
    """Requests are spread over the minute, however many may be under way at once."""
    write(source, [{"prompt": str(number)} for number in range(7)])
    begin = time.monotonic()
    shell.run("batch", source, "-o", output, "--rpm", "1200")
    assert time.monotonic() - begin >= 6 * 0.05


def test_progress_without_a_terminal(shell: Shell, source: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are plain lines now and then, and a summary; the standard output stays empty."""
    monkeypatch.setattr("cf_gemma.cli.progress.PERIOD", 0.0)
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


def test_pipes(shell: Shell, tmp_path: Path) -> None:
    """`-` reads rows from the standard input, and writes answers to the standard output, where nothing else is."""
    result = shell.run("batch", "-", "-o", "-", *FAST, stdin='{"prompt": "a"}\n{"prompt": "b"}\n')
    assert sorted(json.loads(line)["text"] for line in result.stdout.splitlines()) == ["You said: a", "You said: b"]
    assert "2 rows written" in result.stderr


def test_dry_run(shell: Shell, source: Path, output: Path) -> None:
    """Rows, tokens and cost are estimated, and nothing is sent or written."""
    write(source, [{"prompt": "a"}, {"prompt": "b"}])
    result = shell.run("batch", source, "-o", output, "--dry-run", "--max-tokens", "100")
    assert "2 rows, about 20 tokens of prompts" in result.stdout
    assert "200 tokens at their longest" in result.stdout
    assert shell.emulator.requests == []
    assert not output.exists()


def test_a_template_over_columns(shell: Shell, tmp_path: Path) -> None:
    """A CSV file and a template make prompts, and a table of answers."""
    (tmp_path / "in.csv").write_text("review\ngood\n")
    shell.run("batch", tmp_path / "in.csv", "-o", tmp_path / "out.csv", "--template", "Mood: {review}", *FAST)
    assert "You said: Mood: good" in (tmp_path / "out.csv").read_text()


def test_summary_of_several_runs(shell: Shell, source: Path, output: Path) -> None:
    """What this run did, and what all runs did together, stand apart."""
    write(source, [{"prompt": "a"}, {"prompt": "broken"}])
    result = shell.run("batch", source, "-o", output, *FAST, code=1)
    assert "In all runs" not in result.stderr
    write(source, [{"prompt": "a"}, {"prompt": "broken"}, {"prompt": "c"}])
    result = shell.run("batch", source, "-o", output, "--resume", *FAST, code=1)
    assert result.stderr.startswith(f"1 rows written to {output} in ")
    assert ": 0 failed, " in result.stderr
    assert "In all runs: 3 of 3 rows, 1 failed, $0.0000" in result.stderr


@pytest.mark.parametrize(
    ("cost", "text"),
    [(0, "$0.00"), (0.0000039, "$0.0000039"), (0.00169, "$0.0017"), (0.254, "$0.25"), (1234.567, "$1,234.57")],
)
def test_dollars(cost: float, text: str) -> None:
    """Amounts have as many digits as mean something."""
    assert dollars(cost) == text
