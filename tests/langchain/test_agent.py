"""LangChain's agents on the model: tools run, reasoning goes back, structured answers arrive, streamed or not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRetryMiddleware, SummarizationMiddleware
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from cf_gemma.emulator import Fault, Reply, ToolCallSpec
from cf_gemma.errors import QuotaExhausted
from langchain_cf_gemma.agents import InvalidToolCallMiddleware

if TYPE_CHECKING:
    from tests.langchain.conftest import Emulate


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"{city}: sunny"


@tool
def clock(city: str) -> str:
    """The time in a city."""
    return f"{city}: noon"


class Report(BaseModel):
    """A weather report."""

    city: str
    sunny: bool


SCRIPT = [
    Reply(
        "I'll look.",
        reasoning="Two tools.",
        tool_calls=[ToolCallSpec("weather", {"city": "Rom"}, id="a"), ToolCallSpec("clock", {"city": "Rom"}, id="b")],
    ),
    Reply("Sunny, at noon.", reasoning="Done."),
]
REPORT = {"city": "Rom", "sunny": True}
QUESTION: Any = {"messages": [("user", "What's it like in Rome?")]}


async def test_tools_run(emulate: Emulate) -> None:
    """An agent runs both tools, sends their results and its own reasoning back, and ends with the answer."""
    emulated = emulate(SCRIPT)
    state = create_agent(emulated.model, [weather, clock]).invoke(QUESTION)
    assert [type(message).__name__ for message in state["messages"]] == [
        "HumanMessage",
        "AIMessage",
        "ToolMessage",
        "ToolMessage",
        "AIMessage",
    ]
    assert state["messages"][-1].text == "Sunny, at noon."
    _, call, *results = emulated.body["messages"]
    assert call["reasoning_content"] == call["reasoning"] == "Two tools.\nI'll look."
    assert [(result["tool_call_id"], result["content"]) for result in results] == [
        ("a", "Rom: sunny"),
        ("b", "Rom: noon"),
    ]


@pytest.mark.parametrize("output_version", ["v0", "v1"])
@pytest.mark.parametrize("streamed", ["stream", "astream"])
async def test_messages_stream(emulate: Emulate, streamed: str, output_version: str) -> None:
    """Streamed in messages mode, an agent shows reasoning and text as they come, and its tools run as ever."""
    emulated = emulate(SCRIPT, output_version=output_version)
    agent = create_agent(emulated.model, [weather, clock])
    shown: list[Any] = []
    if streamed == "stream":
        shown += [message for message, _ in agent.stream(QUESTION, stream_mode="messages")]
    else:
        shown += [message async for message, _ in agent.astream(QUESTION, stream_mode="messages")]
    chunks = [message for message in shown if isinstance(message, AIMessageChunk)]
    reasoning = "".join(
        block["reasoning"] for chunk in chunks for block in chunk.content_blocks if block["type"] == "reasoning"
    )
    assert reasoning == "Two tools.Done."
    assert "".join(chunk.text for chunk in chunks) == "I'll look.Sunny, at noon."
    assert {message.content for message in shown if isinstance(message, ToolMessage)} == {"Rom: sunny", "Rom: noon"}
    assert sum(chunk.usage_metadata is not None for chunk in chunks) == 2
    assert len({chunk.id for chunk in chunks}) == 2


@pytest.mark.parametrize("tools", [[], [weather]], ids=["no tools", "a tool"])
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("strategy", ["auto", "provider", "tool"])
async def test_structured_answer(emulate: Emulate, strategy: str, *, streamed: bool, tools: list[Any]) -> None:
    """Both strategies give an object of the schema, with tools and without, streamed or not."""
    by_tool = strategy == "tool"
    answer = Reply(tool_calls=[ToolCallSpec("Report", REPORT)]) if by_tool else f"```json\n{json.dumps(REPORT)}\n```"
    use = [Reply(tool_calls=[ToolCallSpec("weather", {"city": "Rom"})])] if tools else []
    emulated = emulate([*use, answer])
    wanted: Any = {"auto": Report, "provider": ProviderStrategy(Report), "tool": ToolStrategy(Report)}[strategy]
    agent = create_agent(emulated.model, tools, response_format=wanted)
    state = list(agent.stream(QUESTION, stream_mode=["values", "messages"])) if streamed else agent.invoke(QUESTION)
    last = [values for mode, values in state if mode == "values"][-1] if isinstance(state, list) else state
    assert last["structured_response"] == Report(**REPORT)
    assert ("response_format" in emulated.body) is (not by_tool and not tools)
    assert len(emulated.body.get("tools", [])) == len(tools) + by_tool


@pytest.mark.parametrize(
    ("fault", "requests"), [(Fault(503, 3050), 2), (Fault(429, 4006), 1)], ids=["may pass", "won't pass"]
)
async def test_retry_middleware(emulate: Emulate, fault: Fault, requests: int) -> None:
    """LangChain's retry middleware sends again what may pass, and nothing else."""
    emulated = emulate([fault, "Sunny."])
    retry = ModelRetryMiddleware(max_retries=1, initial_delay=0, on_failure="error")
    agent: Any = create_agent(emulated.model, [], middleware=[retry])
    if requests == 1:
        with pytest.raises(QuotaExhausted):
            agent.invoke(QUESTION)
    else:
        assert agent.invoke(QUESTION)["messages"][-1].text == "Sunny."
    assert len(emulated.requests) == requests


