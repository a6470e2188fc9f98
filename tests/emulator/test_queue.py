"""The asynchronous queue as Cloudflare documents it, over plain HTTP."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

import pytest

from cf_gemma.emulator import Fault
from cf_gemma.model.facts import MODEL

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Caller


def reply(body: dict[str, Any]) -> str | Fault:
    """Echoes, unless it is told to fail."""
    content: str = body["messages"][0]["content"]
    return Fault.of(3040) if content == "busy" else f"You said: {content}"


def ask(caller: Caller, body: Any, **options: Any) -> Any:
    """What the queue says, decoded."""
    return caller.post(f"{caller.ai}/run/{MODEL}?queueRequest=true", body, **options).json()


def item(text: str, **options: Any) -> dict[str, Any]:
    """One request of a batch."""
    return {"messages": [{"role": "user", "content": text}], **options}


def collect(caller: Caller, request_id: str) -> tuple[list[str], dict[str, Any]]:
    """Asks until it is done: the states on the way, and the result."""
    states: list[str] = []
    for _ in range(1_000):
        result = ask(caller, {"request_id": request_id})["result"]
        if "responses" in result:
            return states, result
        assert result["request_id"] == request_id
        states.append(result["status"])
    raise AssertionError("the batch was never done")


def test_a_batch(serve: Callable[..., Caller]) -> None:
    """A receipt, states on the way, and answers in any order that bear their number and reference."""
    caller = serve(reply, queue_polls=3, seed=1)
    batch = [item(f"{number}", external_reference=f"ref {number}") for number in range(8)]
    receipt = ask(caller, {"requests": batch})
    assert (receipt["success"], receipt["errors"]) == (True, [])
    request_id = receipt["result"].pop("request_id")
    assert receipt["result"] == {"status": "queued", "model": MODEL}
    assert re.fullmatch(r"[0-9a-f-]{36}", request_id)
    states, result = collect(caller, request_id)
    assert states[:3] == ["queued", "running", "running"]
    assert sorted(response["id"] for response in result["responses"]) == list(range(8))
    assert [response["id"] for response in result["responses"]] != list(range(8))
    for response in result["responses"]:
        assert response["success"] is True
        assert response["external_reference"] == f"ref {response['id']}"
        assert response["result"]["choices"][0]["message"]["content"] == f"You said: {response['id']}"
    used = [response["result"]["usage"]["total_tokens"] for response in result["responses"]]
    assert result["usage"]["total_tokens"] == sum(used)


def test_items_fail_on_their_own(serve: Callable[..., Caller]) -> None:
    """What the model refuses is its item's own; a reference that wasn't given isn't made up."""
    caller = serve(reply, queue_polls=0)
    batch = [item("a"), item("busy"), item("b", max_tokens=300_000), item("c", tool_choice="required")]
    _, result = collect(caller, ask(caller, {"requests": batch})["result"]["request_id"])
    responses = {response["id"]: response for response in result["responses"]}
    assert [responses[number]["success"] for number in range(4)] == [True, False, False, False]
    assert [responses[number]["errors"][0]["code"] for number in (1, 2, 3)] == [3040, 5021, 8001]
    assert all("external_reference" not in response for response in responses.values())


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"requests": []}, 400, 5006),
        ({"requests": {}}, 400, 5006),
        ({"requests": [item("a"), {"messages": []}]}, 400, 5006),
        ({"requests": [item("a", temperature=9)]}, 400, 5006),
        ({"requests": [item("x" * 10_000_000)]}, 413, 3006),
        ({"request_id": "nowhere"}, 404, None),
        ({}, 404, None),
    ],
)
def test_what_the_edge_refuses(serve: Callable[..., Caller], body: Any, status: int, code: int | None) -> None:
    """A batch that is too large, or of which one item breaks the schema, is refused as a whole."""
    caller = serve(reply)
    response = caller.post(f"{caller.ai}/run/{MODEL}?queueRequest=true", body)
    assert (response.status_code, response.json()["errors"][0].get("code")) == (status, code)


def test_faults_on_demand(serve: Callable[..., Caller]) -> None:
    """The header of all requests works at the counter, too, and an unknown model has no queue."""
    caller = serve(reply)
    assert ask(caller, {"requests": [item("a")]}, headers={"x-emulator-fault": "429-3040"})["success"] is False
    response = caller.post(f"{caller.ai}/run/@cf/no/model?queueRequest=true", {"requests": [item("a")]})
    assert response.json()["errors"][0]["code"] == 5007


def test_an_engine_that_breaks(serve: Callable[..., Caller], caplog: pytest.LogCaptureFixture) -> None:
    """Its item has an internal error, the log says what happened, and the batch is done all the same."""

    class Broken:
        name = "broken"

        def generate(self, *_: Any) -> Any:
            raise ZeroDivisionError

        def close(self) -> None: ...

    with caplog.at_level(logging.CRITICAL, "cf_gemma.emulator"):
        caller = serve(Broken(), queue_polls=0)
        _, result = collect(caller, ask(caller, {"requests": [item("a")]})["result"]["request_id"])
    assert result["responses"][0]["success"] is False
    assert "Internal server error" in result["responses"][0]["errors"][0]["message"]
