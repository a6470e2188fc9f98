"""`cf-gemma doctor`, against an emulator."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from cf_gemma.cli.app import app
from cf_gemma.cli.doctor import _mark
from cf_gemma.cli.doctor.probes import PROBES
from cf_gemma.emulator import CUT, Emulator, Fault, ScriptedEngine
from cf_gemma.model.facts import MODEL
from cf_gemma.queue.flow import PollPolicy
from tests.recorded import oracle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ACCOUNT, TOKEN = "a1b2c3d4" * 4, "canary-token-5d1f"
REPORT = Path("report.json")
SURVEY = ("--survey", "--yes", "--output", str(REPORT))
EXAMINED = len([probe for probe in PROBES if probe.steps])


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports land in a directory of their own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def doctor() -> Iterator[Callable[..., tuple[Result, Emulator]]]:
    """Runs the command against an emulator that answers as it is told."""
    emulators: list[Emulator] = []

    def run(answer: Any, *options: str, typed: str = "", token: str = TOKEN) -> tuple[Result, Emulator]:
        emulators.append(Emulator(answer, account_id=ACCOUNT, api_token=TOKEN, queue_polls=0))
        where = ["--account", ACCOUNT, "--token", token, "--base-url", emulators[-1].base_url]
        result = CliRunner().invoke(app, ["doctor", *where, *options], input=typed, env={"COLUMNS": "200"})
        return result, emulators[-1]

    yield run
    for emulator in emulators:
        emulator.close()


def test_three_checks(doctor: Callable[..., tuple[Result, Emulator]]) -> None:
    """By default there are three checks and no more requests, nothing is asked, and no report is written."""
    result, emulator = doctor(oracle.answer)
    assert result.exit_code == 0, result.output
    first, second, third, warning = result.stdout.splitlines()
    assert first == "✓ Token: active"
    assert second == f"✓ Model: {MODEL}"
    assert third.startswith("✓ Streamed answer: first byte after 0.")
    assert warning.startswith("An emulator answered")
    assert len(emulator.requests) == 3
    assert list(Path().iterdir()) == []


def test_marks_without_unicode() -> None:
    """Where the terminal has no such characters, words stand for the marks."""
    console = Console(file=io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert [_mark(console, passed=passed) for passed in (True, False)] == ["ok  ", "FAIL"]


def test_every_question(doctor: Callable[..., tuple[Result, Emulator]], tmp_path: Path) -> None:
    """Everything goes well with the emulator, each of the 22 questions has its finding, and no credential is told."""
    result, emulator = doctor(oracle.answer, *SURVEY)
    assert result.exit_code == 0, result.output
    assert f"The report is in {tmp_path}/{REPORT}." in result.output
    text = REPORT.read_text("utf-8")
    report = json.loads(text)
    assert report["emulated"] is True
    assert [check["passed"] for check in report["checks"]] == [True, True, True]
    assert {number for probe in report["probes"] for number in probe["questions"]} == set(range(1, 23))
    assert all(probe["observation"] and probe["problem"] is None for probe in report["probes"])
    assert not any(secret in text + result.output for secret in (ACCOUNT, TOKEN))
    assert "REDACTED" in text
    assert "An emulator answered" in result.output
    assert report["cost_usd"] > 0
    assert len(emulator.requests) > EXAMINED


def test_batch_is_seen(doctor: Callable[..., tuple[Result, Emulator]]) -> None:
    """The probe of the queue brings an item that succeeded, one that failed, and an unknown id's refusal."""
    doctor(oracle.answer, *SURVEY)
    probes = json.loads(REPORT.read_text("utf-8"))["probes"]
    seen = next(probe["observation"] for probe in probes if 6 in probe["questions"])
    assert "good: success True" in seen
    assert "bad: success False" in seen
    assert "unknown id: 404" in seen


def test_asks_before_it_pays(doctor: Callable[..., tuple[Result, Emulator]]) -> None:
    """The cost comes first, and who says no sends nothing."""
    result, emulator = doctor(oracle.answer, "--survey", "--output", str(REPORT), typed="n\n")
    assert result.exit_code == 1
    assert "$0.00" in result.output
    assert emulator.requests == []
    assert not REPORT.exists()


