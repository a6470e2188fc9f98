"""`cf-gemma emulator` as a program."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import httpx
import pytest

from cf_gemma.model.facts import MODEL

COMMAND = [sys.executable, "-W", "error", "-c", "from cf_gemma.cli import main; main()", "emulator"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serves_until_it_is_told_to_stop(number: signal.Signals) -> None:
    """It prints where it is and what to set, answers as its options say, and ends cleanly on Ctrl-C or SIGTERM."""
    options = [
        "--engine",
        "scripted",
        "--port",
        "0",
        "--reply",
        "Hello!",
        "--dialect",
        "S",
        "--token",
        "tok",
        "--rpm",
        "1",
        "--log",
    ]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*COMMAND, *options], env=environment, **piped) as program:  # noqa: S603 - our own command
        assert program.stdout
        assert program.stderr
        greeting = "".join(iter(program.stdout.readline, "Ctrl-C stops it.\n"))
        settings = dict(re.findall(r"export (\w+)=(\S+)", greeting))
        response, refused = (
            httpx.post(
                f"{settings['CLOUDFLARE_BASE_URL']}/accounts/{settings['CLOUDFLARE_ACCOUNT_ID']}/ai/run/{MODEL}",
                json={"prompt": "Hi"},
                headers={"authorization": f"Bearer {settings['CLOUDFLARE_API_TOKEN']}"},
                trust_env=False,
            )
            for _ in range(2)
        )
        program.send_signal(number)
        assert program.wait(10) == 0
        assert program.stderr.read() == ""
        output = program.stdout.read()
    assert "What answers is scripted" in greeting
    assert settings["CLOUDFLARE_API_TOKEN"] == "tok"
    assert response.json()["result"]["choices"][0]["message"]["content"] == "Hello!"
    assert refused.status_code == 429
    words = " ".join(output.split())  # a line comes behind its answer, perhaps behind the end, and may be wrapped
    assert re.search(rf"\d\d:\d\d:\d\d /ai/run/{MODEL} [1-9]\d* \+ [1-9]\d* tokens \d\.\d\d s", words)
    assert re.search(r" 0 \+ 0 tokens \d\.\d\d s 429 \w", words)
    assert "Stopping." in output.splitlines()


def test_bad_model() -> None:
    """A model that can't be loaded is one line and exit code 1, not a traceback."""
    command = [*COMMAND, "--model", "/nowhere.gguf"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)  # noqa: S603 - our own
    assert ran.returncode == 1
    assert ran.stderr == "cf-gemma emulator: model: can't read /nowhere.gguf: No such file or directory\n"
