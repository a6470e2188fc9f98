"""The gate in front of the connection pools."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_gemma import AsyncGemma, Gemma
from cf_gemma.transport import waits
from cf_gemma.transport.flow import Session
from cf_gemma.transport.lanes import Lanes
from tests.faultserver import FaultServer, Wait, json_reply


def waiting(lanes: Lanes, session: Session | None = None) -> Future[Any]:
    """Somebody in the queue."""
    place: Future[Any] = Future()
    lanes.wait(place, session or Session())
    return place


def test_one_after_the_other_takes_the_first_lane() -> None:
    """So calls in a row share one connection."""
    lanes = Lanes(lanes=3, places=2)
    for _ in range(5):
        assert lanes.enter() == 0
        lanes.leave(0)


def test_lanes_are_filled_one_by_one() -> None:
    """The second is taken when the first is full, and a place that was given back is taken first."""
    lanes = Lanes(lanes=2, places=2)
    assert [lanes.enter() for _ in range(5)] == [0, 0, 1, 1, None]
    lanes.leave(0)
    assert lanes.enter() == 0


def test_first_come_first_served() -> None:
    """A place goes to whoever has waited longest, in the lane in which it became free; nobody overtakes."""
    lanes = Lanes(lanes=2, places=1)
    assert [lanes.enter(), lanes.enter()] == [0, 1]
    first, second = waiting(lanes), waiting(lanes)
    lanes.leave(1)
    assert (first.result(0), second.done(), lanes.enter()) == (1, False, None)
    lanes.leave(0)
    assert second.result(0) == 0


def test_whoever_stops_waiting_takes_no_place() -> None:
    """One that withdraws is passed over; one that withdraws too late gives the place back."""
    lanes = Lanes(lanes=1, places=1)
    lanes.enter()
    gone, late, last = waiting(lanes), waiting(lanes), waiting(lanes)
    lanes.withdraw(gone)
    lanes.leave(0)
    assert late.result(0) == 0
    lanes.withdraw(late)
    assert last.result(0) == 0
    assert not gone.done()


def test_those_of_a_closed_session_are_sent_away() -> None:
    """They get None and no place, and the others go on waiting in their order."""
    lanes, session = Lanes(lanes=1, places=1), Session()
    lanes.enter()
    mine, other, also_mine = waiting(lanes, session), waiting(lanes), waiting(lanes, session)
    lanes.dismiss(session)
    assert (mine.result(0), also_mine.result(0), other.done()) == (None, None, False)
    lanes.withdraw(mine)
    lanes.leave(0)
    assert (other.result(0), lanes.enter()) == (0, None)


def test_a_task_that_was_cancelled_takes_no_place() -> None:
    """A cancelled task may not have run when a place becomes free: the next in the queue gets it."""

    async def run() -> None:
        lanes = Lanes(lanes=1, places=1)
        lanes.enter()
        loop = asyncio.get_running_loop()
        cancelled, other = loop.create_future(), loop.create_future()
        lanes.wait(cancelled, Session())
        lanes.wait(other, Session())
        cancelled.cancel()
        lanes.leave(0)
        assert other.result() == 0
        lanes.withdraw(cancelled)
        lanes.leave(0)
        assert lanes.enter() == 0

    asyncio.run(run())


@given(st.lists(st.sampled_from(["enter", "leave", "withdraw"]), max_size=60))
@pytest.mark.parametrize(("count", "places"), [(1, 1), (2, 3)])
def test_no_place_is_lost_or_taken_twice(count: int, places: int, steps: list[str]) -> None:
    """Whatever is entered, left and withdrawn: those inside and the free places are always all places together."""
    lanes, inside, queue = Lanes(count, places), list[Future[Any]](), list[Future[Any]]()
    for step in steps:
        if step == "enter":
            queue.append(waiting(lanes))
        elif step == "leave" and inside:
            lanes.leave(inside.pop(0).result(0))
        elif step == "withdraw" and queue:
            lanes.withdraw(queue.pop())
        inside += [place for place in queue if place.done()]
        queue = [place for place in queue if not place.done()]
        taken = [place.result(0) for place in inside]
        assert all(taken.count(lane) <= places for lane in range(count))
        assert not queue or len(taken) == count * places
    for place in inside:
        lanes.leave(place.result(0))
        queue = [place for place in queue if not place.done() or lanes.leave(place.result(0))]
    assert [lanes.enter() for _ in range(count * places)].count(None) == 0


@pytest.mark.parametrize("kind", [Gemma, AsyncGemma])
def test_waiting_in_line(kind: type[Gemma | AsyncGemma], monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts for `deadline`, and what has not begun by then is never sent; it doesn't count for `timeout`."""
    monkeypatch.setattr("cf_gemma.transport.pools.Lanes", partial(Lanes, 1, 1))
    answer = json_reply({"choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}]})
    with FaultServer([Wait(0.8), answer], [answer]) as server:
        settings: dict[str, Any] = {"base_url": server.url, "wire_streaming": False}
        first, hurried, patient = (
            kind("a", "t", **settings, **limits) for limits in ({}, {"deadline": 0.3}, {"timeout": 0.4})
        )

        def ask(model: Any) -> Any:
            return model.chat("hi")

        async def ask_all() -> list[Any]:
            chats = [asyncio.to_thread(ask, one) if kind is Gemma else ask(one) for one in (first, hurried, patient)]
            tasks: list[asyncio.Future[Any]] = []
            for chat in chats:
                tasks.append(asyncio.ensure_future(chat))
                await asyncio.sleep(0.1)
            return await asyncio.gather(*tasks, return_exceptions=True)

        answers = asyncio.run(ask_all())
        assert [getattr(one, "text", type(one).__name__) for one in answers] == ["Hi.", "RequestTimeout", "Hi."]
        assert "deadline" in str(answers[1])
        assert len(server.requests) == 2
        if isinstance(first, Gemma):
            first.close()


@pytest.mark.parametrize(("seconds", "passes"), [(0.0, 100), (60.0, 1)])
def test_many_calls_do_not_stop_the_loop(seconds: float, passes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that begin at once begin in as many passes of the loop as they need, and other tasks come in between."""
    monkeypatch.setattr(waits, "PASS", seconds)

    async def begun() -> int:
        between = 0

        async def count() -> None:
            nonlocal between
            while True:
                between += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        await asyncio.gather(*(waits.turn() for _ in range(100)))
        counting.cancel()
        return between

    assert passes <= asyncio.run(begun()) <= passes + 3
