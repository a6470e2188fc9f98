"""Programs of a user's, run as they would run them: on their own, with nothing but the environment set."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from cf_gemma.emulator import Emulator


def run(emulator: Emulator, *program: str | Path) -> str:
    """What `python *program` prints, with this emulator for the service. Warnings are errors."""
    environment = {
        **os.environ,
        "CLOUDFLARE_ACCOUNT_ID": emulator.account_id,
        "CLOUDFLARE_API_TOKEN": emulator.api_token,
        "CLOUDFLARE_BASE_URL": emulator.base_url,
    }
    done = subprocess.run(  # noqa: S603 - our own programs
        [sys.executable, "-W", "error", *program], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
