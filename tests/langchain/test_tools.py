"""Tools and the choice among them, in every form that users give."""

from __future__ import annotations

import copy
from typing import Any, TypedDict

import pytest
from langchain_core.runnables import RunnableBinding
from langchain_core.tools import tool
from pydantic import BaseModel

from cf_gemma.errors import InvalidRequest
from langchain_cf_gemma import ChatCloudflareGemma

ADD: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds.",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    },
}
NAMED = {"type": "function", "function": {"name": "add"}}


@tool
def add(a: int) -> int:
    """Adds."""
    return a


def plain(a: int) -> int:
    """Adds."""
    return a


class Model(BaseModel):
    """Adds."""

    a: int


class Typed(TypedDict):
    """Adds."""

    a: int


def bound(**arguments: Any) -> dict[str, Any]:
    """What bind_tools binds."""
    model = ChatCloudflareGemma(account_id="acct", api_token="token")
    binding = model.bind_tools(**arguments)
    assert isinstance(binding, RunnableBinding)
    return dict(binding.kwargs)


@pytest.mark.parametrize(
    "tool",
    [
        add,
        plain,
        Model,
        Typed,
        ADD,
        ADD["function"],
        {"title": "add", "description": "Adds.", **ADD["function"]["parameters"]},
        {"name": "add", "description": "Adds.", "input_schema": ADD["function"]["parameters"], "cache_control": {}},
    ],
    ids=["tool", "function", "pydantic", "typeddict", "chat completions", "bare function", "JSON schema", "Anthropic"],
)
def test_forms_of_a_tool(tool: Any) -> None:
    """Every form of a tool becomes the same chat-completions tool."""
    (formed,) = bound(tools=[tool])["tools"]
    assert formed["type"] == "function"
    assert formed["function"]["description"] == "Adds."
    assert formed["function"]["parameters"]["properties"]["a"]["type"] == "integer"


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        (None, None),
        (False, None),
        ("auto", "auto"),
        ("none", "none"),
        ("any", "required"),
        ("required", "required"),
        (True, "required"),
        ("add", NAMED),
        (NAMED, NAMED),
        ({"type": "any"}, "required"),
        ({"type": "auto"}, "auto"),
        ({"type": "tool", "name": "add"}, NAMED),
    ],
    ids=repr,
)
def test_forms_of_the_choice(choice: Any, sent: Any) -> None:
    """Every form of `tool_choice` becomes what the service takes; no choice is left out."""
    assert bound(tools=[ADD], tool_choice=choice).get("tool_choice") == sent


def test_unknown_choice() -> None:
    """A choice that names no tool is refused at once, with the nearest name."""
    with pytest.raises(InvalidRequest, match=r"'ad'.*Did you mean 'add'"):
        bound(tools=[ADD], tool_choice="ad")
    with pytest.raises(InvalidRequest, match="no tools"):
        bound(tools=[], tool_choice="any")


def test_not_a_tool() -> None:
    """A schema without a title, which would be its name, is refused at once."""
    with pytest.raises(ValueError, match="title"):
        bound(tools=[{"type": "object", "properties": {}}])


def test_no_tools() -> None:
    """An empty list of tools is not bound: the service refuses one."""
    assert bound(tools=[]) == {}


def test_callers_tools_stay_as_they_are() -> None:
    """Binding changes nothing of the caller's dicts, `strict` included."""
    schema = {"title": "add", "description": "Adds.", "type": "object", "properties": {"a": {"type": "integer"}}}
    before = copy.deepcopy([ADD, schema])
    formed = bound(tools=[ADD, schema], strict=True, tool_choice="any")["tools"]
    assert formed[1]["function"]["strict"] is True
    assert [ADD, schema] == before


def test_other_arguments() -> None:
    """`parallel_tool_calls`, a `response_format` in any form, and parameters of the call are bound too."""
    kwargs = bound(tools=[ADD], parallel_tool_calls=False, response_format=Model, temperature=0)
    assert kwargs["parallel_tool_calls"] is False
    assert kwargs["temperature"] == 0
    assert kwargs["response_format"]["json_schema"]["name"] == "Model"
    ready = {"type": "json_schema", "json_schema": {"name": "M", "schema": {"type": "object"}}}
    assert bound(tools=[], response_format=ready) == {"response_format": ready}
