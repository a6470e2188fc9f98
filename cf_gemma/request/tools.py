"""The tools of a request: checked, as the model can read them, and the choice among them. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import from_json, to_json

from cf_gemma.errors import InvalidRequest
from cf_gemma.model.json_object import as_object
from cf_gemma.request.merging import sentences
from cf_gemma.request.readable import readable
from cf_gemma.request.references import UnreadableSchema

if TYPE_CHECKING:
    from collections.abc import Sequence

REMEMBERED: Final = 256
"""Tools whose readable form is kept: an agent sends the same ones with each of its steps."""


def set_tools(body: dict[str, Any], *, written_out: bool) -> None:
    """No empty list of tools, the enforced form of `required` where there is one, and tools that the model can read.

    Args:
        body: The request's.
        written_out: Whether tools go out in the form that Gemma's template prints, see `readable`.

    Raises:
        InvalidRequest: Something isn't a tool or can't be written out, or the choice names no tool.
    """
    tools = body.get("tools")
    if not tools:
        for name in ("tools", "tool_choice", "parallel_tool_calls"):
            body.pop(name, None)
        return
    names = [_checked(tool, f"tools[{place}]") for place, tool in enumerate(tools)]
    choice = body.get("tool_choice")
    if choice == "required" and len(names) == 1 and body.get("parallel_tool_calls") is not True:
        # One call is required in the form that is enforced by more back-ends; a named tool is called once.
        body["tool_choice"] = choice = {"type": "function", "function": {"name": names[0]}}
    named = forced_name(choice)
    if named is not None and named not in names:
        raise InvalidRequest(f"tool_choice names {named}, which is not among the tools: {', '.join(names)}")
    if written_out:
        body["tools"] = readable_tools(tools, named, required=choice == "required")


def readable_tools(tools: Sequence[Any], forced: str | None = None, *, required: bool = False) -> list[Any]:
    """The tools with parameters that the template prints whole. The caller's own stay as they are.

    Args:
        tools: Chat-completions tools; those of other kinds than `function` are passed on.
        forced: The one that must be called.
        required: Whether one of them must be.

    Raises:
        InvalidRequest: Parameters that can't be written out; names the tool and the place.
    """
    return [_readable(tool, f"tools[{place}]", forced, required=required) for place, tool in enumerate(tools)]


def forced_name(choice: object) -> str | None:
    """The function that a tool choice names; None for the other forms."""
    fields = as_object(choice) or {}
    if fields.get("type") != "function":
        return None
    name = (as_object(fields.get("function")) or {}).get("name")
    if not isinstance(name, str):
        raise InvalidRequest('tool_choice must be {"type": "function", "function": {"name": …}}')
    return name


def _checked(tool: Any, place: str) -> str:
    """The tool's name."""
    fields = as_object(tool) or {}
    kind = fields.get("type")
    function = (as_object(fields.get(kind)) or {}) if kind in ("function", "custom") else {}
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidRequest(f'{place} must be {{"type": "function", "function": {{"name": …, "parameters": …}}}}')
    if not isinstance(function.get("description", ""), str):
        raise InvalidRequest(f"{place}: description must be a text")
    return name


def _readable(tool: dict[str, Any], place: str, forced: str | None, *, required: bool) -> dict[str, Any]:
    function = tool.get("function")
    if function is None or not function.get("parameters"):
        return tool
    whole = function["name"] == forced
    try:
        encoded = to_json(function)
        written = _written(encoded, binding=whole or required or function.get("strict") is True, whole=whole)
    except UnreadableSchema as error:
        raise InvalidRequest(
            f"{place} ({function['name']}): {error}. readable_tools=False sends tools as they are"
        ) from None
    except ValueError:
        raise InvalidRequest(
            f"{place} ({function['name']}) can't be written as JSON: it has Python objects in it, or is too deep"
        ) from None
    return {**tool, "function": written}


@lru_cache(maxsize=REMEMBERED)
def _written(encoded: bytes, *, binding: bool, whole: bool) -> dict[str, Any]:
    function: dict[str, Any] = from_json(encoded)
    if as_object(function["parameters"]) is None:
        raise UnreadableSchema("parameters must be the JSON schema of an object")
    parameters, remarks = readable(function["parameters"], function["name"], binding=binding, whole=whole)
    text = function.get("description", "")
    description = sentences(text, *(sentence for sentence in remarks if sentence not in text))
    described = {"description": description} if description else {}
    return {**function, **described, "parameters": parameters}
