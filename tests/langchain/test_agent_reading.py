"""What the model reads in an agent's loop: Google's template renders each step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from cf_gemma.emulator import Reply, ToolCallSpec
from tests.request.template import REVISIONS, rendered

if TYPE_CHECKING:
    from tests.langchain.conftest import Emulate

ROUNDS = 5


@tool
def weather(city: str) -> str:
    """The weather."""
    return f"{city}: sunny"


class Report(BaseModel):
    """A weather report."""

    sunny: bool = Field(description="Whether no cloud is seen")


def rounds(*last: Any) -> list[Any]:
    """So many calls, each beside some words, and then the answer."""
    call = [ToolCallSpec("weather", {"city": "Rom"})]
    steps = range(ROUNDS)
    return [*(Reply(f"Words {step}.", reasoning=f"Thought {step}.", tool_calls=call) for step in steps), *last]


def test_five_rounds_of_words_and_calls(emulate: Emulate) -> None:
    """At each step the model's turn is open, and all that it thought and said stands in front of its calls."""
    emulated = emulate(rounds("Sunny."))
    state = create_agent(emulated.model, [weather]).invoke({"messages": [("user", "What's it like?")]})
    assert state["messages"][-1].text == "Sunny."
    for step, request in enumerate(emulated.requests):
        for revision in REVISIONS:
            prompt = rendered(request.json, revision)
            turn = prompt[prompt.rindex("<|turn>model\n") :]
            assert "<turn|>" not in turn
            assert prompt.count("<|tool_response>") == prompt.count("<tool_response|>")
            if revision not in ("gemma4_v2", "gemma4_v3"):
                seen = [f"Thought {number}.\nWords {number}.\n<channel|><|tool_call>" in turn for number in range(step)]
                assert all(seen)


@pytest.mark.parametrize("answer", ['{"sunny": true}', "It is sunny."])
def test_an_agent_with_tools_and_a_schema(emulate: Emulate, answer: str) -> None:
    """The tools run, since no grammar forbids it; the model reads the schema; the end is the object."""
    emulated = emulate(rounds(answer, '{"sunny": true}'))
    agent: Any = create_agent(emulated.model, [weather], response_format=ProviderStrategy(Report))
    state = agent.invoke({"messages": [("user", "What's it like?")]})
    assert state["structured_response"] == Report(sunny=True)
    *steps, last = [request.json for request in emulated.requests]
    assert len(steps) == ROUNDS + (answer == "It is sunny.")
    for body in (*steps, last):
        assert ("response_format" in body) is ("tools" not in body)
        assert rendered(body).count("Whether no cloud is seen") == 1
