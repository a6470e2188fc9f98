"""The first call of a process."""

from __future__ import annotations

import pytest

from cf_gemma.emulator import Emulator
from tests import programs

COLD = """
import asyncio, sys
from langchain_cf_gemma import ChatCloudflareGemma
from tests.langchain.conftest import watched

async def collected(stream):
    return [part async for part in stream]

assert "httpx" not in sys.modules
model = ChatCloudflareGemma()
answer = model.ainvoke("Hi") if sys.argv[1] == "ainvoke" else collected(model.astream("Hi"))
told, longest, whole = asyncio.run(watched(answer))
assert told and "httpx" in sys.modules
print(longest / whole)
"""


@pytest.mark.parametrize("way", ["ainvoke", "astream"])
def test_loop_is_not_blocked_by_a_cold_start(way: str) -> None:
    """The first call of a process, which loads the HTTP library, blocks the event loop for a small part of its time."""
    with Emulator(["Hi!"]) as emulator:
        assert float(programs.run(emulator, "-c", COLD, way)) < 0.5
