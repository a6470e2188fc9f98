"""How fast `cf-gemma batch` is, how much memory it takes, and what three kills do to it.

    python benchmarks/bulk.py [ROWS]

The emulator runs in this process and the command in another; what is measured is the other one's.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from cf_gemma.emulator import Emulator

KILLS = 3


def run(emulator: Emulator, source: Path, output: Path, kill_at: int | None, *options: str) -> tuple[int, float, float]:
    """Exit code (-9 when killed once so many rows are written), peak RSS in MB, seconds."""
    begin = time.monotonic()
    environment = {
        **os.environ,
        "CLOUDFLARE_ACCOUNT_ID": emulator.account_id,
        "CLOUDFLARE_API_TOKEN": emulator.api_token,
        "CLOUDFLARE_BASE_URL": emulator.base_url,
    }
    command = [sys.executable, "-m", "cf_gemma", "batch", str(source), "-o", str(output), "--rpm", "0", *options]
    peak = 0.0
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:  # noqa: S603 - our own command
        while process.poll() is None:
            peak = max(peak, high_water(process.pid))
            if kill_at is not None and count(output) >= kill_at:
                process.kill()
            time.sleep(0.1)
    return process.returncode, peak, time.monotonic() - begin


def high_water(pid: int) -> float:
    """Peak RSS of a process in MB, from Linux; that of wait4() has this process's in it, which it was forked from."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def count(output: Path) -> int:
    """Lines of a file."""
    return output.read_bytes().count(b"\n") if output.exists() else 0


def write(path: Path, rows: int) -> None:
    """So many questions."""
    with path.open("w") as file:
        for number in range(rows):
            row = {"id": f"row-{number}", "prompt": f"Is {number} even? Answer in a word, and say why in a few more."}
            file.write(json.dumps(row) + "\n")


def main() -> None:
    """Measures, and prints."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    with tempfile.TemporaryDirectory() as folder, Emulator("Yes, or no: who knows?", dialect="random") as emulator:
        source, output = Path(folder, "in.jsonl"), Path(folder, "out.jsonl")
        for size in (rows // 10, rows):
            write(source, size)
            emulator.requests.clear()
            code, memory, seconds = run(emulator, source, output, None, "--overwrite")
            print(f"{size:,} rows: exit {code}, {size / seconds:,.0f} rows/s, peak RSS {memory:.1f} MB", flush=True)
        output.unlink()
        emulator.requests.clear()
        for number in range(KILLS + 1):
            at = rows * (number + 1) // (KILLS + 1) if number < KILLS else None
            code, memory, seconds = run(emulator, source, output, at, *(["--resume"] if number else []))
            print(
                f"run {number + 1}: exit {code}, {count(output):,} rows written, peak RSS {memory:.1f} MB", flush=True
            )
        ids = Counter(json.loads(line)["id"] for line in output.read_bytes().splitlines())
        once = sum(1 for times in ids.values() if times == 1)
        print(f"{once:,} of {rows:,} ids exactly once, {len(emulator.requests) - rows:,} requests sent again")


if __name__ == "__main__":
    main()
