"""The agent loops of both frameworks against the server."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from langchain.agents import create_agent
from langchain_core.tools import tool
from llama_index.core.agent.workflow import FunctionAgent

from langchain_cf_gemma import ChatCloudflareGemma
from llama_index_cf_gemma import CloudflareGemma
from tests.servers.scenarios import END, HM, SAY_PARIS, SAY_ROME, SUNNY, notation, thought

if TYPE_CHECKING:
    from collections.abc import Callable

Executed = list[tuple[str, Any]]


@dataclass(frozen=True)
class Errand:
    """The words of a model that calls tools, the calls that are executed, and the text in the end."""

    name: str
    words: tuple[str, ...]
    executed: tuple[tuple[str, Any], ...]
    text: str = SUNNY
    servers: tuple[str, ...] = ("vLLM", "SGLang")


BROKEN: Final = notation("get_weather", "city'Paris',days:3") + END
ERRANDS: Final = (
    Errand("a call, a text", (SAY_PARIS + END, SUNNY), (("Paris", 3),)),
    Errand(
        "thoughts, two calls",
        (thought(HM) + SAY_PARIS + SAY_ROME + END, f"{HM}<channel|>{SUNNY}"),
        (("Paris", 3), ("Rome", None)),
    ),
    Errand(
        "call after call", (SAY_PARIS + END, f"{HM}<channel|>{SAY_ROME}{END}", SUNNY), (("Paris", 3), ("Rome", None))
    ),
    Errand("a null", (notation("get_weather", "city:'Rome',days:null") + END, SUNNY), (("Rome", None),)),
    Errand("no tool", (thought(HM) + SUNNY,), ()),
)


def langchain(**settings: Any) -> tuple[str, Executed]:
    """`create_agent`."""
    executed: Executed = []
    agent = create_agent(ChatCloudflareGemma(**settings), [tool(_weather(executed))])
    messages = agent.invoke({"messages": [("user", "What is the weather in Paris?")]})["messages"]
    return str(messages[-1].text), executed


def llama_index(**settings: Any) -> tuple[str, Executed]:
    """`FunctionAgent`."""
    executed: Executed = []

    async def run() -> str:
        agent = FunctionAgent(tools=[_weather(executed)], llm=CloudflareGemma(**settings))
        return str(await agent.run("What is the weather in Paris?"))

    return asyncio.run(run()), executed


def _weather(executed: Executed) -> Callable[..., str]:
    def get_weather(city: str, days: int | None = None) -> str:
        """The weather in a city, so many days from now."""
        executed.append((city, days))
        return "sunny"

    return get_weather


AGENTS: Final = (langchain, llama_index)
