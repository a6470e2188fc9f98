"""Servers of one's own, with Gemma's parsers and template: vLLM with a model, SGLang's code above an engine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx

from cf_gemma.model.facts import MODEL
from tests.servers.model import numbers, write

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tokenizers import Tokenizer

WINDOW: Final = 8_192
"""Tokens."""
_PATIENCE: Final = 300.0
"""Seconds in which it must be ready."""
_OPTIONS: Final = (
    *("--served-model-name", MODEL, "--load-format", "dummy", "--dtype", "float32", "--enforce-eager"),
    *("--max-model-len", str(WINDOW), "--host", "127.0.0.1"),
    *("--logits-processors", "scripted_words:ScriptedWords"),
    *("--reasoning-parser", "gemma4", "--tool-call-parser", "gemma4", "--enable-auto-tool-choice"),
)
_INSIDE: Final = Path(__file__).parent / "inside"
"""What runs in the servers' environment."""
_ENVIRONMENT: Final = {
    **{"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "OMP_NUM_THREADS": "1"},
    **{"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"},
}


class Server:
    """One that runs."""

    def __init__(self, url: str, script: Path, tokenizer: Tokenizer) -> None:
        self.url = url
        """The API's root."""
        self._script = script
        self._tokenizer = tokenizer

    def say(self, answers: Iterable[str]) -> None:
        """The words of the answers to come; the last ones are said again and again."""
        written = self._script.with_suffix(".new")
        written.write_text(json.dumps(numbers(self._tokenizer, answers)), encoding="utf-8")
        written.replace(self._script)

    @property
    def version(self) -> str:
        """Its own."""
        return httpx.get(f"{self.url.removesuffix('/v1')}/version").json()["version"]


@contextmanager
def running(name: str, environment: Path, text: str) -> Iterator[Server]:
    """Starts vLLM or SGLang, from the Python in this folder. Each word of `text` is a token of the model's."""
    folder, log = environment / "model", environment / "server.log"
    server = Server(f"http://127.0.0.1:{(port := _free_port())}/v1", folder / "script.json", write(folder, text))
    server.say([""])
    commands = {
        "vLLM": ("-m", "vllm.entrypoints.openai.api_server", "--model", folder, "--port", port, *_OPTIONS),
        "SGLang": (_INSIDE / "scripted_sglang.py", folder, MODEL, WINDOW, port),
    }
    places = {"PYTHONPATH": str(_INSIDE), "SCRIPTED_WORDS": str(folder / "script.json")}
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [str(environment / "bin" / "python"), *map(str, commands[name])],
            env={**os.environ, **_ENVIRONMENT, **places},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _wait(server, process, log)
        yield server
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _wait(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    latest = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < latest:
        try:
            if httpx.get(f"{server.url}/models").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    raise SystemExit(f"The server doesn't start:\n{log.read_text(errors='replace')[-3000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
