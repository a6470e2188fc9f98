"""A program that ends with a stream still open ends, soon and without a word, through every face."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.faults.children import run
from tests.faults.scenarios import A
from tests.faultserver import FaultServer, Wait, chunk, stream_head

if TYPE_CHECKING:
    from pathlib import Path

ENDLESS = [stream_head(), chunk(A), chunk(A), Wait(100)]
SCRIPT = """
import asyncio, json, os, signal, sys, threading, time
from pathlib import Path
from cf_gemma import AsyncGemma, Gemma
from cf_gemma.transport import http, pools
{preparing}

pools.certificates()

def refuse(_):
    raise RuntimeError("can't start new thread")

def wait_for(children):
    codes, interrupted, deadline = {{}}, set(), time.monotonic() + 60
    while children:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child:
            codes[children.pop(child)] = os.waitstatus_to_exitcode(status)
        for child, how in children.items():
            if how.endswith("a signal") and how not in interrupted and place.joinpath(how).read_text() == "ready":
                interrupted.add(how)
                os.kill(child, signal.SIGINT)
            elif time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    return codes

given = {{"account_id": "a", "api_token": "t", "base_url": sys.argv[1]}}
place, children = Path(sys.argv[2]), {{}}
for how, program in json.loads(sys.argv[3]).items():
    place.joinpath(how).touch()
    if not (child := os.fork()):
        break
    children[child] = how
else:
    print(json.dumps(wait_for(children)))
    sys.exit()
os.dup2(os.open(place / how, os.O_WRONLY), 1)
os.dup2(1, 2)
exec(program)
"""
"""Forks a child for each program, which it runs at module level: what is open there is open at the interpreter's end.

All run at once, and what takes seconds is loaded before.
"""

FACES = {
    "Gemma": ("", "Gemma(**given).stream('hi')", "AsyncGemma(**given).stream('hi')"),
    "LangChain": (
        "from langchain_cf_gemma import ChatCloudflareGemma",
        "ChatCloudflareGemma(**given).stream('hi')",
        "ChatCloudflareGemma(**given).astream('hi')",
    ),
    "LlamaIndex": (
        "from llama_index_cf_gemma import CloudflareGemma",
        "CloudflareGemma(**given).stream_complete('hi')",
        "await CloudflareGemma(**given).astream_complete('hi')",
    ),
}
"""What is imported, and a stream of each kind."""

ENDS = {
    "the end": "next(items)",
    "zip": "assert list(zip(range(1), items))",
    "an exception": "next(items); raise ValueError('mine')",
    "sys.exit": "next(items); sys.exit(0)",
    "a reference cycle": "next(items); kept = [items]; kept.append(kept); del items",
    "a function's frame": "next(items)\ndef held(x=items): pass",
    "no thread": "next(items); threading.Thread.start = refuse; del items",
    "a thread": "next(items); threading.Thread(target=list, args=[items], daemon=True).start(); time.sleep(0.2)",
    "a signal": "next(items); print('ready', end='', flush=True); time.sleep(30)",
}
ASYNC_ENDS = {
    "the end": "await anext(items)",
    "an exception": "await anext(items); raise ValueError('mine')",
    "sys.exit": "await anext(items); sys.exit(0)",
    "kept": "global kept; kept = items; await anext(items)",
    "a task": "await anext(items); global task; task = asyncio.create_task(anext(items)); await asyncio.sleep(0.05)",
    "a signal": "await anext(items); print('ready', end='', flush=True); await asyncio.sleep(30)",
}
OF_ALL = ("the end", "an exception", "kept", "a signal")
"""Ways that each framework is put to, too; the others are the client's alone."""


def programs(face: str) -> tuple[str, dict[str, str]]:
    """What all of them import, and each way for a program to end."""
    preparing, blocking, asynchronous = FACES[face]
    ways = {how: f"items = {blocking}\n{end}" for how, end in ENDS.items()}
    for how, end in ASYNC_ENDS.items():
        ways[f"async: {how}"] = f"async def main():\n    items = {asynchronous}\n    {end}\nasyncio.run(main())"
    chosen = {how: one for how, one in ways.items() if face == "Gemma" or how.removeprefix("async: ") in OF_ALL}
    return preparing, chosen


@pytest.mark.parametrize("face", FACES)
def test_a_program_ends(face: str, tmp_path: Path) -> None:
    """A stream that is open at module level, or in a loop, keeps no process alive, and nothing is said of it."""
    preparing, ways = programs(face)
    with FaultServer(ENDLESS) as server:
        script = SCRIPT.format(preparing=preparing)
        [codes] = run(script, server.url, str(tmp_path), json.dumps(ways), seconds=90, warnings="ignore")
        assert len(server.requests) == len(ways)
    for how, code in json.loads(codes).items():
        words = (tmp_path / how).read_text()
        assert "Exception ignored" not in words, how
        if how.endswith("an exception"):
            assert (code, words.count("Traceback"), "ValueError: mine" in words) == (1, 1, True), how
        elif how.endswith("a signal"):
            assert (code, words.startswith("ready"), words.rstrip().endswith("KeyboardInterrupt")) == (
                -2,
                True,
                True,
            ), how
        else:
            assert (code, words) == (0, ""), how


def test_one_that_nobody_forked_ends() -> None:
    """The same in an interpreter of its own."""
    with FaultServer(ENDLESS) as server:
        settings = f"account_id='a', api_token='t', base_url={server.url!r}"
        assert run(f"from cf_gemma import Gemma\nitems = Gemma({settings}).stream('hi')\nnext(items)") == []
