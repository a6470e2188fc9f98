from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from pydantic import BaseModel, Field

from cf_gemma.errors import InvalidRequest
from cf_gemma.request.http_request import HttpRequest, build
from cf_gemma.request.parameters import merged
from cf_gemma.request.schema_prompt import ANY_OBJECT, OF_A_SCHEMA
from cf_gemma.settings.resolved import Settings
from tests.request.template import REVISIONS, rendered

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
USER = {"role": "user", "content": "How much?"}


class Node(BaseModel):
    """A part."""

    price: int = Field(description="in CENTS")
    title: str = ""
    children: list["Node"] = []


SCHEMA = Node.model_json_schema()
ASKED: dict[str, Any] = {"type": "json_schema", "json_schema": {"name": "Node", "schema": SCHEMA}}


def request(messages: Any = "How much?", *, schema_in_prompt: bool = True, **options: Any) -> HttpRequest:
    """The request for this call."""
    settings = Settings.resolve(account_id="a", api_token="t", environ={}, schema_in_prompt=schema_in_prompt)
    return build(settings, messages, merged(options))


def body(messages: Any = "How much?", **options: Any) -> dict[str, Any]:
    """Its body."""
    return json.loads(request(messages, **options).body)


@pytest.mark.parametrize("revision", REVISIONS)
@pytest.mark.parametrize("messages", [[USER], [{"role": "system", "content": "Be brief."}, USER]])
def test_the_model_reads_the_schema(messages: Any, revision: str) -> None:
    """Fields, descriptions and what recurs stand once in the system turn, in a sentence; the constraint is whole."""
    before = copy.deepcopy(messages)
    sent = body(messages, response_format=ASKED)
    system = rendered(sent, revision).partition("<turn|>")[0]
    assert OF_A_SCHEMA in system
    assert system.count("in CENTS") == 1
    assert '"items":{"$ref":"#/$defs/Node"}' in system
    assert '"title":{"default":"","type":"string"}' in system
    assert '"title":"' not in system
    assert ("Be brief.\n\nAnswer" in system) is (len(messages) == 2)
    assert sent["response_format"]["json_schema"]["schema"] == SCHEMA
    assert messages == before


@pytest.mark.parametrize(
    "prompt",
    [
        json.dumps(SCHEMA["$defs"]["Node"]["properties"]),
        json.dumps(SCHEMA["$defs"]["Node"]["properties"], separators=(",", ":")),
    ],
)
def test_never_twice(prompt: str) -> None:
    """Where the conversation has the schema already, as output parsers write it, it isn't written again."""
    flat = {**SCHEMA["$defs"]["Node"], "$defs": SCHEMA["$defs"]}
    asked = {"type": "json_schema", "json_schema": {"name": "Node", "schema": flat}}
    sent = body([{"role": "user", "content": f"Answer in this schema: {prompt}"}], response_format=asked)
    assert len(sent["messages"]) == 1
    again = body(body(response_format=ASKED)["messages"], response_format=ASKED)
    assert json.dumps(again).count("Answer with JSON") == 1


def test_json_mode() -> None:
    """It gets its one sentence."""
    assert body(response_format={"type": "json_object"})["messages"][0] == {"role": "system", "content": ANY_OBJECT}


def test_switched_off() -> None:
    """With `schema_in_prompt=False`, and for text, nothing is added."""
    assert body(response_format=ASKED, schema_in_prompt=False)["messages"] == [USER]
    assert body(response_format={"type": "text"})["messages"] == [USER]


def test_a_bare_schema() -> None:
    """One that isn't wrapped is shown, too."""
    sent = body(response_format={"type": "json_schema", "json_schema": {"type": "object", "description": "Few."}})
    assert sent["messages"][0]["content"].endswith('{"type":"object","description":"Few."}')


def deep(levels: int) -> dict[str, Any]:
    """A schema within a schema, so many times."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"properties": {"a": {"$ref": "#/$defs/No"}}}, r"response_format: schema\.properties\.a: \$ref points to"),
        (deep(120), "response_format: schema.*over 50 levels"),
        ({"properties": {"a": object()}}, "response_format: the schema can't be written as JSON"),
    ],
)
def test_a_bad_schema(schema: Any, message: str) -> None:
    """It is refused before it is sent, with the place."""
    with pytest.raises(InvalidRequest, match=message):
        body(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})


@pytest.mark.parametrize(
    ("options", "bound"),
    [
        ({}, True),
        ({"tools": []}, True),
        ({"tools": [TOOL], "tool_choice": "none"}, True),
        ({"tools": [TOOL]}, False),
        ({"tools": [TOOL], "tool_choice": "auto"}, False),
        ({"tools": [TOOL], "tool_choice": "required"}, False),
    ],
)
@pytest.mark.parametrize("asked", [ASKED, {"type": "json_object"}], ids=["schema", "json mode"])
def test_no_grammar_while_tools_may_be_called(asked: Any, options: Any, bound: bool) -> None:
    """The constraint would forbid every call, so it is left out then, and the model is only told."""
    sent = body(response_format=asked, **options)
    assert ("response_format" in sent) is bound
    assert sent["messages"][0]["content"].startswith("Answer with ")
    assert sent["chat_template_kwargs"] == {"enable_thinking": not bound}
