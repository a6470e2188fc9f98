"""A LangGraph agent with two tools and a memory. Before it spends money, it asks you."""

from typing import Any

from langchain.agents import create_agent
from langchain.tools import tool
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from langchain_cf_gemma import ChatCloudflareGemma


@tool
def find_book(title: str) -> str:
    """Says whether the library has a book."""
    return f"{title}: not in this library; another one can lend it for 2 euros"


@tool
def order_book(title: str) -> str:
    """Orders a book from another library, for 2 euros."""
    # The graph stops here and is saved. Once there is an answer, the tool starts again and interrupt() returns it.
    if interrupt(f"Order {title!r} for 2 euros?") != "yes":
        return "The reader doesn't want it."
    return f"{title} is ordered and comes on Friday."


# InMemorySaver forgets when the program ends; langgraph-checkpoint-sqlite and -postgres don't.
agent = create_agent(ChatCloudflareGemma(), [find_book, order_book], checkpointer=InMemorySaver())
config: RunnableConfig = {"configurable": {"thread_id": "reader-7"}}


def run(step: Any) -> None:
    """Goes on until the agent is done, or waits for you."""
    for message, _ in agent.stream(step, config, stream_mode="messages"):
        if isinstance(message, AIMessageChunk):
            for call in message.tool_call_chunks:
                print(f"\n[{call['name']}] " if call["name"] else "", end=call["args"] or "")
            print(message.text, end="", flush=True)
        elif isinstance(message, ToolMessage):
            print(f"\n  = {message.text}")
    print()


run({"messages": [HumanMessage("I would like to read 'The Book of Disquiet'. Order it if you haven't got it.")]})
while pending := agent.get_state(config).interrupts:
    run(Command(resume={question.id: input(f"{question.value} (yes/no) ") for question in pending}))

# The same thread goes on: the agent knows what was said.
run({"messages": [HumanMessage("When does it come?")]})
