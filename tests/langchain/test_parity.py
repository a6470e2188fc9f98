"""One truth in five ways, for answers that nobody thought of, told in every manner that the wire was seen to have."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.callbacks import BaseCallbackHandler

from langchain_cf_gemma import ChatCloudflareGemma
from tests.alike import bare
from tests.response.test_stream_properties import answers as whole_answers
from tests.response.wire import Written, sse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.messages import AIMessage

pytestmark = pytest.mark.filterwarnings("ignore:.*is in beta")


@st.composite
def answers(draw: st.DrawFn) -> Written:
    """Any text, reasoning and calls, in any manner of the wire; often the last call is cut off."""
    answer = draw(whole_answers)
    if not answer.calls or answer.tool_style == "object" or draw(st.booleans()):
        return answer
    *others, last = answer.calls
    cut = replace(last, arguments=last.arguments[: draw(st.integers(1, len(last.arguments) - 1))])
    return replace(answer, calls=[*others, cut], finish_reason="length")


class Odd(NamedTuple):
    """An answer whose calls come in pieces that nobody would write on purpose; as one body, all pieces at once."""

    pieces: list[dict[str, Any]]

    def reply(self) -> dict[str, Any]:
        """The answer as one `chat.completion`."""
        return body({"index": 0, "message": {"tool_calls": self.pieces}, "finish_reason": "tool_calls"})

    def chunks(self) -> Iterator[dict[str, Any]]:
        """The answer as the chunks of a stream."""
        for piece in self.pieces:
            yield body({"index": 0, "delta": {"tool_calls": [piece]}, "finish_reason": None})
        yield body({"index": 0, "delta": {}, "finish_reason": "tool_calls"})


class Two:
    """An answer of two choices, which come in turns."""

    def reply(self) -> dict[str, Any]:
        """The answer as one `chat.completion`."""
        texts = enumerate(("Rome", "Paris"))
        return body(*({"index": i, "message": {"content": text}, "finish_reason": "stop"} for i, text in texts))

    def chunks(self) -> Iterator[dict[str, Any]]:
        """The answer as the chunks of a stream."""
        for index, text in ((1, "Pa"), (0, "Ro"), (1, "ris"), (0, "me")):
            yield body({"index": index, "delta": {"content": text}, "finish_reason": None})
        for index in range(2):
            yield body({"index": index, "delta": {}, "finish_reason": "stop"})


def body(*choices: dict[str, Any]) -> dict[str, Any]:
    """A chunk, or a whole answer, with these choices."""
    return {"id": "a", "created": 1, "model": "m", "choices": list(choices)}


class Ways:
    """All the ways to fetch an answer."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.answer: Written | Odd | Two = Written()
        transport = httpx.MockTransport(self._wire)
        self.clients = {
            "http_client": httpx.Client(transport=transport),
            "http_async_client": httpx.AsyncClient(transport=transport),
        }

    def all(self, answer: Written | Odd | Two, **arguments: Any) -> Iterator[AIMessage]:
        """The same answer, fetched in every way, on the wire as one body and as a stream."""
        self.answer = answer
        plain = self._model(wire_streaming=False, **arguments)
        yield plain.invoke("Hi")
        yield self.runner.run(plain.ainvoke("Hi"))
        for output_version in ("v0", "v1"):
            model = self._model(output_version=output_version, **arguments)
            yield model.invoke("Hi")
            first, *rest = model.stream("Hi")
            yield first + rest
            yield self.runner.run(model.ainvoke("Hi"))
            yield self.runner.run(self._astream(model))
        yield model.stream_events("Hi", version="v3").output
        yield self.runner.run(self._aevents(model))

    def close(self) -> None:
        """Ends the event loop and the clients."""
        self.clients["http_client"].close()
        self.runner.run(self.clients["http_async_client"].aclose())
        self.runner.close()

    def _wire(self, request: httpx.Request) -> httpx.Response:
        if json.loads(request.content).get("stream"):
            kind = {"content-type": "text/event-stream"}
            return httpx.Response(200, headers=kind, content=sse(self.answer.chunks()))
        return httpx.Response(200, json={"result": self.answer.reply(), "success": True})

    def _model(self, **arguments: Any) -> ChatCloudflareGemma:
        return ChatCloudflareGemma(account_id="acct", api_token="token", **self.clients, **arguments)

    async def _astream(self, model: ChatCloudflareGemma) -> AIMessage:
        first, *rest = [chunk async for chunk in model.astream("Hi")]
        return first + rest

    async def _aevents(self, model: ChatCloudflareGemma) -> AIMessage:
        return await (await model.astream_events("Hi", version="v3")).output


