"""An agent with two tools. Its reasoning and its answer are shown as they come."""

from langchain.agents import create_agent
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage

from langchain_cf_gemma import ChatCloudflareGemma


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"Sunny in {city}, 24 degrees"


def get_population(city: str) -> int:
    """How many people live in a city."""
    return {"Lisbon": 575_000, "Porto": 249_000}[city]


agent = create_agent(ChatCloudflareGemma(), [get_weather, get_population])
question = "What is the weather in Lisbon, and how many people live there?"

for message, _ in agent.stream({"messages": [HumanMessage(question)]}, stream_mode="messages"):
    if isinstance(message, AIMessageChunk):
        print(message.additional_kwargs.get("reasoning_content", ""), end="")
        for call in message.tool_call_chunks:
            print(f"\n[{call['name']}] " if call["name"] else "", end=call["args"] or "")
        print(message.text, end="", flush=True)
    elif isinstance(message, ToolMessage):
        print(f"\n  = {message.text}")
print()
