"""Runs an example: `python examples first_call`, and with `--local` without an account.

With `--local` a local emulator answers, from the file in `answers/` that has the example's name. Each of its lines is
an answer, for requests whose last message holds the words of `to`; the first line that fits is taken.
"""

import json
import os
import runpy
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from cf_gemma.emulator import Emulator, Reply, ToolCallSpec

HERE = Path(__file__).parent


def script(*names: str) -> Callable[[dict[str, Any]], Reply]:
    """From a request to its answer, with the files of these examples."""
    files = [(HERE / "answers" / f"{name}.jsonl").read_text("utf-8") for name in names]
    lines = [json.loads(line) for file in files for line in file.splitlines()]

    def answer(body: dict[str, Any]) -> Reply:
        last = str(body["messages"][-1])
        line = next(line for line in lines if line["to"] in last)
        calls = [ToolCallSpec(**call) for call in line.get("tool_calls", [])]
        return Reply(line.get("text", ""), line.get("reasoning", ""), calls, gap=line.get("gap", 0))

    return answer


def local(*names: str) -> Emulator:
    """A running emulator with the answers of these examples. The environment points to it."""
    emulator = Emulator(script(*names))
    os.environ["CLOUDFLARE_ACCOUNT_ID"] = emulator.account_id
    os.environ["CLOUDFLARE_API_TOKEN"] = emulator.api_token
    os.environ["CLOUDFLARE_BASE_URL"] = emulator.base_url
    return emulator


def main(name: str = "", option: str = "") -> None:
    """Runs the example of that name."""
    names = sorted(path.stem for path in (HERE / "answers").glob("*.jsonl"))
    if name not in names or option not in ("", "--local"):
        sys.exit(f"Usage: python {HERE.name} NAME [--local]\nNames: {', '.join(names)}")
    with local(name) if option else nullcontext():
        runpy.run_path(str(HERE / f"{name}.py"), run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:3])