@pytest.fixture(scope="module")
def ways() -> Iterator[Ways]:
    """One event loop for all examples."""
    ways = Ways()
    yield ways
    ways.close()


def facts(message: AIMessage) -> dict[str, Any]:
    """What must be the same; a cut call's arguments bear a mark where core put the stream together."""
    metadata = {name: fact for name, fact in bare(message.response_metadata).items() if name != "output_version"}
    return {
        "text": message.text,
        "reasoning": message.additional_kwargs.get("reasoning_content"),
        "tool_calls": message.tool_calls,
        "invalid": [(call["id"], call["name"]) for call in message.invalid_tool_calls],
        "usage": message.usage_metadata,
        "metadata": metadata,
    }


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answer=answers())
def test_one_truth(ways: Ways, answer: Written) -> None:
    """Whatever the answer is, and however it is told on the wire, every way of fetching it gives the same message."""
    first, *others = [facts(message) for message in ways.all(answer)]
    text, reasoning = "".join(answer.text), "".join(answer.reasoning)
    if answer.finish_reason == "stop" and reasoning.strip() and not text.strip() and not answer.calls:
        text += reasoning  # an answer is never an empty success
    assert (first["text"], first["reasoning"] or "") == (text, reasoning)
    calls = [(call["id"], call["name"], call["args"]) for call in first["tool_calls"]]
    cut = answer.calls[-1:] if answer.finish_reason in ("length", "content_filter") else []
    assert calls == [(c.id, c.name, json.loads(c.arguments)) for c in answer.calls if c not in cut]
    assert first["invalid"] == [(call.id, call.name) for call in cut]
    assert first["metadata"]["finish_reason"] == answer.finish_reason
    for other in others:
        assert other == first


def piece(index: int, arguments: str, name: str = "") -> dict[str, Any]:
    """A piece of a call; the first with a name has an id, too."""
    function = {"name": name, "arguments": arguments} if name else {"arguments": arguments}
    return {"index": index, "function": function, **({"id": name.lower()} if name else {})}


B = piece(1, '{"x": 1}', "B")
ODD = {
    "never named": ([piece(0, '{"q": 1'), B], [("b", {"x": 1})], [(None, None)]),
    "never named, whole": ([piece(0, '{"q": 1}'), B], [("b", {"x": 1})], [(None, None)]),
    "two never named": ([piece(0, '{"q": 1'), piece(1, '{"z": 2')], [], [(None, None)] * 2),
    "named late": ([piece(0, '{"q": '), B, piece(0, "1}", "A")], [("a", {"q": 1}), ("b", {"x": 1})], []),
    "named late, behind one never named": (
        [piece(0, "{"), piece(1, '{"x": '), piece(2, '{"z": 3}', "C"), piece(1, "1}", "B")],
        [("b", {"x": 1}), ("c", {"z": 3})],
        [(None, None)],
    ),
    "not a number": ([piece(0, '{"q": NaN}', "A"), B], [("b", {"x": 1})], [("a", "A")]),
}


@pytest.mark.parametrize(("pieces", "calls", "invalid"), ODD.values(), ids=ODD)
def test_odd_calls(ways: Ways, pieces: list[Any], calls: list[Any], invalid: list[Any]) -> None:
    """Calls that come in an odd manner are the same, and in the same order, in every way; none is lost or made up."""
    for message in ways.all(Odd(pieces)):
        result = facts(message)
        assert [(call["id"], call["args"]) for call in result["tool_calls"]] == calls
        assert result["invalid"] == invalid
        assert len(message.content_blocks) == len(calls) + len(invalid)


def test_one_of_two_choices(ways: Ways) -> None:
    """Of two choices the first is the message, in every way, and the other's text doesn't reach a tracer."""
    tokens: list[str] = []

    class Tracer(BaseCallbackHandler):
        def on_llm_new_token(self, token: str, **_: Any) -> None:
            tokens.append(str(token))  # LangChain's own tracers are given the content, which may be a list.

    for message in ways.all(Two(), extra_body={"n": 2}, callbacks=[Tracer()]):
        assert message.text == "Rome"
    assert ("".join(tokens).count("Ro"), "".join(tokens).count("Pa")) == (6, 0)