async def test_summarization_middleware(emulate: Emulate) -> None:
    """LangChain's summarization middleware takes the window's size from the model's profile."""
    emulated = emulate(["Sunny."])
    agent: Any = create_agent(
        emulated.model, [], middleware=[SummarizationMiddleware(emulated.model, trigger=("fraction", 0.5))]
    )
    assert agent.invoke(QUESTION)["messages"][-1].text == "Sunny."


async def test_interrupted_agent_goes_on(emulate: Emulate) -> None:
    """A cut call is never run: the agent ends, and the conversation can go on with what it holds."""
    cut = Reply(tool_calls=[ToolCallSpec("weather", '{"city": "R', id="a")], finish_reason="length")
    emulated = emulate([cut, "Sorry."])
    agent = create_agent(emulated.model, [weather])
    state = agent.invoke(QUESTION)
    last = state["messages"][-1]
    assert isinstance(last, AIMessage)
    assert last.invalid_tool_calls
    again = agent.invoke({"messages": [*state["messages"], ("user", "And?")]})
    assert again["messages"][-1].text == "Sorry."
    (call,) = emulated.body["messages"][1]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"invalid": '{"city": "R'}


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_slip_goes_back_to_the_model(emulate: Emulate, streamed: bool) -> None:
    """A call whose arguments aren't whole isn't run, and ends nothing: the model is told why, and calls again."""
    bad, good = ToolCallSpec("weather", '{"city": "Ro', id="x"), ToolCallSpec("clock", {"city": "Rom"}, id="y")
    emulated = emulate(
        [
            Reply(tool_calls=[bad]),
            Reply(tool_calls=[bad, good]),
            Reply(tool_calls=[ToolCallSpec("weather", {"city": "Rom"}, id="z")]),
            Reply("Sunny, at noon."),
        ]
    )
    agent = create_agent(emulated.model, [weather, clock], middleware=[InvalidToolCallMiddleware()])
    if streamed:
        *_, (_, state) = [part async for part in agent.astream(QUESTION, stream_mode=["messages", "values"])]
    else:
        state = agent.invoke(QUESTION)
    results = [message.text for message in state["messages"] if isinstance(message, ToolMessage)]
    assert state["messages"][-1].text == "Sunny, at noon."
    assert sorted(text for text in results if not text.startswith("weather was not run")) == ["Rom: noon", "Rom: sunny"]
    assert len(results) == 4
    result = emulated.requests[1].json["messages"][-1]
    assert result["tool_call_id"] == "x"
    assert "weather was not run: the arguments are not a complete JSON object" in result["content"]


async def test_a_cut_call_ends_the_run(emulate: Emulate) -> None:
    """What `max_tokens` cut isn't asked for again: it would be cut again."""
    emulated = emulate([Reply(tool_calls=[ToolCallSpec("weather", '{"city": "Ro')], finish_reason="length")])
    agent = create_agent(emulated.model, [weather], middleware=[InvalidToolCallMiddleware()])
    message = agent.invoke(QUESTION)["messages"][-1]
    assert (message.tool_calls, message.invalid_tool_calls[0]["name"]) == ([], "weather")
    assert message.response_metadata["invalid_tool_calls"][0]["cut"] is True
