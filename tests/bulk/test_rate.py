"""How a run slows down when an account's limit is shared, and gets faster again. Pure: time is simulated."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cf_gemma.bulk.rate import DEEPEST, LONGEST, RECOVERY, Rate, pause
from cf_gemma.errors import CapacityExceeded, RateLimited

OUTCOMES = st.lists(st.one_of(st.just("answer"), st.floats(0, 10_000)), max_size=200)
"""Answers, and refusals with the requests a minute that were sent before them."""


@given(st.one_of(st.none(), st.integers(1, 10_000)), OUTCOMES)
def test_bounds(ceiling: int | None, outcomes: list[str | float]) -> None:
    """The rate stays between its floor and its ceiling; no answer lowers it, no refusal raises it."""
    rate = Rate(ceiling)
    for outcome in outcomes:
        before = rate.per_minute
        if isinstance(outcome, str):
            rate.answered(rate.window)
            assert rate.per_minute >= before
        else:
            rate.refused(rate.window, outcome)
            assert rate.per_minute <= before
        assert min(1, before) <= rate.per_minute <= (ceiling or math.inf)
        assert rate.gap >= 0


@given(st.integers(2, 1_000), st.integers(2, 100))
def test_one_window_one_fall(ceiling: int, refusals: int) -> None:
    """Requests that were sent together and are refused together halve the rate once."""
    rate = Rate(ceiling)
    ended = [rate.refused(0, ceiling) for _ in range(refusals)]
    assert ended == [True] + [False] * (refusals - 1)
    assert rate.per_minute == max(ceiling / 2, 1)


@given(st.integers(10, 10_000))
def test_recovery(ceiling: int) -> None:
    """After its recovery time a rate is back at its ceiling, not much earlier, and doesn't exceed it."""
    rate = Rate(ceiling)
    rate.refused(0, ceiling)
    minutes = 0.0
    while rate.per_minute < ceiling:
        minutes += 1 / rate.per_minute
        rate.answered(rate.window)
    assert RECOVERY * 0.9 <= minutes <= RECOVERY + 2 / ceiling * 10
    rate.answered(rate.window)
    assert rate.per_minute == ceiling


def test_old_answers_say_nothing_new() -> None:
    """An answer to a request that was sent before the fall neither raises the rate nor ends the refusals."""
    rate = Rate(100)
    rate.refused(0, 100)
    rate.answered(0)
    assert (rate.per_minute, rate.refusals) == (50, 1)


def test_refused_probes_do_not_lower_it_further() -> None:
    """While nothing gets through, only the pauses grow: a limit of a minute says nothing about the rate."""
    rate = Rate(300)
    for window in range(6):
        assert rate.refused(window, 300)
    assert (rate.per_minute, rate.refusals) == (150, 6)


def test_it_does_not_fall_for_ever() -> None:
    """However often single requests are refused between answers, a part of the rate is left."""
    rate = Rate(320)
    for _ in range(50):
        rate.refused(rate.window, 320)
        rate.answered(rate.window)
    assert 320 / DEEPEST <= rate.per_minute < 320 / DEEPEST + 10


def test_no_ceiling() -> None:
    """Without a limit the first refusal halves what was really sent."""
    rate = Rate(None)
    assert rate.gap == 0
    rate.refused(0, 600)
    assert rate.per_minute == 300


@pytest.mark.parametrize(
    ("error", "refusals", "seconds"),
    [
        (RateLimited("", status=429), 1, 2),
        (RateLimited("", status=429), 3, 8),
        (RateLimited("", status=429), 9, 75),
        (CapacityExceeded("", status=429), 9, 30),
        (RateLimited("", status=429, retry_after=7), 9, 7),
        (RateLimited("", status=429, retry_after=86_400), 1, LONGEST),
    ],
)
def test_pauses(error: RateLimited, refusals: int, seconds: float) -> None:
    """Pauses double; only for a limit of a minute they reach past one, and what the service asks for comes first."""
    assert pause(error, refusals, 0) == seconds
    assert seconds <= pause(error, refusals, 1) <= seconds * 1.25


@settings(max_examples=25)
@given(st.integers(60, 600), st.integers(0, 3))
def test_a_shared_limit_of_a_minute(limit: int, others: int) -> None:
    """At half the limit 900 rows get through, within twice the shortest time there is, and few requests are wasted."""
    rate, rows = Rate(limit), 900
    mine = limit // 2
    now, sent, refused, answered = 0.0, list[float](), 0, 0
    while answered < rows:
        while sent and sent[0] <= now - 60:
            sent.pop(0)
        if len(sent) < mine:
            sent.append(now)
            answered += 1
            rate.answered(rate.window)
            now += rate.gap
        else:
            refused += 1
            rate.refused(rate.window, rate.per_minute)
            now += pause(RateLimited("", status=429), rate.refusals, others / 3)
    assert now / 60 <= 2 * rows / mine + 2
    assert refused <= rows / 10
