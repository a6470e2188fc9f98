from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import importlib, signal, sys, time
from cf_gemma.emulator import LlamaEngine
importlib.import_module("xllamacpp")
signal.signal(signal.SIGALRM, signal.default_int_handler)
signal.setitimer(signal.ITIMER_REAL, float(sys.argv[1]))
LlamaEngine()
while True:  # signal.pause() would sleep through what came while the model was freed
    time.sleep(0.01)
"""

IMPATIENT = """
import importlib, signal, time
from cf_gemma.emulator import LlamaEngine
importlib.import_module("xllamacpp")
signal.signal(signal.SIGALRM, signal.default_int_handler)
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
try:
    LlamaEngine()
    while True:
        time.sleep(0.01)
finally:
    signal.setitimer(signal.ITIMER_REAL, 0)
"""

FREED = """
from cf_gemma.emulator import LlamaEngine
for _ in range(2):
    LlamaEngine(context=512)
    LlamaEngine(context=512).close()
"""


@pytest.mark.parametrize("seconds", ["0.02", "0.1", "0.3", "0.6"])
def test_an_interrupt_while_the_model_loads(seconds: str) -> None:
    """Ctrl-C ends the program whenever it comes: before the model is loaded, while it loads, and right after."""
    done = _run(PROGRAM, seconds)
    assert done.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in done.stderr


def test_an_impatient_interrupt() -> None:
    """Ctrl-C again and again ends the program, too."""
    done = _run(IMPATIENT)
    assert done.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in done.stderr


def test_an_engine_freed_right_after_it_was_made() -> None:
    """A model may be dropped or closed at once: llama.cpp's loop has begun, so that it hears that it shall end."""
    done = _run(FREED)
    assert done.returncode == 0, done.stderr


def _run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60
    )
