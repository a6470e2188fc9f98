"""What an account may use, where it is routed, and what a gateway in front of it keeps."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from cf_gemma.emulator import Fault, Reply, ToolCallSpec
from cf_gemma.model.facts import MODEL

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from conftest import Caller

GATEWAY = {"cf-aig-gateway-id": "default"}
FORCED: dict[str, Any] = {
    "tools": [{"type": "function", "function": {"name": "add"}}],
    "tool_choice": {"type": "function", "function": {"name": "add"}},
}


def refused(response: httpx.Response) -> tuple[int, int | None]:
    """Status and code of an error response."""
    return response.status_code, response.json()["errors"][0].get("code")


def test_requests_a_minute(serve: Callable[..., Caller]) -> None:
    """One request too many is refused without a code, and a minute after the first there is room for one again."""
    now = [1_000.0]
    caller = serve("Hello!", requests_per_minute=2, clock=lambda: now[0])
    assert [caller.run().status_code for _ in range(3)] == [200, 200, 429]
    assert refused(caller.chat()) == (429, None)
    now[0] += 60
    assert [caller.run().status_code for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize("stream", [False, True])
def test_daily_allocation(serve: Callable[..., Caller], *, stream: bool) -> None:
    """Once the day's neurons are spent, whole and streamed answers alike, 4006 comes until midnight UTC."""
    now = [86_400.0 * 20_000 + 80_000]
    caller = serve(Reply("Hello!", usage=(1_000, 100)), daily_neurons=20, clock=lambda: now[0])
    assert [caller.run(stream=stream).status_code for _ in range(3)] == [200, 200, 429]
    assert refused(caller.run()) == (429, 4006)
    now[0] += 6_400
    assert caller.run().status_code == 200


def test_no_room(serve: Callable[..., Caller]) -> None:
    """With all places taken, a request waits its turn, or is refused at once if it asks for that."""
    asked, free = threading.Event(), threading.Event()

    def slowly(body: dict[str, Any]) -> str:
        asked.set()
        free.wait(5)
        return "Hello!"

    caller = serve(slowly, capacity=1)
    impatient = {"options": {"rejectIfBusy": True}}
    waiting = threading.Thread(target=caller.run)
    waiting.start()
    assert asked.wait(5)
    for post in (caller.run, caller.chat):
        assert refused(post(**impatient)) == (429, 3040)
    free.set()
    waiting.join()
    assert caller.run(**impatient).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_gateway_cache(serve: Callable[..., Caller], *, stream: bool) -> None:
    """A gateway gives the same request the same answer, as long as it may, and says whether it did."""
    now = [0.0]
    caller = serve(["one", "two", "three", "four"], clock=lambda: now[0])
    keeping = {**GATEWAY, "cf-aig-cache-ttl": "60"}
    first, again = (caller.run(headers=keeping, stream=stream) for _ in range(2))
    assert [answer.headers["cf-aig-cache-status"] for answer in (first, again)] == ["MISS", "HIT"]
    assert (first.content, first.headers["content-type"]) == (again.content, again.headers["content-type"])
    assert first.headers["cf-aig-log-id"] != again.headers["cf-aig-log-id"]
    assert "two" in caller.run(headers={**keeping, "cf-aig-skip-cache": "true"}, stream=stream).text
    assert "three" in caller.run(headers=keeping, stream=stream, max_tokens=7).text
    now[0] = 61
    assert caller.run(headers=keeping, stream=stream).headers["cf-aig-cache-status"] == "MISS"


def test_gateway_without_a_cache(serve: Callable[..., Caller]) -> None:
    """Nothing is kept unless it is asked for; without a gateway there are none of its headers."""
    caller = serve(["one", "two", "three"])
    answers = [caller.run(headers=headers) for headers in (GATEWAY, GATEWAY, {})]
    assert [answer.headers.get("cf-aig-cache-status") for answer in answers] == ["MISS", "MISS", None]
    assert len({answer.text for answer in answers}) == 3
    assert answers[0].headers["cf-aig-model"] == MODEL


def test_gateway_keys(serve: Callable[..., Caller]) -> None:
    """A key of the caller's own makes requests the same that aren't; another gateway has another cache."""
    caller = serve(["one", "two"], gateway_cache_ttl=60)
    keyed = {**GATEWAY, "cf-aig-cache-key": "mine"}
    assert caller.run(headers=keyed).json() == caller.run(headers=keyed, max_tokens=9).json()
    assert "two" in caller.run(headers={**keyed, "cf-aig-gateway-id": "other"}).text


