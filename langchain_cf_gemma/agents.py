"""Middleware for agents of the package `langchain`, which must be installed for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain.agents.middleware import AgentMiddleware, AgentState, hook_config
from langchain_core.messages import AIMessage, ToolMessage
from typing_extensions import override

if TYPE_CHECKING:
    from langgraph.runtime import Runtime


class InvalidToolCallMiddleware(AgentMiddleware[AgentState[Any], Any, Any]):
    """Tells the model of calls that it wrote badly, and lets it go on.

    An agent ends with an answer that has no valid call, and says nothing of the invalid ones beside valid ones. What a
    limit cut is left as it is: it would be cut again.
    """

    @override
    @hook_config(can_jump_to=["model"])
    def after_model(self, state: AgentState[Any], runtime: Runtime[Any]) -> dict[str, Any] | None:
        message = state["messages"][-1]
        if not isinstance(message, AIMessage) or not (errors := _errors(message)):
            return None
        return {"messages": errors, **({} if message.tool_calls else {"jump_to": "model"})}


def _errors(message: AIMessage) -> list[ToolMessage]:
    """A result for each invalid call that no limit cut."""
    reasons: list[dict[str, Any]] = message.response_metadata.get("invalid_tool_calls", [])
    return [
        ToolMessage(
            f"{reason['name']} was not run: {reason['error']}. Call it again with a whole JSON object.",
            tool_call_id=reason["id"],
            name=reason["name"],
            status="error",
        )
        for reason in reasons
        if reason["id"] and reason["name"] and not reason["cut"]
    ]
