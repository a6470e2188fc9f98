"""The `cf-gemma` command, within this process or as a program of its own, against an emulator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from cf_gemma.cli.app import app
from cf_gemma.emulator import Emulator, Fault, Reply
from cf_gemma.queue.flow import PollPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from click.testing import Result

COMMAND = [sys.executable, "-W", "error", "-m", "cf_gemma"]


def reply(body: dict[str, Any]) -> Reply | Fault:
    """Echoes what was said last, after a thought; some words bring trouble, and a schema an object."""
    content = body["messages"][-1]["content"]
    text: str = content if isinstance(content, str) else content[-1]["text"]
    if text == "broken":
        return Fault.of(3050)
    if text == "quota":
        return Fault.of(4006)
    if text == "refused":
        return Fault.of(8001)
    if text == "endless":
        return Reply("", reasoning=" ".join(["hm"] * 50))
    if "response_format" in body:
        answers = {"bad": "no JSON", "fenced": '```json\n{"said": "fenced"}\n```', "misfit": '{"said": 1}'}
        return Reply(answers.get(text, json.dumps({"said": text})))
    return Reply(f"You said: {text}", reasoning="Let me think.")


class Shell:
    """Runs commands; what they ask the model is in `emulator.requests`."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.environment = {
            "CLOUDFLARE_ACCOUNT_ID": emulator.account_id,
            "CLOUDFLARE_API_TOKEN": emulator.api_token,
            "CLOUDFLARE_BASE_URL": emulator.base_url,
        }

    def run(self, *arguments: str | Path, stdin: str | None = None, code: int = 0, **environment: str) -> Result:
        """Runs a command here; it must end with this code."""
        result = CliRunner().invoke(app, [str(a) for a in arguments], input=stdin, env=self.environment | environment)
        assert result.exit_code == code, (result.output, result.stderr, result.exception)
        return result

    def start(
        self,
        *arguments: str | Path,
        command: Sequence[str] = COMMAND,
        looks: Mapping[str, str] | None = None,
        **options: Any,
    ) -> subprocess.Popen[str]:
        """Starts a command as a program; `looks` is what its environment says of the terminal."""
        environment = {**os.environ, **self.environment, "PYTHONUNBUFFERED": "1", **(looks or {})}
        piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([*command, *arguments], env=environment, **(piped | options))  # noqa: S603 - our own


@pytest.fixture
def shell() -> Iterator[Shell]:
    """A shell whose service is an emulator that echoes."""
    with Emulator(reply) as emulator:
        yield Shell(emulator)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queues are asked every few milliseconds."""
    monkeypatch.setattr("cf_gemma.queue.batch.AsyncBatch.policy", PollPolicy(first=0.01, longest=0.05))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Where the input is."""
    return tmp_path / "in.jsonl"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Where the output is to be."""
    return tmp_path / "out.jsonl"
