"""The first call of a process."""

from __future__ import annotations

import pytest

from cf_gemma.emulator import Emulator
from tests import programs

COLD = """
import asyncio, sys, threading
from langchain_cf_gemma import ChatCloudflareGemma

class Importers:
    "Notes which thread loads the HTTP library, and finds nothing itself."
    threads = []
    def find_spec(self, name, path=None, target=None):
        if name == "httpx":
            self.threads.append(threading.current_thread())

sys.meta_path.insert(0, Importers())

async def collected(stream):
    return [part async for part in stream]

assert "httpx" not in sys.modules
model = ChatCloudflareGemma()
answer = model.ainvoke("Hi") if sys.argv[1] == "ainvoke" else collected(model.astream("Hi"))
assert asyncio.run(answer) and "httpx" in sys.modules
print([thread is threading.main_thread() for thread in Importers.threads])
"""


@pytest.mark.parametrize("way", ["ainvoke", "astream"])
def test_loop_is_not_blocked_by_a_cold_start(way: str) -> None:
    """The first call of a process loads the HTTP library, which takes a while, in another thread than the loop's."""
    with Emulator(["Hi!"]) as emulator:
        assert programs.run(emulator, "-c", COLD, way).strip() == "[False]"
