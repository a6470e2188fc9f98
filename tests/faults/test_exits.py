"""A program that ends with a stream still open ends, soon and without a word, through every face."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time

import pytest

from tests.faults.children import ROOT
from tests.faults.scenarios import A
from tests.faultserver import FaultServer, Wait, chunk, stream_head

ENDLESS = [stream_head(), chunk(A), chunk(A), Wait(60)]
HEAD = """
    import asyncio, sys, threading
    from cf_gemma import AsyncGemma, Gemma

    def refuse(_):
        raise RuntimeError("can't start new thread")

    given = {"account_id": "a", "api_token": "t", "base_url": sys.argv[1]}
"""
CHAT = "from langchain_cf_gemma import ChatCloudflareGemma as LangChain"
LLM = "from llama_index_cf_gemma import CloudflareGemma as LlamaIndex"
SYNC = {
    "Gemma": "items = Gemma(**given).stream('hi')",
    "LangChain": f"{CHAT}; items = LangChain(**given).stream('hi')",
    "LlamaIndex": f"{LLM}; items = LlamaIndex(**given).stream_complete('hi')",
}
ASYNC = {
    "AsyncGemma": "items = AsyncGemma(**given).stream('hi')",
    "LangChain": f"{CHAT}; items = LangChain(**given).astream('hi')",
    "LlamaIndex": f"{LLM}; items = await LlamaIndex(**given).astream_complete('hi')",
}
ENDS = {
    "the end": "next(items)",
    "zip": "print(list(zip(range(1), items)) and '')",
    "an exception": "next(items); raise ValueError('mine')",
    "sys.exit": "next(items); sys.exit(0)",
    "a reference cycle": "next(items); kept = [items]; kept.append(kept); del items",
    "a function's frame": "next(items)\ndef held(x=items): pass",
    "no thread": "next(items); threading.Thread.start = refuse; del items",
    "a signal": "next(items); print('ready', flush=True); import time; time.sleep(30)",
}
ASYNC_ENDS = {
    "the end": "await anext(items)",
    "an exception": "await anext(items); raise ValueError('mine')",
    "sys.exit": "await anext(items); sys.exit(0)",
    "kept": "global kept; kept = items; await anext(items)",
    "a task": "await anext(items); global task; task = asyncio.create_task(anext(items)); await asyncio.sleep(0.05)",
    "a signal": "await anext(items); print('ready', flush=True); await asyncio.sleep(30)",
}


def end(program: str, how: str) -> None:
    """Runs a program until its end, which comes soon, on a slow machine, too, and without another's words."""
    with FaultServer(ENDLESS) as server:
        command = [sys.executable, "-c", textwrap.dedent(HEAD) + program, server.url]
        child = subprocess.Popen(  # noqa: S603 - our own
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert child.stdout
        try:
            if how == "a signal":
                assert child.stdout.readline() == "ready\n"
                child.send_signal(signal.SIGINT)
            else:
                deadline = time.monotonic() + 30
                while not server.requests and time.monotonic() < deadline and child.poll() is None:
                    time.sleep(0.01)
            _, told = child.communicate(timeout=20)
        finally:
            child.kill()
            child.wait()
    assert "Exception ignored" not in told
    if how == "a signal":
        assert told.rstrip().endswith("KeyboardInterrupt")
    elif how == "an exception":
        assert (child.returncode, told.count("Traceback"), "ValueError: mine" in told) == (1, 1, True)
    else:
        assert (child.returncode, told) == (0, "")


OF_ALL = ("the end", "an exception", "kept", "a signal")
"""Ways that each framework is put to, too, which take seconds to start; the others are the client's alone."""


def pairs(faces: dict[str, str], ways: dict[str, str]) -> list[tuple[str, str]]:
    """Each face with its ways to end."""
    return [(face, how) for face in faces for how in ways if face.endswith("Gemma") or how in OF_ALL]


@pytest.mark.parametrize(("face", "how"), pairs(SYNC, ENDS))
def test_a_program_ends(face: str, how: str) -> None:
    """A stream that is open at module level keeps no process alive, whatever ends it."""
    end(f"{SYNC[face]}\n{ENDS[how]}\n", how)


@pytest.mark.parametrize(("face", "how"), pairs(ASYNC, ASYNC_ENDS))
def test_an_asynchronous_program_ends(face: str, how: str) -> None:
    """Nor does one in a loop."""
    end(f"async def main():\n    {ASYNC[face]}\n    {ASYNC_ENDS[how]}\nasyncio.run(main())\n", how)
