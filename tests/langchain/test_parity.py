"""One truth in five ways, for answers that nobody thought of, told in every manner that the wire was seen to have."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langchain_cf_gemma import ChatCloudflareGemma
from tests.core.test_stream_properties import answers as whole_answers
from tests.core.wire import Written, sse

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


class Ways:
    """All the ways to fetch an answer."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.answer = Written()
        transport = httpx.MockTransport(self._wire)
        self.clients = {
            "http_client": httpx.Client(transport=transport),
            "http_async_client": httpx.AsyncClient(transport=transport),
        }

    def all(self, answer: Written) -> Iterator[AIMessage]:
        """The same answer, fetched in every way, on the wire as one body and as a stream."""
        self.answer = answer
        plain = self._model(wire_streaming=False)
        yield plain.invoke("Hi")
        yield self.runner.run(plain.ainvoke("Hi"))
        for output_version in ("v0", "v1"):
            model = self._model(output_version=output_version)
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
    metadata = {name: fact for name, fact in message.response_metadata.items() if name != "output_version"}
    return {
        "text": message.text,
        "reasoning": message.additional_kwargs.get("reasoning_content"),
        "tool_calls": message.tool_calls,
        "invalid": [(call["id"], call["name"]) for call in message.invalid_tool_calls],
        "usage": message.usage_metadata,
        "metadata": metadata,
    }


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answer=answers())
def test_one_truth(ways: Ways, answer: Written) -> None:
    """Whatever the answer is, and however it is told on the wire, every way of fetching it gives the same message."""
    first, *others = [facts(message) for message in ways.all(answer)]
    assert (first["text"], first["reasoning"] or "") == ("".join(answer.text), "".join(answer.reasoning))
    told = [(call["id"], call["name"], call["args"]) for call in first["tool_calls"]]
    cut = answer.calls[-1:] if answer.finish_reason == "length" else []
    assert told == [(c.id, c.name, json.loads(c.arguments)) for c in answer.calls if c not in cut]
    assert first["invalid"] == [(call.id, call.name) for call in cut]
    assert first["metadata"]["finish_reason"] == answer.finish_reason
    for other in others:
        assert other == first
