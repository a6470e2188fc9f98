"""The rows of the table: what is measured, and what is aimed at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from benchmarks.samples import Sample
from benchmarks.scenarios import Scenario
from benchmarks.targets import OURS, TARGETS

ALL = tuple(TARGETS)
NOT_CLOUDFLARE = tuple(name for name in ALL if name != "lc-cloudflare")
"""ChatCloudflareWorkersAI streams on the wire only for `stream()`, and has pictures in a form of its own."""
LLAMA_INDEX = ("raw", "li-min", "li")


@dataclass(frozen=True)
class Row:
    """One row. Of several samples the worse counts."""

    name: str
    title: str
    samples: tuple[Sample, ...]
    goals: dict[str, float]
    """The highest that is aimed at, for `lc` and `li`."""
    figure: Literal["over min", "ms over min", "over raw", "rows a second"] = "over min"
    """What the goal speaks of."""
    measure: Literal["calls", "imports", "help", "bulk"] = "calls"
    targets: tuple[str, ...] = ALL
    fresh: bool = False
    """Whether each takes part in a process that did nothing before."""
    heavy: bool = False
    """Whether a fifth of the rounds must do."""


def _both(sample: Sample) -> tuple[Sample, ...]:
    return sample, replace(sample, is_async=True)


LONG = Sample("stream", Scenario(events=1_000))
PACKETS = Sample("stream", Scenario(events=1_000, per_packet=16))
PLAIN = Sample("call", Scenario(events=200), repeat=12, max_tokens=1_024)
DEFAULT = Sample("call", Scenario(events=40), repeat=10)
FIRST = Sample("first", Scenario(events=3), repeat=10)
PICTURE = Sample("call", Scenario(events=20), repeat=4, max_tokens=1_024, history="new picture")
MANY = Sample("stream", Scenario(events=50), is_async=True)

ROWS = (
    Row("stream-sync", "stream, sync, per event", (LONG,), {"lc": 0.95, "li": 0.75}),
    Row("stream-async", "stream, async, per event", (replace(LONG, is_async=True),), {"lc": 0.95, "li": 0.75}),
    Row("packet16", "16 events a packet, per event", (PACKETS,), {"lc": 0.85, "li": 0.55}),
    Row("observer", "an observer attached", (replace(LONG, observed=True),), {"li": 1.2}, targets=LLAMA_INDEX),
    Row("plain-call", "plain call (`max_tokens` 1,024)", _both(PLAIN), {"lc": 1.15, "li": 1.1}),
    Row(
        "default-call",
        "default call (streamed on the wire)",
        _both(DEFAULT),
        {"lc": 0.95, "li": 0.85},
        targets=NOT_CLOUDFLARE,
    ),
    Row("ten-calls", "ten tool calls of 512 bytes", (Sample("stream", Scenario("tools")),), {"lc": 0.65, "li": 0.85}),
    Row(
        "first-token",
        "first token, ms over the least",
        (*_both(FIRST), *_both(replace(FIRST, scenario=Scenario(events=3, delay=5), repeat=5))),
        {"lc": 0.15, "li": 0.15},
        figure="ms over min",
    ),
    Row(
        "streams-64", "64 streams at once, warm pool", (replace(MANY, at_once=64),), {"lc": 0.95, "li": 0.8}, heavy=True
    ),
    Row("picture-new", "40 messages, a new picture", _both(PICTURE), {"lc": 1.3, "li": 1.3}, targets=NOT_CLOUDFLARE),
    Row(
        "picture-again",
        "the same history again",
        _both(replace(PICTURE, history="same picture")),
        {"lc": 1.2, "li": 1.2},
        targets=NOT_CLOUDFLARE,
    ),
    Row(
        "streams-512",
        "512 streams at once, over raw httpx with one pool",
        (replace(MANY, at_once=512),),
        {"lc": 0.35, "li": 0.35},
        figure="over raw",
        targets=("raw", *OURS),
        fresh=True,
        heavy=True,
    ),
    Row("import", "import, over the framework's own", (), {"lc": 1.1, "li": 1.05}, measure="imports"),
    Row("bulk", "bulk at 16 / 64 / 256 at once, rows a second", (), {}, figure="rows a second", measure="bulk"),
    Row("help", "`cf-gemma --help`, over a bare Typer's", (), {"lc": 1.2}, measure="help"),
)
