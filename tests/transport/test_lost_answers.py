"""What a server's parser lost is asked for once more, in one piece, where nothing was handed out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cf_gemma.errors import AuthenticationError, BadRequest
from tests.faultserver import END, FaultServer, Wait, chunk, error_reply, json_reply, stream_head
from tests.response.wire import sse, text_chunk

if TYPE_CHECKING:
    from tests.transport.callers import Caller

TOOL = {
    "type": "function",
    "function": {"name": "wipe", "parameters": {"type": "object", "properties": {"disk": {"type": "string"}}}},
}
GOOD = json_reply({"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]})


def streamed(*chunks: dict[str, Any]) -> list[Any]:
    """A stream of these chunks."""
    return [stream_head(), chunk(sse(list(chunks))), END]


def lost(reason: str = "tool_calls") -> list[Any]:
    """A stream with the opener of a call, whose arguments never come."""
    opener = {"index": 0, "id": "c", "function": {"name": "wipe", "arguments": ""}}
    return streamed(
        {"choices": [{"delta": {"tool_calls": [opener]}}]}, {"choices": [{"delta": {}, "finish_reason": reason}]}
    )


def test_a_call_without_its_arguments_is_asked_for_once_more(caller: Caller) -> None:
    """The second request is the same one, but for the stream; its answer is taken."""
    with FaultServer(lost(), [GOOD]) as server:
        answer = caller.chat(caller.model(server.url), tools=[TOOL])
        assert (answer.text, len(server.requests), caller.waits) == ("a", 2, [0.0])
        first, second = (request.json for request in server.requests)
        assert (first.pop("stream"), "stream" in second) == (True, False)
        first.pop("stream_options")
        assert first == second


def test_what_is_lost_twice_comes_as_it_is(caller: Caller) -> None:
    """There is no third request, and no valid call."""
    with FaultServer(lost()) as server:
        answer = caller.chat(caller.model(server.url), tools=[TOOL])
        assert (len(server.requests), len(answer.tool_calls), len(answer.invalid_tool_calls)) == (2, 0, 1)


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_what_a_limit_cut_is_not_asked_for_again(caller: Caller, reason: str) -> None:
    """It would be cut again."""
    with FaultServer(lost(reason)) as server:
        assert caller.chat(caller.model(server.url), tools=[TOOL]).invalid_tool_calls
        assert len(server.requests) == 1


def test_max_retries_holds(caller: Caller) -> None:
    """Whoever wants one request has one."""
    with FaultServer(lost()) as server:
        assert caller.chat(caller.model(server.url, max_retries=0), tools=[TOOL]).invalid_tool_calls
        assert len(server.requests) == 1


@pytest.mark.parametrize("streams", [True, False])
def test_an_empty_answer_is_asked_for_once_more(caller: Caller, streams: bool) -> None:
    """Nothing was said, so nothing was handed out, not even of a stream."""
    empty = streamed({"choices": [{"delta": {"content": ""}, "finish_reason": "stop"}]})
    with FaultServer(empty, streamed(text_chunk("a", "stop"))) as server:
        model = caller.model(server.url)
        answer = caller.stream(model)[-1] if streams else caller.chat(model)
        assert (answer.text, len(server.requests)) == ("a", 2)


def test_what_was_handed_out_is_not_asked_for_again(caller: Caller) -> None:
    """A stream whose deltas were taken ends with the answer as it is."""
    with FaultServer(lost()) as server:
        items = caller.stream(caller.model(server.url), tools=[TOOL])
        assert items[-1].invalid_tool_calls
        assert len(server.requests) == 1


def test_a_schema_that_is_refused_in_streams(caller: Caller) -> None:
    """5023 is answered with the same request in one piece, once."""
    with FaultServer([error_reply(400, 5023, "JSON Schema mode is not supported with stream mode.")], [GOOD]) as server:
        assert caller.chat(caller.model(server.url)).text == "a"
        assert [request.json.get("stream", False) for request in server.requests] == [True, False]
    with FaultServer([error_reply(400, 5023, "no")]) as server:
        with pytest.raises(BadRequest):
            caller.chat(caller.model(server.url))
        assert len(server.requests) == 2


def test_an_image_that_nobody_sent(caller: Caller) -> None:
    """8006 without an image says what the cause may be."""
    with (
        FaultServer([error_reply(400, 8006, "invalid base64 encoding")]) as server,
        pytest.raises(BadRequest, match="data:image/"),
    ):
        caller.chat(caller.model(server.url))


def test_no_time_for_another_request(caller: Caller) -> None:
    """Past the deadline the answer comes as it is, once, streamed or not: it is no error."""
    empty = streamed({"choices": [{"delta": {"content": ""}, "finish_reason": "stop"}]})
    alive = chunk(sse([{"usage": {"prompt_tokens": 1}}], done=False))
    late = [stream_head(), alive, Wait(0.12), alive, Wait(0.12), *empty[1:]]
    with FaultServer(late) as server:
        model = caller.model(server.url, deadline=0.2)
        assert caller.stream(model)[-1].text == ""
        assert caller.chat(model).text == ""
        assert len(server.requests) == 2


def test_an_error_after_a_lost_answer_carries_it(caller: Caller) -> None:
    """When the second request fails, what the first one brought is in the error."""
    with FaultServer(lost(), [error_reply(401, 10000)]) as server:
        with pytest.raises(AuthenticationError) as caught:
            caller.chat(caller.model(server.url), tools=[TOOL])
        assert caught.value.partial is not None
        assert [call.name for call in caught.value.partial.invalid_tool_calls] == ["wipe"]


def test_a_lost_answer_is_asked_for_again_only_once(caller: Caller) -> None:
    """Also where the second request is refused for the moment and a third brings the same."""
    with FaultServer(lost(), [error_reply(500)], lost()) as server:
        assert caller.chat(caller.model(server.url, max_retries=5), tools=[TOOL]).invalid_tool_calls
        assert len(server.requests) == 3
