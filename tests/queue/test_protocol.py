"""The queue's protocol as tables: splitting, matching, decoding, polling."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from cf_gemma import Completion
from cf_gemma import errors as e
from cf_gemma.queue.flow import Pause, PollPolicy, collect, poll, submit
from cf_gemma.queue.handle import BatchHandle, BatchPart, BatchResult, BatchStatus
from cf_gemma.queue.replies import accepted, answered, results
from cf_gemma.queue.requests import PART_BYTES, PART_ITEMS, items, parts, poll_request
from cf_gemma.request.http_request import HttpRequest
from cf_gemma.response.readers import BODY_LIMIT
from cf_gemma.response.reception import Reception
from cf_gemma.settings.resolved import Settings

SETTINGS = Settings.resolve(account_id="acc", api_token="token", environ={})
CHAT = {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}}
PARAMETERS = {"max_tokens": 5}


def cut(requests: Any, parameters: Any = PARAMETERS) -> list[list[dict[str, Any]]]:
    """The items of each part, decoded."""
    return [json.loads(part.request.body)["requests"] for part in parts(SETTINGS, parameters, items(requests))]


def test_an_item_is_what_chat_would_have_sent() -> None:
    """Texts, messages, prompts and dicts with options all become items with a reference and every default."""
    (outcome,) = cut(
        [
            "hi",
            [{"role": "user", "content": "ho"}],
            {"messages": "hey", "temperature": 0.5, "external_reference": "mine"},
            {"prompt": "once"},
        ]
    )
    assert [one["external_reference"] for one in outcome] == ["0", "1", "mine", "3"]
    assert [one["messages"][0]["content"] for one in outcome[:3]] == ["hi", "ho", "hey"]
    assert outcome[3]["prompt"] == "once"
    assert [one.get("temperature") for one in outcome] == [None, None, 0.5, None]
    assert all(one["max_tokens"] == 5 and "stream" not in one for one in outcome)
    assert all(one["chat_template_kwargs"] == {"enable_thinking": True} for one in outcome)


def test_parts_go_to_the_queue_of_the_run_endpoint() -> None:
    """Whichever endpoint chats go to, batches go where the queue is, and so do the questions after them."""
    compat = Settings.resolve(account_id="acc", api_token="token", endpoint="chat_completions", environ={})
    (part,) = parts(compat, PARAMETERS, items(["hi"]))
    for request in (part.request, poll_request(compat, "id")):
        assert request.url.endswith("/accounts/acc/ai/run/@cf/google/gemma-4-26b-a4b-it?queueRequest=true")
        assert not request.stream
        assert request.headers["authorization"] == "Bearer token"
    assert json.loads(poll_request(compat, "id").body) == {"request_id": "id"}


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([10], [1]),
        ([4_000_000] * 2, [2]),
        ([4_000_000] * 5, [2, 2, 1]),
        ([9_900_000, 10, 9_900_000], [2, 1]),
        ([10] * (PART_ITEMS + 1), [PART_ITEMS, 1]),
    ],
)
def test_splits_by_size_and_number(sizes: list[int], expected: list[int]) -> None:
    """Every part is within the limits, nothing is reordered or lost, and there are no more parts than needed."""
    made = parts(SETTINGS, PARAMETERS, items(["x" * size for size in sizes]))
    assert [len(part.references) for part in made] == expected
    assert [one for part in made for one in part.references] == [str(place) for place in range(len(sizes))]
    assert all(len(part.request.body) <= PART_BYTES for part in made)


def test_a_part_may_be_full_to_the_last_byte() -> None:
    """Two items that make exactly ten million bytes are one part; with one byte more they are two."""
    overhead = len(parts(SETTINGS, PARAMETERS, items(["", ""]))[0].request.body)
    for extra, expected in ((0, 1), (1, 2)):
        text = "x" * (PART_BYTES - overhead + extra)
        assert len(parts(SETTINGS, PARAMETERS, items([text[:5_000_000], text[5_000_000:]]))) == expected


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([], "a list of one request or more"),
        ("hi", "a list of one request or more"),
        (["hi", {"messages": "hi", "temperature": 3}], r"requests\[1\]: temperature must be a number"),
        (["hi", {"max_tokens": 5}], r"requests\[1\]: pass messages, or a prompt"),
        (["hi", {"messages": "hi", "model": "@cf/x/y"}], r"requests\[1\]: model is of the whole batch"),
        (["hi", {"messages": "hi", "external_reference": 1}], r"requests\[1\]: external_reference must be a text"),
        ([{"messages": "hi", "external_reference": "1"}, "hi"], r"requests\[1\]: external_reference '1' is taken"),
        (["hi", "x" * PART_BYTES], r"requests\[1\] has [0-9,]+ bytes; the queue takes 10,000,000"),
        (["hi", [{"role": "user", "content": [{"type": "input_audio"}]}]], r"requests\[1\]: "),
    ],
)
def test_what_can_not_be_sent(requests: Any, message: str) -> None:
    """A bad item is refused by its place, before anything is sent."""
    with pytest.raises(e.InvalidRequest, match=message):
        cut(requests)


def test_an_account_is_needed() -> None:
    """A server of one's own has no queue."""
    own = Settings.resolve(base_url="http://127.0.0.1:1/v1", endpoint="chat_completions", environ={})
    with pytest.raises(e.ConfigurationError, match="account_id"):
        poll_request(own, "id")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ({"result": {"status": "queued", "request_id": "x"}, "success": True}, ("queued", 0)),
        ({"result": {"status": "running"}}, ("running", 0)),
        ({"result": {"status": "scheduling"}}, ("scheduling", 0)),
        ({"status": "queued"}, ("queued", 0)),
        ({"result": {"responses": [{}, {}], "usage": {}}}, ("done", 2)),
        ({"responses": [{}]}, ("done", 1)),
        ({"result": {"status": "done", "responses": []}}, ("done", 0)),
    ],
)
def test_states(reply: dict[str, Any], expected: tuple[str, int]) -> None:
    """The answers are there when they are there; any other word means not yet."""
    answer = answered(reply)
    assert (answer.state, len(answer.responses)) == expected


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ({"result": {}}, e.ProtocolError),
        ({"result": {"status": 3}}, e.ProtocolError),
        ({"result": {"status": "failed"}}, e.ProtocolError),
        ({"result": {"status": "failed", "error": {"code": 3040, "message": "busy"}}}, e.CapacityExceeded),
    ],
)
def test_states_that_are_none(reply: dict[str, Any], error: type[e.GemmaError]) -> None:
    """What isn't an answer of the queue, or will never have one, is an error."""
    with pytest.raises(error):
        answered(reply)


