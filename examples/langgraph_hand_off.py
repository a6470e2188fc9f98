"""Hand-off in LangGraph: the front desk passes a conversation on to an expert who can do what it can't."""

from typing import Any

from langchain.agents import AgentState, create_agent
from langchain.tools import ToolRuntime, tool
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command

from langchain_cf_gemma import ChatCloudflareGemma


@tool
def hand_to_accounts(runtime: ToolRuntime[None, AgentState]) -> Command[str]:
    """Passes the reader on to the colleague for fees and accounts."""
    call = next(m for m in reversed(runtime.state["messages"]) if isinstance(m, AIMessage))
    result = ToolMessage("You are the colleague for accounts now.", tool_call_id=runtime.tool_call_id or "")
    # Both go along: a call without its result, or a result without its call, means nothing to the model.
    return Command(goto="accounts", graph=Command.PARENT, update={"messages": [call, result]})


@tool
def waive_fee(reader: str) -> str:
    """Takes a late fee back."""
    return f"The fee of {reader} is taken back."


llm = ChatCloudflareGemma(temperature=0)
desk = create_agent(llm, [hand_to_accounts], system_prompt="You are the front desk. Fees are for accounts.")
accounts = create_agent(llm, [waive_fee], system_prompt="You look after readers' accounts. Late fees may be waived.")

graph = StateGraph(MessagesState)
graph.add_node("desk", desk, destinations=("accounts",))
graph.add_node("accounts", accounts)
graph.add_edge(START, "desk")

question = HumanMessage("I am Tom Becker. I was charged for a late book that I gave back in time.")
steps: Any = graph.compile().stream({"messages": [question]}, stream_mode="updates", subgraphs=True)
for agent, step in steps:
    for news in step.values() if agent else []:  # what the graph around them says is the agents' news once more
        for message in news["messages"]:
            calls = [call["name"] for call in getattr(message, "tool_calls", [])]
            print(f"{agent[0].partition(':')[0]}: {message.text}", *calls)
