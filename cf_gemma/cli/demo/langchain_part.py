"""The demo's LangChain half: a streamed answer, a structured one, and a tool call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from cf_gemma.cli.demo.section import section
from langchain_cf_gemma import ChatCloudflareGemma, cost_of

if TYPE_CHECKING:
    from langchain_core.messages import AIMessageChunk
    from rich.console import Console


class Person(BaseModel):
    """A person who is mentioned in a text."""

    name: str = Field(description="The person's first name")
    age: int = Field(description="The person's age in years")
    city: str = Field(description="The city where the person lives")


@tool
def multiply(a: int, b: int) -> int:
    """Multiplies two whole numbers."""
    return a * b


def show(console: Console, arguments: dict[str, Any]) -> None:
    """Runs the three parts."""
    llm = ChatCloudflareGemma(temperature=0, max_tokens=2_048, **arguments)
    stream(console, llm)
    structured(console, llm)
    call_tool(console, llm)


def stream(console: Console, llm: ChatCloudflareGemma) -> None:
    """An answer token by token, then its usage and cost."""
    section(console, "1. LangChain: an answer, token by token")
    question = "What is the capital of France? Answer in one sentence."
    console.print(f"> {question}", style="bold", markup=False)
    answer: AIMessageChunk | None = None
    for chunk in llm.stream(question):
        console.out(chunk.additional_kwargs.get("reasoning_content", ""), style="dim", end="")
        console.out(chunk.text, end="")
        answer = chunk if answer is None else answer + chunk
    console.print()
    if answer is not None and answer.usage_metadata is not None:
        usage = answer.usage_metadata
        console.print(
            f"{usage['input_tokens']} tokens in, {usage['output_tokens']} out; on Workers AI: ${cost_of(answer):.7f}",
            style="dim",
        )


def structured(console: Console, llm: ChatCloudflareGemma) -> None:
    """A sentence turned into an object."""
    section(console, "2. LangChain: a Pydantic object")
    sentence = "Maria is 34 years old and lives in Lisbon, where she repairs boats."
    console.print(f"> {sentence}", style="bold", markup=False)
    person = llm.with_structured_output(Person).invoke(f"Extract the person from this text: {sentence}")
    console.print(repr(person), markup=False)


def call_tool(console: Console, llm: ChatCloudflareGemma) -> None:
    """A forced tool call, its result sent back, and the final answer."""
    section(console, "3. LangChain: a tool")
    question = HumanMessage("What is 37 multiplied by 12?")
    console.print(f"> {question.text}", style="bold", markup=False)
    call = llm.bind_tools([multiply], tool_choice="multiply").invoke([question])
    results = [multiply.invoke(dict(one, type="tool_call")) for one in call.tool_calls]
    for one, result in zip(call.tool_calls, results, strict=True):
        console.print(f"{one['name']}({one['args']}) = {result.content}", markup=False)
    answer = llm.bind_tools([multiply]).invoke([question, call, *results])
    console.print(answer.text, markup=False)
