"""How much memory an attack can take, measured in a process of its own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.faults.children import run
from tests.faults.scenarios import CLOSING, STREAM, A, bomb
from tests.faultserver import Action, FaultServer, Repeat, chunk, reply, stream_head
from tests.response.wire import sse, text_chunk

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20
LINE: list[Action] = [CLOSING, A + b"data: ", Repeat(b"x" * 65_536, times=200 * 16)]

ATTACKS: dict[str, tuple[Callable[[], list[Action]], str, int]] = {
    # what is sent (made when it is needed: it is large), the error, and by how many MiB the process may grow
    "a gzip bomb of 300 MiB": (lambda: [reply(bomb(300), content_encoding="gzip")], "ResponseTooLarge", 56),
    "one of them as a stream": (
        lambda: [stream_head(content_encoding="gzip"), chunk(bomb(300)), b"0\r\n\r\n"],
        "ResponseTooLarge",
        24,
    ),
    "one of them as an error": (lambda: [reply(bomb(300), 500, content_encoding="gzip")], "ServerError", 10),
    "a line of 200 MiB": (lambda: LINE, "ResponseTooLarge", 24),
    "an endless reply": (lambda: [reply(b"x" * (40 * MIB))], "ResponseTooLarge", 56),
    "a reply of objects": (lambda: [reply(b'{"choices":[' + b"{}," * 2_600_000 + b"{}]}")], "ResponseTooLarge", 48),
    "a reply of more of them": (
        lambda: [reply(b'{"choices":[' + b"{}," * 10_000_000 + b"{}]}")],
        "ResponseTooLarge",
        48,
    ),
    "choices that nobody asked for": (
        lambda: [stream_head(), chunk(sse([text_chunk("a", index=n) for n in range(100_000)])), b"0\r\n\r\n"],
        "ResponseTooLarge",
        40,
    ),
    "a field that grows": (
        lambda: [
            stream_head(),
            Repeat(chunk(sse([{"choices": [{"delta": {"more": "a" * 1_000}}]}], done=False)), times=200_000),
        ],
        "ResponseTooLarge",
        40,
    ),
    "a flood of words": (
        lambda: [
            stream_head(),
            Repeat(chunk(sse([text_chunk("word " * 4_000)], done=False) * 4), times=4_000),
            b"0\r\n\r\n",
        ],
        "ResponseTooLarge",
        300,
    ),
    "a flood of comments": (
        lambda: [stream_head(), Repeat(chunk(b": ping\n\n" * 8_000), times=200), b"0\r\n\r\n"],
        "StreamTruncated",
        10,
    ),
}

MEASURE = """
    import asyncio, sys
    from cf_gemma import AsyncGemma, Gemma
    from cf_gemma.errors import GemmaError

    how, warm, url = sys.argv[1:]

    def ask(url):
        given = {"account_id": "a", "api_token": "t", "base_url": url, "max_retries": 0}
        if how == "Gemma":
            return Gemma(**given).chat("hi")
        return asyncio.run(AsyncGemma(**given).chat("hi"))

    def highest():
        with open("/proc/self/status") as file:
            status = dict(line.split(":", 1) for line in file)
        return int(status["VmHWM"].split()[0])  # getrusage's peak begins with the parent's

    ask(warm)
    before = highest()
    try:
        print("answered", ask(url))
    except GemmaError as error:
        print(type(error).__name__, highest() - before)
"""
BOTH = ("a gzip bomb of 300 MiB", "a line of 200 MiB")
CASES = [("Gemma", name) for name in ATTACKS] + [("AsyncGemma", name) for name in BOTH]


@pytest.mark.skipif(
    sys.platform != "linux",
    reason="reads the peak where Linux shows it: man7.org/linux/man-pages/man5/proc_pid_status.5.html",
)
@pytest.mark.parametrize(("how", "name"), CASES)
def test_memory_stays_small(how: str, name: str) -> None:
    """Rows 36 and 37: an endless or exploding answer is given up at its cap, and what it took stays near the cap."""
    actions, error, mebibytes = ATTACKS[name]
    with FaultServer(STREAM) as warm, FaultServer(actions()) as server:
        kind, kibibytes = run(MEASURE, how, warm.url, server.url)[0].split()
        assert kind == error
        assert int(kibibytes) < mebibytes * 1024
        print(f"{how}, {name}: {int(kibibytes) / 1024:.0f} MiB")  # noqa: T201 - for `pytest -rP`, which shows it
