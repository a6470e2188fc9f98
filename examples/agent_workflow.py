"""An AgentWorkflow of LlamaIndex: a researcher collects facts and hands them to a writer."""

import asyncio

from llama_index.core.agent.workflow import AgentOutput, AgentWorkflow, FunctionAgent, ToolCallResult
from llama_index.core.workflow import Context

from llama_index_cf_gemma import CloudflareGemma


def look_up(subject: str) -> str:
    """Looks a subject up in the library's encyclopedia."""
    return f"{subject}: built in 1865, 38 metres high, visible for 26 miles."


async def write_down(ctx: Context, fact: str) -> str:  # pyright: ignore[reportMissingTypeArgument] - LlamaIndex wants it bare
    """Keeps a fact for the writer."""
    async with ctx.store.edit_state() as state:
        state["facts"] = [*state.get("facts", []), fact]
    return "Kept."


async def main(task: str) -> None:
    """Runs both agents, and shows who does what."""
    llm = CloudflareGemma(temperature=0)
    researcher = FunctionAgent(
        name="researcher",
        description="Collects facts.",
        system_prompt="Look the subject up, write each fact down, then hand off to the writer.",
        tools=[look_up, write_down],
        llm=llm,
        can_handoff_to=["writer"],
    )
    writer = FunctionAgent(
        name="writer",
        description="Writes texts.",
        system_prompt="Write one sentence from the facts.",
        tools=[],
        llm=llm,
    )
    workflow = AgentWorkflow([researcher, writer], root_agent="researcher", initial_state={"facts": []})
    handler = workflow.run(user_msg=task)
    async for event in handler.stream_events():
        if isinstance(event, ToolCallResult):
            print(f"  [{event.tool_name} {event.tool_kwargs}]")
        elif isinstance(event, AgentOutput):
            print(f"{event.current_agent_name}: {event.response.content or '…'}")
    await handler


asyncio.run(main("Write about the lighthouse of Cabo Raso."))
