"""A FunctionAgent of LlamaIndex: it reasons, calls tools, and answers. All of it is shown as it comes."""

import asyncio

from llama_index.core.agent.workflow import AgentStream, FunctionAgent, ToolCallResult

from llama_index_cf_gemma import CloudflareGemma


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"Sunny in {city}, 24 degrees"


def get_population(city: str) -> int:
    """How many people live in a city."""
    return {"Lisbon": 575_000, "Porto": 249_000}[city]


async def main(question: str) -> None:
    """Asks, and shows what happens."""
    agent = FunctionAgent(tools=[get_weather, get_population], llm=CloudflareGemma())
    handler = agent.run(user_msg=question)
    async for event in handler.stream_events():
        if isinstance(event, AgentStream):
            print(event.thinking_delta or event.delta, end="", flush=True)
        elif isinstance(event, ToolCallResult):
            print(f"\n[{event.tool_name} {event.tool_kwargs}] {event.tool_output.content}")
    await handler  # raises what went wrong
    print()


asyncio.run(main("What is the weather in Lisbon, and how many people live there?"))
