"""One truth in five ways, for answers that nobody thought of."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cf_gemma.emulator import Emulator, Reply, ToolCallSpec
from langchain_cf_gemma import ChatCloudflareGemma

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.messages import AIMessage

pytestmark = pytest.mark.filterwarnings("ignore:.*is in beta")

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40)
ARGS = st.dictionaries(TEXT, st.none() | st.booleans() | st.integers() | TEXT | st.lists(TEXT, max_size=2), max_size=3)


@st.composite
def arguments(draw: st.DrawFn) -> str:
    """The arguments of a call as the model writes them, often cut off."""
    written = json.dumps(draw(ARGS), ensure_ascii=draw(st.booleans()))
    return written[: draw(st.integers(1, len(written)))] if draw(st.booleans()) else written


@st.composite
def replies(draw: st.DrawFn) -> Reply:
    """An answer with any of text, reasoning and calls, same functions among them."""
    written = draw(st.lists(arguments(), max_size=3))
    calls = [
        ToolCallSpec(draw(st.sampled_from(["add", "now"])), args, id=f"call_{n}") for n, args in enumerate(written)
    ]
    return Reply(draw(TEXT), reasoning=draw(TEXT), tool_calls=calls, usage=draw(st.tuples(*[st.integers(0, 9)] * 2)))


class Ways:
    """All the ways to fetch an answer."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()

    def all(self, model: ChatCloudflareGemma) -> Iterator[AIMessage]:
        """The same answer, fetched in every way, on the wire as one body and as a stream."""
        plain = ChatCloudflareGemma(**{**model.model_dump(exclude={"profile", "metadata"}), "wire_streaming": False})
        yield plain.invoke("Hi")
        yield self.runner.run(plain.ainvoke("Hi"))
        for output_version in ("v0", "v1"):
            model.output_version = output_version
            yield model.invoke("Hi")
            first, *rest = model.stream("Hi")
            yield first + rest
            yield self.runner.run(model.ainvoke("Hi"))
            yield self.runner.run(self._astream(model))
        yield model.stream_events("Hi", version="v3").output
        yield self.runner.run(self._aevents(model))

    async def _astream(self, model: ChatCloudflareGemma) -> AIMessage:
        first, *rest = [chunk async for chunk in model.astream("Hi")]
        return first + rest

    async def _aevents(self, model: ChatCloudflareGemma) -> AIMessage:
        return await (await model.astream_events("Hi", version="v3")).output


@pytest.fixture(scope="module")
def ways() -> Iterator[Ways]:
    """One event loop for all examples."""
    ways = Ways()
    with ways.runner:
        yield ways


def facts(message: AIMessage) -> dict[str, Any]:
    """What must be the same; a cut call's arguments bear a mark where core put the stream together."""
    names = ("finish_reason", "model_name", "model_provider")
    return {
        "text": message.text,
        "reasoning": message.additional_kwargs.get("reasoning_content"),
        "tool_calls": message.tool_calls,
        "invalid": [(call["id"], call["name"]) for call in message.invalid_tool_calls],
        "usage": message.usage_metadata,
        "metadata": {name: message.response_metadata[name] for name in names},
    }


@pytest.mark.parametrize("tool_calls", ["whole", "fragments", "finaliser", "position"])
@pytest.mark.parametrize("dialect", ["S", "V"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reply=replies())
def test_one_truth(ways: Ways, dialect: Any, tool_calls: Any, reply: Reply) -> None:
    """Whatever the answer is, and however its calls are cut up on the wire, every way of fetching it gives the same."""
    with Emulator(lambda _: reply, dialect=dialect, tool_calls=tool_calls) as emulator:
        model = ChatCloudflareGemma(
            account_id=emulator.account_id, api_token=emulator.api_token, base_url=emulator.base_url
        )
        first, *others = [facts(message) for message in ways.all(model)]
    assert (first["text"], first["reasoning"] or "") == (reply.text, reply.reasoning)
    assert len(first["tool_calls"]) + len(first["invalid"]) == len(reply.tool_calls)
    for other in others:
        assert other == first
