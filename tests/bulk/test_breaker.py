"""When a run of many rows ends, and which lines are written until then. Pure."""

from __future__ import annotations

from typing import Any

import pytest

from cf_gemma import errors as e
from cf_gemma.bulk.breaker import Breaker

DOWN, SLOW, LOST, GOOD = e.ConnectionFailed("down"), e.RequestTimeout("slow"), e.ConnectionFailed("lost"), None
DOWN.sent = SLOW.sent = False
REFUSED, CUT, UNSENT = e.BadRequest("refused"), e.StreamTruncated("cut"), e.InvalidRequest("unsent")
QUOTA, TOKEN, MODEL = e.QuotaExhausted("quota"), e.AuthenticationError("token"), e.NotFound("model")
FORBIDDEN, PROXY = e.PermissionDenied("forbidden"), e.ConfigurationError("proxy")


def run(concurrency: int, *outcomes: e.GemmaError | None) -> tuple[str, list[int], list[int]]:
    """Why the run ends, the places of the rows that were written meanwhile, and those written at its end."""
    breaker = Breaker(concurrency)
    lines: list[dict[str, Any]] = []
    for place, error in enumerate(outcomes):
        lines += breaker.settle({"line": place}, error)
    return breaker.tripped, [line["line"] for line in lines], [line["line"] for line in breaker.rest()]


@pytest.mark.parametrize(
    ("concurrency", "outcomes", "expected"),
    [
        (1, [GOOD, GOOD], ("", [0, 1], [])),
        # What every row would come to ends it at once.
        (9, [GOOD, QUOTA], ("quota", [0], [])),
        (9, [GOOD, TOKEN], ("token", [0], [])),
        (9, [MODEL], ("model", [], [])),
        (9, [FORBIDDEN], ("forbidden", [], [])),
        (9, [PROXY], ("proxy", [], [])),
        # Five in a row, or as many as are under way at once.
        (1, [DOWN] * 4, ("", [], [0, 1, 2, 3])),
        (1, [GOOD, *[DOWN] * 5], ("5 rows in a row got no answer: down", [0], [])),
        (9, [DOWN] * 8, ("", [], list(range(8)))),
        (9, [DOWN] * 9, ("9 rows in a row got no answer: down", [], [])),
        (1, [DOWN, SLOW, DOWN, SLOW, SLOW], ("5 rows in a row got no answer: slow", [], [])),
        # Those whose requests may have arrived have failed; sending them again for ever would be paid for.
        (1, [LOST, DOWN, LOST, DOWN, LOST], ("5 rows in a row got no answer: lost", [0, 2, 4], [])),
        (1, [LOST, DOWN, QUOTA, LOST, DOWN], ("quota", [0, 3], [])),
        # Any answer shows that the service is there: those before it failed by themselves.
        (1, [*[DOWN] * 4, GOOD, *[DOWN] * 4], ("", [0, 1, 2, 3, 4], [5, 6, 7, 8])),
        (1, [*[DOWN] * 4, REFUSED, DOWN], ("", [0, 1, 2, 3, 4], [5])),
        (1, [*[DOWN] * 4, CUT, DOWN], ("", [0, 1, 2, 3, 4], [5])),
        # What wasn't sent says nothing of it.
        (1, [DOWN, UNSENT, *[DOWN] * 4], ("5 rows in a row got no answer: down", [1], [])),
        # What is a row's own never ends it.
        (1, [REFUSED, CUT, UNSENT] * 9, ("", list(range(27)), [])),
        (1, [e.ContextOverflow("long")] * 9 + [e.CapacityExceeded("busy")] * 9, ("", list(range(18)), [])),
        # What was under way when it ended: answers are kept, the rest is left undone; the first reason counts.
        (1, [*[DOWN] * 5, DOWN, GOOD, QUOTA, GOOD], ("5 rows in a row got no answer: down", [6, 8], [])),
        (1, [DOWN, QUOTA, DOWN, GOOD], ("quota", [3], [])),
    ],
)
def test_outcomes(
    concurrency: int, outcomes: list[e.GemmaError | None], expected: tuple[str, list[int], list[int]]
) -> None:
    """What came of the rows, one after the other, decides what is written and whether the run ends."""
    assert run(concurrency, *outcomes) == expected


@pytest.mark.parametrize(
    ("error", "own", "ends"),
    [
        (MODEL, "model", False),
        (PROXY, "model", False),
        (FORBIDDEN, "model", False),
        (FORBIDDEN, "extra_headers", False),
        (TOKEN, "extra_headers", False),
        (TOKEN, "model", True),
        (QUOTA, "model", True),
        (QUOTA, "extra_headers", True),
        (MODEL, "temperature", True),
    ],
)
def test_options_of_the_row_itself(error: e.GemmaError, own: str, ends: bool) -> None:
    """A row with a model or headers of its own may be to blame, so it fails by itself."""
    breaker = Breaker(1)
    assert breaker.settle({"line": 1}, error, {own: "x"}) == ([] if ends else [{"line": 1}])
    assert bool(breaker.tripped) is ends
