"""Programs of a user's, run as they would run them: on their own, with nothing but the environment set."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cf_gemma.emulator import Emulator


def run(emulator: Emulator, *program: str | Path, environment: Mapping[str, str] | None = None) -> str:
    """What `python *program` prints, with this emulator for the service, and what else the environment is to have.

    Warnings are errors, but for one of llama-index-core's own on Python 3.12 and newer: its `asyncio_run` asks for an
    event loop where there is none (llama_index/core/async_utils.py).
    """
    warnings = ["-W", "error", "-W", "ignore:There is no current event loop:DeprecationWarning"]
    variables = {
        **os.environ,
        "CLOUDFLARE_ACCOUNT_ID": emulator.account_id,
        "CLOUDFLARE_API_TOKEN": emulator.api_token,
        "CLOUDFLARE_BASE_URL": emulator.base_url,
        **(environment or {}),
    }
    done = subprocess.run(  # noqa: S603 - our own programs
        [sys.executable, *warnings, *program], env=variables, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_each(
    emulator: Emulator,
    snippets: Mapping[str, str],
    *arguments: str | Path,
    preface: str = "",
    environment: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """What each of these programs prints: they share a process, and no names.

    It is importing the frameworks that takes their time.
    """
    lines = [preface]
    for name, code in snippets.items():
        lines += [f"print({name!r})", f"exec(compile({code!r}, {name!r}, 'exec'), {{'__name__': '__main__'}})"]
    printed = run(emulator, "-c", "\n".join(lines), *arguments, environment=environment)
    _, *parts = re.split("|".join(rf"^{re.escape(name)}$" for name in snippets), printed, flags=re.MULTILINE)
    return dict(zip(snippets, parts, strict=True))