@pytest.mark.parametrize("reply", [{}, {"result": {"request_id": ""}}, {"result": {"request_id": 7}}])
def test_a_receipt_without_a_request_id(reply: dict[str, Any]) -> None:
    """A batch that can't be asked for was not accepted."""
    with pytest.raises(e.ProtocolError, match="request_id"):
        accepted(reply)


@pytest.mark.parametrize(
    "response",
    [
        {"result": CHAT, "success": True},
        {"result": {"result": CHAT, "success": True, "errors": []}},
        {"result": {"response": "a", "usage": {"prompt_tokens": 1}}},
        {"response": "a", "usage": {"prompt_tokens": 1}, "success": True, "error": None},
        {"response": CHAT},
        {"result": {**CHAT, "choices": [{"message": {"content": None, "reasoning": "r"}, "finish_reason": "stop"}]}},
    ],
)
def test_answers_in_every_shape(response: dict[str, Any]) -> None:
    """An item's answer is found wherever it may be, decoded as any other answer is."""
    (result,) = results(BatchPart("id", ("a",)), [{"id": 0, **response}])
    completion = result.completion
    assert (completion.text or completion.reasoning) in ("a", "r")
    assert completion.usage
    assert completion.usage.prompt_tokens == 1
    assert (completion.extra, result.error) == ({}, None)


@pytest.mark.parametrize(
    ("response", "error"),
    [
        ({"success": False, "errors": [{"code": 3040, "message": "AiError: AiError: busy"}]}, e.CapacityExceeded),
        ({"success": False, "error": {"code": 5006, "message": "Bad input"}}, e.BadRequest),
        ({"success": False, "error": "Internal server error"}, e.ApiError),
        ({"success": False}, e.ApiError),
        ({"result": {"success": False, "errors": [{"code": 5021, "message": "too long"}]}}, e.ContextOverflow),
        ({"success": True, "result": {}}, e.ProtocolError),
        ({"success": True, "result": None}, e.ProtocolError),
        ({"success": True, "result": {"choices": "x"}}, e.ProtocolError),
    ],
)
def test_errors_in_every_shape(response: dict[str, Any], error: type[e.GemmaError]) -> None:
    """An item that failed has a typed error, and doesn't touch the others."""
    good = {"id": 1, "result": CHAT, "success": True}
    bad, fine = results(BatchPart("id", ("a", "b")), [{"id": 0, **response}, good])
    assert type(bad.error) is error
    with pytest.raises(error):
        _ = bad.completion
    assert fine.completion.text == "a"


