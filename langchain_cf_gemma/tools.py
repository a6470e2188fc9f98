"""Tools and the choice among them, in the forms that LangChain's users give -> `tools` and `tool_choice`."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel

from cf_gemma.errors import InvalidRequest
from cf_gemma.structured import strict_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Tool: TypeAlias = "Mapping[str, Any] | type | Callable[..., Any] | BaseTool"
ToolChoice: TypeAlias = "str | bool | dict[str, Any] | None"

_MODES = {"auto": "auto", "none": "none", "any": "required", "required": "required"}


def to_tools(tools: Sequence[Tool], *, strict: bool | None = None) -> list[dict[str, Any]]:
    """Chat-completions tools; the caller's own dicts stay as they are.

    Raises:
        ValueError: Something that isn't a tool, such as a JSON schema without a title.
    """
    return [_tool(tool, strict=strict) for tool in tools]


def own_schema(tool: object, *, strict: bool | None = None) -> dict[str, Any] | None:
    """The JSON schema of a Pydantic class as Pydantic writes it; None for anything else.

    LangChain writes every reference out: what recurs is lost, and a schema may grow to hundreds of times its size.
    """
    if not (isinstance(tool, type) and issubclass(tool, BaseModel)):
        return None
    schema = tool.model_json_schema()
    if "$ref" in schema:  # a class that has itself among its fields
        name = schema["$ref"].rpartition("/")[2]
        schema = {**schema["$defs"][name], "$defs": schema["$defs"]}
    return strict_schema(schema) if strict else schema


def _tool(tool: Tool, *, strict: bool | None) -> dict[str, Any]:
    spec = convert_to_openai_tool(cast("Any", tool), strict=strict)
    own = own_schema(tool.tool_call_schema if isinstance(tool, BaseTool) else tool, strict=strict)
    if own is None or "$defs" not in own:
        return spec
    parameters = {name: value for name, value in own.items() if name not in ("title", "description")}
    return {**spec, "function": {**spec["function"], "parameters": parameters}}


def to_tool_choice(choice: ToolChoice, tools: Sequence[Mapping[str, Any]]) -> str | dict[str, Any] | None:
    """The request's `tool_choice`; None leaves it out.

    Args:
        choice: `"auto"`, `"none"`, `"any"` or `"required"`, True (the same), a tool's name, chat completions' or
            Anthropic's object form, or None or False (no choice).
        tools: Chat-completions tools.

    Raises:
        InvalidRequest: There is no such tool, or there are no tools to choose from.
    """
    if isinstance(choice, dict):
        choice = _from_object(choice)
    if choice is None or choice is False or isinstance(choice, dict):
        return choice or None
    names = [_name(tool) for tool in tools]
    mode = "required" if choice is True else _MODES.get(choice) if choice not in names else None
    if mode == "required" and not names:
        raise InvalidRequest(f"tool_choice={choice!r} asks for a tool call, but there are no tools.")
    if mode is not None:
        return mode
    if choice not in names:
        raise InvalidRequest(_unknown(str(choice), names))
    return {"type": "function", "function": {"name": choice}}


def _from_object(choice: dict[str, Any]) -> str | dict[str, Any]:
    """Anthropic's `{"type": "tool", "name": …}` and `{"type": "any"}` as the name or the mode; others as they are."""
    if choice.get("type") == "tool":
        return str(choice.get("name"))
    return choice["type"] if choice.get("type") in _MODES else choice


def _name(tool: Mapping[str, Any]) -> str:
    function = tool.get("function") or tool
    return str(function.get("name"))


def _unknown(name: str, names: list[str]) -> str:
    near = get_close_matches(name, names, 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    available = f"The tools are {', '.join(names)}." if names else "There are no tools."
    return f"tool_choice names no tool: {name!r}.{hint} {available}"