def test_yes_by_hand(doctor: Callable[..., tuple[Result, Emulator]]) -> None:
    """Who says yes gets the findings, in the place of an earlier report's."""
    REPORT.write_text('{"cf_gemma": "0.1", "checks": [], "probes": [], "of an older version": 1}')
    result, _ = doctor(oracle.answer, "--survey", "--output", str(REPORT), typed="y\n")
    assert result.exit_code == 0
    assert "Streamed tool calls" in result.output
    assert json.loads(REPORT.read_text("utf-8"))["probes"]


@pytest.mark.parametrize("text", ["", "{}", "[" * 100_000, '{"cf_gemma": "my notes"}', "[1]"])
def test_another_file_is_left_alone(doctor: Callable[..., tuple[Result, Emulator]], text: str) -> None:
    """What isn't a report isn't replaced by one; that is refused before anything is sent."""
    REPORT.write_text(text)
    result, emulator = doctor(oracle.answer, "--output", str(REPORT))
    assert result.exit_code == 2
    assert "pass another name" in " ".join(result.stderr.replace("│", " ").split())
    assert REPORT.read_text() == text
    assert emulator.requests == []


def test_local(monkeypatch: pytest.MonkeyPatch) -> None:
    """--local starts an emulator with a local model for the run, needs no account, and asks nothing: it is free."""
    monkeypatch.setattr("cf_gemma.emulator.LlamaEngine", lambda: ScriptedEngine(oracle.answer))
    monkeypatch.setattr("cf_gemma.queue.batch.Batch.policy", PollPolicy(first=0.01))
    result = CliRunner().invoke(app, ["doctor", "--local", *SURVEY])
    assert result.exit_code == 0, result.output
    assert "An emulator answered" in result.output
    assert json.loads(REPORT.read_text("utf-8"))["emulated"] is True


def test_local_and_an_account() -> None:
    """Whose account is to be examined would be anybody's guess."""
    result = CliRunner().invoke(app, ["doctor", "--local", "--account", ACCOUNT], env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert "--local starts an emulator of its own" in result.stderr


def test_wrong_token(doctor: Callable[..., tuple[Result, Emulator]]) -> None:
    """A refused token is reported, and the survey sends nothing that would be refused all the same."""
    result, emulator = doctor(oracle.answer, *SURVEY, token="another")
    assert result.exit_code == 1
    assert "✗ Token: 401 code 10000" in result.output
    assert "✗ Streamed answer: 401" in result.output
    assert len(emulator.requests) == 4


def test_no_room(doctor: Callable[..., tuple[Result, Emulator]]) -> None:
    """A refusal that the client has a class for is no trouble, and is told with its Retry-After."""

    def busy(body: dict[str, Any]) -> Any:
        return Fault(429, 3040, retry_after=7) if body.get("options") else oracle.answer(body)

    result, _ = doctor(busy, *SURVEY)
    assert result.exit_code == 0, result.output
    assert "Retry-After 7" in " ".join(result.output.split())


def test_trouble(doctor: Callable[..., tuple[Result, Emulator]]) -> None:
    """What the client doesn't cope with is told in words, the others are examined all the same, and it exits with 1."""

    def lost(body: dict[str, Any]) -> Any:
        return CUT if body.get("options") else oracle.answer(body)

    result, _ = doctor(lost, *SURVEY)
    assert result.exit_code == 1
    assert "NO: ConnectionFailed" in result.output
    assert "Back-ends that answered" in result.output


def test_without_credentials() -> None:
    """It says what is missing, and where one gets it."""
    result = CliRunner().invoke(app, ["doctor", *SURVEY])
    assert result.exit_code == 1
    assert "CLOUDFLARE_ACCOUNT_ID (32 hexadecimal digits" in result.output
    assert "CLOUDFLARE_API_TOKEN" in result.output


def test_nobody_there() -> None:
    """A base URL where nothing listens is told, without a traceback."""
    with Emulator("Hello!") as emulator:
        url = emulator.base_url
    result = CliRunner().invoke(app, ["doctor", "--account", ACCOUNT, "--token", TOKEN, "--base-url", url])
    assert result.exit_code == 1
    assert "✗ Token: no answer came" in result.output