def answer(text: str, **of_item: Any) -> dict[str, Any]:
    """A response with this text."""
    return {**of_item, "success": True, "result": {"choices": [{"message": {"content": text}}]}}


@pytest.mark.parametrize(
    ("references", "responses", "expected"),
    [
        (("x", "y"), [answer("Y", id=1, external_reference="y"), answer("X", id=0, external_reference="x")], "X Y"),
        (("x", "y"), [answer("Y", id=1), answer("X", id=0)], "X Y"),
        (("x", "y"), [answer("X"), answer("Y")], "X Y"),
        (("x", "y"), [answer("X", id=1, external_reference="x"), answer("Y", id=0, external_reference="y")], "X Y"),
        (("7", "8"), [answer("B", id=1, external_reference=8), answer("A", id=0, external_reference=7)], "A B"),
        (None, [answer("B", id=10), answer("A", id=9)], "A B"),
        (None, [answer("B", external_reference="b"), answer("A", external_reference="a")], "A B"),
    ],
)
def test_matching(references: tuple[str, ...] | None, responses: list[dict[str, Any]], expected: str) -> None:
    """Results come in the items' order, found by the external reference, else by number, else by place."""
    outcome = results(BatchPart("id", references), responses)
    assert " ".join(result.completion.text for result in outcome) == expected
    if references:
        assert tuple(result.reference for result in outcome) == references


def test_nothing_is_lost_when_the_queue_leaves_items_out() -> None:
    """An item without a response has an error of its own; a response without an item is one of the whole."""
    part = BatchPart("id", ("a", "b"))
    first, second = results(part, [answer("A", external_reference="a")])
    assert first.completion.text == "A"
    assert isinstance(second.error, e.ProtocolError)
    with pytest.raises(e.ProtocolError, match="belong to no item"):
        results(part, [answer("C", external_reference="c")])


def test_a_handle_survives_a_restart() -> None:
    """JSON and back is the same handle; a bare request id will do; anything else is refused."""
    handle = BatchHandle((BatchPart("r1", ("a", "b")), BatchPart("r2", ("c",))), "@cf/x/y")
    assert BatchHandle.of(handle.to_json()) == handle
    assert "\n" not in handle.to_json()
    assert len(handle) == 3
    assert BatchHandle.of(" r1 ", "@cf/x/y") == BatchHandle((BatchPart("r1"),), "@cf/x/y")
    for wrong in ("{", "{}", '{"parts": [1], "model": "m"}', " "):
        with pytest.raises(e.InvalidRequest):
            BatchHandle.of(wrong)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (("done", "done"), "done"),
        (("queued", "queued"), "queued"),
        (("done", "queued"), "running"),
        (("running",), "running"),
        (("scheduling",), "running"),
    ],
)
def test_the_state_of_the_whole(states: tuple[str, ...], expected: str) -> None:
    """A batch is done when all of it is, and runs when any of it has begun."""
    assert BatchStatus(states).state == expected


def drive(flow: Any, replies: list[Any]) -> tuple[Any, list[Any]]:
    """Answers a flow's requests in turn; its result, or error, and what it did: request bodies and pauses."""
    yielded, reply, left = [], None, list(replies)
    while True:
        try:
            step = flow.send(reply)
        except StopIteration as stop:
            return stop.value, yielded
        except e.GemmaError as error:
            return error, yielded
        reply = left.pop(0) if isinstance(step, HttpRequest) else None
        yielded.append(step.seconds if isinstance(step, Pause) else json.loads(step.body))


QUEUED, DONE = {"result": {"status": "queued"}}, {"result": {"responses": [answer("A", id=0)]}}
ASK = {"request_id": "r"}
HANDLE = BatchHandle((BatchPart("r", ("0",)),))


def collected(replies: list[Any], timeout: float | None = None, step: float = 1.0) -> tuple[Any, list[Any]]:
    """Collects a batch of one part; every look at the clock finds it `step` seconds later."""
    moments = iter(step * number for number in range(10_000))
    policy = PollPolicy(first=1, growth=2, longest=3)
    flow = collect(SETTINGS, HANDLE, timeout=timeout, policy=policy, clock=lambda: next(moments))
    return drive(flow, replies)