def test_gateway_keeps_no_failures(serve: Callable[..., Caller]) -> None:
    """Neither a refusal nor a stream that broke off is given to the next."""
    caller = serve([Fault(429, 3040), Reply("Hello", error=Fault(429, 3040)), "Hello!"], gateway_cache_ttl=60)
    assert caller.run(headers=GATEWAY, stream=True).status_code == 429
    assert "3040" in caller.run(headers=GATEWAY, stream=True).text
    assert "[DONE]" in caller.run(headers=GATEWAY, stream=True).text


def cached(response: httpx.Response) -> int:
    """Cached tokens of a whole answer."""
    return response.json()["result"]["usage"]["prompt_tokens_details"]["cached_tokens"]


def test_session_affinity(serve: Callable[..., Caller]) -> None:
    """As much as a session's last prompt had is cached, in blocks of 64; nothing of another's, or without a session."""
    caller = serve("Hello!")
    turns = [{"role": "user", "content": "word " * 200}]
    more = [*turns, {"role": "assistant", "content": "Hello!"}, {"role": "user", "content": "word " * 20}]
    mine = {"x-session-affinity": "mine"}
    first, second, other, none = (
        caller.run(headers=headers, messages=messages)
        for headers, messages in ((mine, turns), (mine, more), ({"x-session-affinity": "x"}, more), ({}, more))
    )
    assert [cached(one) for one in (first, second, other, none)] == [0, 192, 0, 0]
    assert second.json()["result"]["usage"]["neurons"] < none.json()["result"]["usage"]["neurons"]


def test_forced_call_with_little_room(serve: Callable[..., Caller]) -> None:
    """A forced call with thinking and a small budget is 8006; with thinking off, or room enough, it is taken."""
    caller = serve(Reply(tool_calls=[ToolCallSpec("add")]))
    assert refused(caller.run(**FORCED, max_tokens=400)) == (400, 8006)
    assert refused(caller.chat(**FORCED)) == (400, 8006)
    assert caller.run(**FORCED, max_tokens=4_096).status_code == 200
    assert caller.run(**FORCED, chat_template_kwargs={"enable_thinking": False}).status_code == 200


@pytest.mark.parametrize("dialect", ["S", "V"])
def test_back_end_by_request(serve: Callable[..., Caller], dialect: str) -> None:
    """A request can choose its back-end, and how its tool calls are cut."""
    caller = serve(Reply(tool_calls=[ToolCallSpec("add", {"a": 1, "b": 2})]))
    headers = {"x-emulator-dialect": dialect, "x-emulator-tool-calls": "whole"}
    for _ in range(4):
        response = caller.run(headers=headers, stream=True)
        assert response.headers["x-emulator-dialect"] == dialect
        chunks = [event for event in caller.events(response) if "choices" in event]
        assert len([1 for chunk in chunks for choice in chunk["choices"] if choice["delta"].get("tool_calls")]) == 1


@pytest.mark.parametrize("header", ["x-emulator-dialect", "x-emulator-tool-calls"])
def test_back_end_there_is_not(serve: Callable[..., Caller], header: str) -> None:
    """A word that names nothing is refused in words that list what there is."""
    response = serve("Hello!").run(headers={header: "T"})
    assert response.status_code == 400
    assert f"{header} must be one of" in response.text


def test_model_schema(serve: Callable[..., Caller]) -> None:
    """The schema endpoint gives a JSON Schema that takes what the emulator takes, and refuses what it refuses."""
    caller = serve("Hello!")
    definition = caller.http.get(f"{caller.ai}/models/schema", params={"model": MODEL}).json()["result"]["input"]
    jsonschema.Draft202012Validator.check_schema(definition)
    schema = jsonschema.Draft202012Validator(definition)
    user = {"role": "user", "content": "Hi"}
    bodies: list[dict[str, Any]] = [
        {"prompt": "Hi"},
        {"messages": [user], "temperature": 1, "stop": ["a"], **FORCED, "max_tokens": 5_000},
        {"messages": [user], "tool_choice": "auto", "response_format": {"type": "json_object"}},
        {},
        {"messages": []},
        {"prompt": "Hi", "messages": [user]},
        {"messages": [{"role": "robot", "content": "Hi"}]},
        {"messages": [user], "temperature": 3},
        {"messages": [user], "reasoning_effort": "none"},
        {"messages": [user], "stop": ["a"] * 5},
    ]
    taken = [caller.post(f"{caller.ai}/run/{MODEL}", body).status_code == 200 for body in bodies]
    assert taken == [True] * 3 + [False] * 7
    assert [schema.is_valid(body) for body in bodies] == taken
    assert refused(caller.http.get(f"{caller.ai}/models/schema?model=@cf/other")) == (400, 5007)
