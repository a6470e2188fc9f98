"""`Gemma.batch` and `AsyncGemma.batch` over real HTTP, against the emulator's queue."""

from __future__ import annotations

import base64
import inspect
import threading
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from typing_extensions import override

from cf_gemma import AsyncGemma, Gemma
from cf_gemma import errors as e
from cf_gemma.emulator import Emulator, Fault, Reply
from cf_gemma.model.facts import MODEL
from cf_gemma.queue.batch import AsyncBatch, Batch, BatchHandle

if TYPE_CHECKING:
    from collections.abc import Callable


def echo(body: dict[str, Any]) -> Reply | Fault:
    """Says what it was told, with a thought; some words make it fail."""
    text: str = body["messages"][-1]["content"]
    if text == "busy":
        return Fault.of(3040)
    return Reply(f"You said: {text[:20]}", reasoning="Let me think.")


def test_hands_over_and_collects(queue: Callable[..., Any]) -> None:
    """Every request has its own answer, in order, with reasoning, usage and price, or its own error."""
    with Emulator(echo, seed=3, queue_polls=2) as emulator:
        client = queue(emulator, max_tokens=50)
        words = [f"word {number}" for number in range(20)]
        handle = client.submit([*words[:7], "busy", *words[7:]], temperature=0)
        results = client.wait(handle)
    assert [result.reference for result in results] == [str(place) for place in range(21)]
    assert isinstance(results[7].error, e.CapacityExceeded)
    answers = [result.completion for result in results if result.error is None]
    assert [answer.text for answer in answers] == [f"You said: {word}" for word in words]
    assert {answer.reasoning for answer in answers} == {"Let me think."}
    assert all(answer.usage and answer.usage.cost > 0 for answer in answers)
    submitted, *asked = emulator.requests
    assert submitted.query == {"queueRequest": "true"}
    assert {one["temperature"] for one in submitted.json["requests"]} == {0}
    assert [request.json for request in asked] == [{"request_id": handle.parts[0].request_id}] * len(asked)
    assert client.clock.waits[:2] == [1.0, 1.5]


def test_states_on_the_way(queue: Callable[..., Any]) -> None:
    """A batch is queued, then running, then done; results before that are refused with what to do."""
    with Emulator(Reply("Hi", delay=0.01), queue_polls=3) as emulator:
        client = queue(emulator)
        handle = client.submit(["hi"])
        states = [client.status(handle).state for _ in range(2)]
        with pytest.raises(e.RequestTimeout, match="running"):
            client.results(handle)
        client.wait(handle)
        assert client.status(handle).state == "done"
        assert client.results(handle)[0].completion.text == "Hi"
    assert states == ["queued", "running"]


def test_another_process_collects(queue: Callable[..., Any]) -> None:
    """The handle's JSON, or the bare request id, is all that a client needs that never saw the batch."""
    with Emulator(echo, queue_polls=0) as emulator:
        text = queue(emulator).submit([{"messages": "hi", "external_reference": "mine"}, "ho"]).to_json()
        later = queue(emulator)
        (part,) = BatchHandle.from_json(text).parts
        for known in (text, part.request_id):
            assert {r.reference: r.completion.text for r in later.wait(known)} == {
                "mine": "You said: hi",
                "1": "You said: ho",
            }


def test_more_than_ten_megabytes(queue: Callable[..., Any]) -> None:
    """What is too large for one request becomes several, behind one handle."""
    with Emulator(echo, queue_polls=0) as emulator:
        client = queue(emulator, max_tokens=10)
        texts = [f"{number} " + "x" * 900_000 for number in range(12)]
        handle = client.submit(texts)
        results = client.wait(handle)
    assert len(handle.parts) == 2
    assert [result.completion.text[:11] for result in results] == [f"You said: {number}"[:11] for number in range(12)]


def test_nothing_is_sent_of_a_bad_batch(queue: Callable[..., Any]) -> None:
    """One bad request among good ones is named, and nothing goes out."""
    with Emulator(echo) as emulator:
        client = queue(emulator)
        with pytest.raises(e.InvalidRequest, match=r"requests\[1\]: temperature"):
            client.submit(["hi", {"messages": "ho", "temperature": 9}])
        assert emulator.requests == []


def test_an_unknown_request_id(queue: Callable[..., Any]) -> None:
    """What the service says of it comes at once, and isn't waited out."""
    with Emulator(echo) as emulator, pytest.raises(e.NotFound, match="nowhere"):
        queue(emulator).wait("nowhere")


def test_a_busy_service(queue: Callable[..., Any]) -> None:
    """Trouble at the counter is retried like any other; trouble while waiting is waited out."""
    with Emulator(echo, queue_polls=0) as emulator:
        client = queue(emulator, max_retries=0, default_headers={"x-emulator-fault": "503;times=1"})
        with pytest.raises(e.ServerError):
            client.submit(["hi"])
        handle = client.submit(["hi"])
        flaky = queue(emulator, max_retries=0, default_headers={"x-emulator-fault": "429-3040;times=3"})
        assert flaky.wait(handle)[0].completion.text == "You said: hi"


def test_images_go_along(queue: Callable[..., Any]) -> None:
    """A request to the queue may have images, checked like those of a chat."""
    header = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + bytes([0, 0, 0, 1] * 2)
    tiny = f"data:image/png;base64,{base64.b64encode(header).decode()}"
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": tiny}}]}]
    with Emulator(echo) as emulator, pytest.raises(e.UnsupportedContent, match=r"requests\[0\]: .*the image is 1 x 1"):
        queue(emulator).submit([messages])


class Watched(dict[str, Any]):
    """A message that notes which threads read it."""

    readers: ClassVar[set[int]] = set()

    @override
    def items(self) -> Any:
        self.readers.add(threading.get_ident())
        return super().items()


async def test_the_event_loop_does_not_wait_for_the_body() -> None:
    """Up to ten megabytes of JSON, and images that are scaled down: another thread does that."""
    Watched.readers.clear()
    with Emulator(echo, queue_polls=0) as emulator:
        where = {"account_id": emulator.account_id, "api_token": emulator.api_token, "base_url": emulator.base_url}
        async with AsyncGemma(**where) as model:
            await model.batch.submit([[Watched(role="user", content="hi")]])
    assert Watched.readers
    assert threading.get_ident() not in Watched.readers


@pytest.mark.parametrize("name", ["submit", "status", "results", "wait"])
def test_the_twins_have_the_same_parameters(name: str) -> None:
    """What one takes the other takes."""
    blocking, asynchronous = (inspect.signature(getattr(kind, name)).parameters for kind in (Batch, AsyncBatch))
    assert list(blocking.items()) == list(asynchronous.items())


def test_the_queue_refuses_what_the_service_would() -> None:
    """The emulator's edge checks token, model and the schema of every item; a model's own objection is the item's."""
    with Emulator(echo) as emulator:
        where = {"account_id": emulator.account_id, "base_url": emulator.base_url}
        with pytest.raises(e.AuthenticationError):
            Gemma(api_token="wrong", **where).batch.submit(["hi"])
        model = Gemma(api_token=emulator.api_token, max_retries=0, **where)
        with pytest.raises(e.NotFound):
            model.batch.submit(["hi"], model="@cf/no/model")
        with pytest.raises(e.BadRequest, match="temperature"):
            model.batch.submit(["hi"], extra_body={"temperature": 9})
        vars(model.batch)["_sleep"] = lambda _: None
        (result,) = model.batch.wait(model.batch.submit(["hi"], extra_body={"max_tokens": 300_000}))
        assert isinstance(result.error, e.ContextOverflow)
        assert MODEL in emulator.requests[-1].path
