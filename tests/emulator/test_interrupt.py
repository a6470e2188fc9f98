from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import importlib, signal, sys
from cf_gemma.emulator import LlamaEngine
importlib.import_module("xllamacpp")
signal.signal(signal.SIGALRM, signal.default_int_handler)
signal.setitimer(signal.ITIMER_REAL, float(sys.argv[1]))
LlamaEngine()
signal.pause()
"""


@pytest.mark.parametrize("seconds", [0.02, 0.1, 0.3, 0.6])
def test_an_interrupt_while_the_model_loads(seconds: float) -> None:
    """Ctrl-C ends the program whenever it comes: a model that is freed right after it was made would hang it."""
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", PROGRAM, str(seconds)], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in done.stderr
