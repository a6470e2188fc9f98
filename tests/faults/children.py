"""Programs in a process of their own, for what must be measured or may hang."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def run(script: str, *arguments: str, seconds: float = 30, warnings: str = "error") -> list[str]:
    """The lines that a program prints. It must end well and in time, without a word on stderr; warnings are errors."""
    command = [sys.executable, "-W", warnings, "-c", textwrap.dedent(script), *arguments]
    done = subprocess.run(  # noqa: S603 - our own
        command, capture_output=True, text=True, timeout=seconds, check=False, cwd=ROOT
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.splitlines()