def test_asks_ever_more_rarely() -> None:
    """The pauses grow up to the longest one, and end with the answers."""
    outcome, yielded = collected([QUEUED, QUEUED, QUEUED, QUEUED, DONE])
    assert yielded == [ASK, 1, ASK, 2, ASK, 3, ASK, 3, ASK]
    assert [result.completion.text for result in outcome] == ["A"]
    assert PollPolicy().pause(10_000) == PollPolicy().longest


def test_gives_up_in_time() -> None:
    """The last pause ends where the time does, and after it there is one more question."""
    outcome, yielded = collected([QUEUED, QUEUED, QUEUED], timeout=2.5)
    assert isinstance(outcome, e.RequestTimeout)
    assert "queued" in str(outcome)
    assert yielded == [ASK, 1, ASK, 0.5, ASK]
    assert collected([QUEUED], timeout=0)[1] == [ASK]


def test_trouble_that_passes_is_waited_out() -> None:
    """A retryable error counts as not yet, until the time is up; one that lasts ends the wait at once."""
    busy, denied = e.ServerError("busy"), e.PermissionDenied("no")
    outcome, yielded = collected([busy, DONE])
    assert (len(outcome), yielded) == (1, [ASK, 1, ASK])
    assert collected([busy], timeout=0)[0] is busy
    assert collected([denied, DONE])[0] is denied


def test_a_part_that_failed_hides_no_other_ones_answers() -> None:
    """Its items have its error, and the others their answers; what is about who asks ends the wait."""
    handle = BatchHandle((BatchPart("r", ("0",)), BatchPart("s", ("1", "2")), BatchPart("t", None)))
    expired = {"result": {"status": "expired"}}
    flow = collect(SETTINGS, handle, timeout=None, policy=PollPolicy(), clock=lambda: 0.0)
    outcome, _ = drive(flow, [DONE, expired, {"result": {"responses": [answer("B", id=0)]}}])
    assert [result.reference for result in outcome] == ["0", "1", "2", "0"]
    assert [outcome[0].completion.text, outcome[3].completion.text] == ["A", "B"]
    assert all("expired" in str(result.outcome) for result in outcome[1:3])
    for refusal in (e.AuthenticationError("who?"), e.PermissionDenied("no")):
        flow = collect(SETTINGS, handle, timeout=None, policy=PollPolicy(), clock=lambda: 0.0)
        assert drive(flow, [DONE, refusal])[0] is refusal


def test_status_asks_once_after_each_part() -> None:
    """And waits for none."""
    handle = BatchHandle((BatchPart("r", ("0",)), BatchPart("s", ("1",))))
    outcome, yielded = drive(poll(SETTINGS, handle), [DONE, QUEUED])
    assert outcome == BatchStatus(("done", "queued"))
    assert yielded == [ASK, {"request_id": "s"}]


def test_a_batch_that_is_taken_in_part() -> None:
    """The handle of what was taken is in the error, which survives pickling; with nothing taken, the error is plain."""
    made = parts(SETTINGS, PARAMETERS, items(["x" * 6_000_000] * 2))
    full = e.CapacityExceeded("busy", code=3040)
    taken = {"result": {"status": "queued", "request_id": "r"}}
    outcome, _ = drive(submit(made, "m"), [taken, full])
    assert isinstance(outcome, e.BatchInterrupted)
    assert outcome.handle == BatchHandle((BatchPart("r", ("0",)),), "m")
    assert pickle.loads(pickle.dumps(outcome)).handle == outcome.handle  # noqa: S301 - our own
    assert outcome.__cause__ is full
    assert drive(submit(made, "m"), [full])[0] is full
    whole, _ = drive(submit(made, "m"), [taken, {"result": {"request_id": "s"}}])
    assert [part.request_id for part in whole.parts] == ["r", "s"]


def test_answers_to_many_requests_are_large() -> None:
    """A thousand answers may come in one body: more is taken of it than of a single answer."""
    body = b'{"result": {"responses": [], "more": "%s"}}' % (b"x" * (BODY_LIMIT + 1))
    question = Reception.of_object(200, {"content-type": "application/json"}, now=0)
    assert [*question.feed(body), *question.close()] == []
    assert answered(question.result()).state == "done"


def test_a_result_shows_its_answer() -> None:
    """`completion` is the answer, `error` the lack of one."""
    result = BatchResult("0", Completion(()))
    assert result.error is None
    assert result.completion.choices == ()
