from __future__ import annotations

import math
import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_gemma import errors as e
from cf_gemma.request.http_request import HttpRequest
from cf_gemma.response.headers import retry_after
from cf_gemma.transport.flow import Send, Session, Sleep, attempts
from cf_gemma.transport.retry import LONGEST_WAIT, RetryPolicy

NOW = 1_696_004_797.0
"""Fri, 29 Sep 2023 16:26:37 GMT."""


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("20", 20.0),
        ("0.05", 0.05),
        (" 2 ", 2.0),
        ("3600", 3600.0),
        ("0", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("1e400", None),
        ("", None),
        ("soon", None),
        ("1,2", None),
        ("Fri, 29 Sep 2023 16:26:57 GMT", 20.0),
        ("Fri, 29 Sep 2023 16:26:57 +0000", 20.0),
        ("Fri, 29 Sep 2023 18:26:57 +0200", 20.0),
        ("Fri, 29 Sep 2023 16:26:57 -0000", 20.0),
        ("Fri, 29 Sep 2023 16:26:57", 20.0),
        ("Friday, 29-Sep-23 16:26:57 GMT", 20.0),
        ("Fri, 29 Sep 2023 16:26:37 GMT", None),
        ("Fri, 29 Sep 2023 16:26:07 GMT", None),
        ("Fri, 29 Sep 9999 16:26:37 GMT", 251_698_233_600.0),
        ("Fri, 29 Sep 100000 16:26:37 GMT", None),
        ("Fri, 29 Sep 999999999 16:26:37 GMT", None),
        ("Fri, 99 Sep 2023 16:26:37 GMT", None),
        ("Zun, 29 Sep 2023 16:26:57 GMT", 20.0),
        ("2023-09-29T16:26:57Z", None),
    ],
)
def test_retry_after(header: str, seconds: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds and HTTP dates are understood, wherever on Earth; what can't be waited for is as if it weren't there."""
    for zone in ("UTC", "EST5EDT"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        assert retry_after({"retry-after": header}, NOW) == pytest.approx(seconds)
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after-ms": "50"}, 0.05),
        ({"retry-after-ms": "50", "retry-after": "1"}, 0.05),
        ({"retry-after-ms": "soon", "retry-after": "1"}, 1.0),
        ({"retry-after-ms": "nan", "retry-after": "1"}, 1.0),
        ({"retry-after-ms": "-1", "retry-after": "1"}, 1.0),
        ({"retry-after-ms": "0", "retry-after": "1"}, 1.0),
    ],
)
def test_milliseconds_come_first(headers: dict[str, str], seconds: float | None) -> None:
    """`retry-after-ms` is the more exact one; where it makes no sense, `retry-after` counts."""
    assert retry_after(headers, NOW) == seconds


dates = st.builds(
    "{}, {} {} {} {}:{}:{} {}".format,
    st.sampled_from(["Fri", "Friday", ""]),
    st.integers(-1, 99),
    st.sampled_from(["Sep", "Feb", "Xxx", "9"]),
    st.integers(-1, 10**12),
    *[st.integers(-1, 99)] * 3,
    st.sampled_from(["GMT", "-0000", "+9999", "-99999999999", "", "EST"]),
)


@given(st.text() | dates | st.floats().map(str) | st.integers().map(str))
def test_no_header_raises(header: str) -> None:
    """Whatever text the header holds: None, or a finite number of seconds above 0."""
    for name in ("retry-after", "retry-after-ms"):
        seconds = retry_after({name: header}, NOW)
        assert seconds is None or (math.isfinite(seconds) and seconds > 0)


def test_a_date_of_now_on_the_real_clock() -> None:
    """The date that a server would write for ten seconds from now asks for ten seconds."""
    now = math.floor(time.time())
    assert retry_after({"retry-after": formatdate(now + 10, usegmt=True)}, now) == 10


def limited(seconds: float | None) -> e.RateLimited:
    """An error that asks to wait."""
    return e.RateLimited("slow down", retry_after=seconds)


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (e.ServerError("x"), [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]),
        (e.RateLimited("x"), [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]),
        (e.ServiceTimeout("x"), [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]),
        (e.Conflict("x"), [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]),
        (e.ConnectionFailed("x"), [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]),
        (e.RequestTimeout("x"), [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]),
        (e.StreamTruncated("x"), [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]),
        (e.StreamTimeout("x"), [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]),
        (e.CapacityExceeded("x"), [2.0, 4.0, 8.0, 16.0, 30.0, 30.0]),
        (limited(0.05), [0.05] * 6),
        (limited(LONGEST_WAIT), [60.0] * 6),
        (limited(60.5), [None]),
        (limited(3_600), [None]),
        (e.QuotaExhausted("x", retry_after=1), [None]),
        (e.BadRequest("x"), [None]),
        (e.ContextOverflow("x"), [None]),
        (e.AuthenticationError("x"), [None]),
        (e.PermissionDenied("x"), [None]),
        (e.NotFound("x"), [None]),
        (e.RequestTooLarge("x"), [None]),
        (e.ApiError("x"), [None]),
        (e.ProtocolError("x"), [None]),
        (e.ResponseTooLarge("x"), [None]),
        (e.InvalidRequest("x"), [None]),
        (e.ConfigurationError("x"), [None]),
        (e.ReasoningBudgetExceeded("x"), [None]),
    ],
)
def test_policy(error: e.GemmaError, waits: list[float | None]) -> None:
    """What is worth another try is tried after a growing wait, or after the one that was asked for; nothing else is."""
    policy = RetryPolicy(max_retries=6)
    assert [policy.wait(attempt, error, 0.0) for attempt in range(1, len(waits) + 1)] == waits
    assert policy.wait(7, error, 0.0) is None
    assert RetryPolicy(0).wait(1, error, 0.0) is None


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_own_waits_are_bounded_and_scattered(attempt: int, jitter: float) -> None:
    """The jitter takes up to a quarter off; no number of attempts overflows."""
    policy = RetryPolicy(10**6)
    fair, wait = policy.wait(attempt, e.ServerError("x"), 0.0), policy.wait(attempt, e.ServerError("x"), jitter)
    assert fair is not None
    assert wait is not None
    assert 0.75 * fair <= wait <= fair <= 8.0


REQUEST = HttpRequest("https://api.test", {}, b"{}", stream=False)


def outcomes(*results: e.GemmaError | str, max_retries: int = 2) -> tuple[list[Send | Sleep], str | e.GemmaError]:
    """What a call does when its requests come to these results, and what it comes to itself."""
    flow = attempts(REQUEST, RetryPolicy(max_retries), lambda: 0.0, lambda: 0.0, Session())
    steps: list[Send | Sleep] = [next(flow)]
    left = iter(results)
    try:
        while True:
            steps.append(flow.send(next(left) if isinstance(steps[-1], Send) else None))
    except StopIteration as stop:
        return steps, stop.value
    except e.GemmaError as error:
        return steps, error


BUSY, FATAL, IGNORED = e.ServerError("busy"), e.BadRequest("no"), e.ToolChoiceNotHonoured("no call")


@pytest.mark.parametrize(
    ("results", "max_retries", "steps", "end"),
    [
        (["answer"], 2, [1], "answer"),
        ([BUSY, "answer"], 2, [1, 0.5, 2], "answer"),
        ([BUSY, BUSY, "answer"], 2, [1, 0.5, 2, 1.0, 3], "answer"),
        ([BUSY, BUSY, BUSY], 2, [1, 0.5, 2, 1.0, 3], BUSY),
        ([BUSY, FATAL], 2, [1, 0.5, 2], FATAL),
        ([FATAL], 2, [1], FATAL),
        ([BUSY], 0, [1], BUSY),
        ([IGNORED, "answer"], 2, [1, 0.0, 2], "answer"),
        ([IGNORED, IGNORED], 5, [1, 0.0, 2], IGNORED),
        ([BUSY, IGNORED, "answer"], 2, [1, 0.5, 2, 0.0, 3], "answer"),
        ([IGNORED], 0, [1], IGNORED),
    ],
)  # fmt: skip
def test_flow(results: list[e.GemmaError | str], max_retries: int, steps: list[float], end: e.GemmaError | str) -> None:
    """A call sends, waits and sends again until there is an answer or no more point, and then gives what came last."""
    taken, came_to = outcomes(*results, max_retries=max_retries)
    assert [step.attempt if isinstance(step, Send) else step.seconds for step in taken] == steps
    assert came_to is end
    assert all(step.request is REQUEST for step in taken if isinstance(step, Send))
    assert [step.reason for step in taken if isinstance(step, Sleep)] == results[: len(taken) // 2]


@pytest.mark.parametrize(
    ("deadline", "waited"),
    [(None, [0.5, 1.0, 2.0]), (60.0, [0.5, 1.0, 2.0]), (6.0, [0.5, 1.0]), (1.5, []), (1.6, [0.5]), (0.1, [])],
)
def test_nothing_begins_after_the_deadline(deadline: float | None, waited: list[float]) -> None:
    """Neither a wait nor an attempt begins that would pass the deadline: the last error comes at once."""
    clock, waits = 100.0, list[float]()
    flow = attempts(REQUEST, RetryPolicy(3, deadline), lambda: 0.0, lambda: clock, Session())
    step, came_to = next(flow), None
    while came_to is None:
        clock += step.seconds if isinstance(step, Sleep) else 1.0
        waits += [step.seconds] if isinstance(step, Sleep) else []
        try:
            step = flow.send(None if isinstance(step, Sleep) else BUSY)
        except e.ServerError as error:
            came_to = error
    assert (waits, came_to) == (waited, BUSY)
