"""One client in a process of its own, which does what it is asked for and says what it cost.

A line of JSON in, a line out: `{"root": …, "target": …, "tree": …}` first, then samples.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.samples import Sample
from benchmarks.targets import client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from benchmarks.scenarios import Answer
    from benchmarks.targets import Call, Client


class Lost(Exception):
    """An answer isn't what the server sent."""


def cost(target: Client, runner: asyncio.Runner, sample: Sample) -> dict[str, Any]:
    """What a sample costs: seconds of this process's processor time, and by the clock; and what memory it took."""
    calls = [target.prepared(sample) for _ in range(sample.repeat * sample.at_once)]
    gc.collect()
    resident = _begin_high_water()
    with _observer(sample) as check:
        cpu, wall = time.process_time(), time.perf_counter()
        results = runner.run(_async_results(sample, calls)) if sample.is_async else _results(sample, calls)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        check()
    if sample.action == "first":
        wall = sorted(results)[len(results) // 4]  # what another program takes of the time is in the others
        _check_first(results)
    else:
        _check(sample, results)
    return {"cpu": cpu, "wall": wall, "memory": _memory("VmHWM") - resident}


def _results(sample: Sample, calls: Sequence[Call]) -> list[Any]:
    return [getattr(call, sample.action)() for call in calls]


async def _async_results(sample: Sample, calls: Sequence[Call]) -> list[Any]:
    begin: list[Callable[[], Awaitable[Any]]] = [getattr(call, f"a{sample.action}") for call in calls]
    if sample.at_once == 1:
        return [await one() for one in begin]
    return await asyncio.gather(*(one() for one in begin))


def _check(sample: Sample, answers: Sequence[Answer]) -> None:
    expected = sample.scenario.expected
    for answer in answers:
        if answer.text != expected.text:
            raise Lost(f"{len(answer.text):,} of {len(expected.text):,} characters")
        if [json.loads(text) for text in answer.arguments] != [json.loads(text) for text in expected.arguments]:
            raise Lost("arguments of tool calls")
        if sample.action == "stream" and answer.pieces < expected.pieces:
            raise Lost(f"{answer.pieces:,} of {expected.pieces:,} pieces")


def _check_first(seconds: Sequence[float]) -> None:
    if not all(seconds):
        raise Lost("the first text")


@contextmanager
def _observer(sample: Sample) -> Iterator[Callable[[], None]]:
    """An event handler of LlamaIndex for the time of a sample; gives a check that it saw every response."""
    if not sample.observed or "llama_index.core" not in sys.modules:
        yield lambda: None
        return
    from benchmarks.targets.observer import observing

    with observing() as seen:

        def check() -> None:
            if seen() < sample.units:
                raise Lost(f"the observer saw {seen():,} of {sample.units:,} responses")

        yield check


def _begin_high_water() -> float:
    """What is resident now, in MB; the high-water mark begins here."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(field: str) -> float:
    found = re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def _answer(target: Client, runner: asyncio.Runner, line: str) -> dict[str, Any]:
    try:
        return cost(target, runner, Sample.of(json.loads(line)))
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent says so
        return {"lost" if isinstance(error, Lost) else "error": str(error) or repr(error)}


def _check_tree(tree: str) -> None:
    package = sys.modules.get("cf_gemma")
    place = package and package.__file__
    if place and not Path(place).is_relative_to(tree):
        raise SystemExit(f"{place} is measured in place of {tree}")


def main() -> None:
    """Serves the parent until it closes the pipe."""
    # What other packages print must not get between the lines.
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    setup = json.loads(sys.stdin.readline())
    with asyncio.Runner() as runner:
        target = client(setup["target"], setup["root"])
        _check_tree(setup["tree"])
        for line in sys.stdin:
            print(json.dumps(_answer(target, runner, line)), file=output, flush=True)
    os._exit(0)
