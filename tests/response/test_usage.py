from __future__ import annotations

import math
from typing import Any

import pytest

from cf_gemma.model.completion import Usage
from cf_gemma.response.usage import UsageMeter

Report = dict[str, Any]


def report(prompt: Any, completion: Any, **more: Any) -> Report:
    """A usage object whose total adds up."""
    total = (prompt or 0) + (completion or 0)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total, **more}


def metered(reports: list[Report], closing: Report | None = None, tail: Report | None = None) -> Usage | None:
    """The usage of a stream with these reports on its chunks, on its chunk without choices, and on its native tail."""
    meter = UsageMeter()
    for one in reports:
        meter.add(one)
    if closing is not None:
        meter.close(closing, total=False)
    if tail is not None:
        meter.close(tail, total=True)
    return meter.usage()


INCREMENTS = [
    report(147, 0, neurons=1.25),
    report(0, 1, neurons=0.5),
    report(0, 1, neurons=0.5),
    report(0, 0, neurons=0),
]
TOTALS = [report(147, 1), report(147, 2), report(147, 16)]


@pytest.mark.parametrize(
    ("reports", "closing", "tail", "usage"),
    [
        pytest.param(INCREMENTS, report(0, 1, neurons=0.5), None, Usage(147, 3, 150, neurons=2.75), id="increments"),
        pytest.param(INCREMENTS, None, report(147, 16, neurons=1.75), Usage(147, 16, 163, neurons=1.75), id="tail"),
        pytest.param(INCREMENTS, None, report(147, 16), Usage(147, 16, 163, neurons=2.25), id="tail without neurons"),
        pytest.param(INCREMENTS[:2], None, None, Usage(147, 1, 148, neurons=1.75), id="increments, cut"),
        pytest.param(TOTALS, None, None, Usage(147, 16, 163), id="running totals"),
        pytest.param([*TOTALS, TOTALS[-1], TOTALS[-1]], None, None, Usage(147, 16, 163), id="totals repeated"),
        pytest.param(TOTALS[:1], None, None, Usage(147, 1, 148), id="one report"),
        pytest.param([], report(62, 512), None, Usage(62, 512, 574), id="closing total"),
        pytest.param(TOTALS, report(147, 17), None, Usage(147, 17, 164), id="totals and closing total"),
        pytest.param([], None, report(9, 1), Usage(9, 1, 10), id="tail alone"),
        pytest.param([], report(9, 1), report(9, 2), Usage(9, 2, 11), id="tail beats the closing total"),
        pytest.param([], None, None, None, id="none"),
        pytest.param([{"prompt_tokens": 3, "completion_tokens": 4}], None, None, Usage(3, 4, 7), id="no total"),
        pytest.param([{"neurons": 0.5}], None, None, Usage(neurons=0.5), id="neurons alone"),
        pytest.param([report(None, None)], None, None, Usage(), id="nulls"),
    ],
)  # fmt: skip
def test_every_manner_gives_the_exact_usage(
    reports: list[Report], closing: Report | None, tail: Report | None, usage: Usage | None
) -> None:
    """Increments are summed, running totals are not, and a closing total counts above all."""
    assert metered(reports, closing, tail) == usage


def test_details() -> None:
    """Cached and reasoning tokens are read where the service puts them, and None when it doesn't."""
    reported = report(
        9, 5, prompt_tokens_details={"cached_tokens": 4}, completion_tokens_details={"reasoning_tokens": 3}
    )
    usage = metered([], None, reported)
    assert usage is not None
    assert (usage.cached_tokens, usage.reasoning_tokens) == (4, 3)
    assert metered([report(9, 5, prompt_tokens_details=None)]) == Usage(9, 5, 14)


@pytest.mark.parametrize("strange", [math.inf, -math.inf, True, "7", [7], {"a": 7}, None, 10**400])
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens", "total_tokens", "neurons"])
def test_a_count_that_is_none_is_not_counted(name: str, strange: object) -> None:
    """A number no token count can be, such as the infinity that 1e999 decodes to, is left out and breaks nothing."""
    usage = metered([report(2, 3, neurons=0.5) | {name: strange}])
    assert usage is not None
    assert math.isfinite(usage.cost)
    assert usage.to_dict()


def test_cost() -> None:
    """Neurons decide what a call cost; without them the tokens do, at $0.10 and $0.30 a million."""
    assert Usage(1_000_000, 1_000_000).cost == pytest.approx(0.4)
    assert Usage(1, 1, neurons=1_000).cost == pytest.approx(0.011)
