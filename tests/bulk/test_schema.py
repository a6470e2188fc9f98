"""Answers in JSON: which schemas are refused, and which answers don't fit."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cf_gemma.bulk.schema import JsonFormat
from cf_gemma.errors import InvalidRequest

PERSON = {
    "title": "person",
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name"],
}


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}, None),
        ({"anyOf": [{"type": "string"}, {"type": ["null", "integer"]}]}, None),
        ({"type": "array", "items": {"$ref": "#/$defs/x"}, "$defs": {"x": {"enum": [1]}}}, None),
        ({"type": "object", "additionalProperties": False, "properties": {"a": True}}, None),
        ([], "must be an object"),
        ({"prompt": "a"}, "it has none of type, properties"),
        ({"type": "strin"}, "$.type: 'strin' is not"),
        ({"type": "object", "properties": []}, "$.properties: [] is not of type 'object'"),
        ({"type": "object", "properties": {"a": "string"}}, "$.properties.a: 'string' is not"),
        ({"type": "object", "required": "a"}, "$.required: 'a' is not of type 'array'"),
    ],
)
def test_schemas(schema: Any, problem: str | None) -> None:
    """What isn't a JSON Schema is refused, with the place of the mistake."""
    if problem is None:
        assert JsonFormat(schema).options["response_format"]["json_schema"]["schema"] == schema
        return
    with pytest.raises(InvalidRequest) as refused:
        JsonFormat(schema)
    assert problem in str(refused.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"name": "Ada", "age": 36}', None),
        ('```json\n{"name": "Ada"}\n```', None),
        ('```\n{"name": "Ada"}', None),
        ("Ada", "the answer is not JSON"),
        ('{"name": "Ada"', "the answer is not JSON"),
        ("[" * 100_000, "the answer is not JSON"),
        ('{"age": 36}', "doesn't fit the schema: $: 'name' is a required property"),
        ('{"name": "Ada", "age": "old"}', "doesn't fit the schema: $.age: 'old' is not of type 'integer'"),
    ],
)
def test_answers(text: str, problem: str | None) -> None:
    """An answer is read, also out of a fence, and one that doesn't fit is refused with the place."""
    if problem is None:
        assert JsonFormat(PERSON).read(text)["name"] == "Ada"
        return
    with pytest.raises(ValueError, match="the answer") as refused:
        JsonFormat(PERSON).read(text)
    assert problem in str(refused.value)


def test_references_are_not_fetched() -> None:
    """A reference to the web is an error, and no connection is made for it."""
    wanted = JsonFormat({"properties": {"a": {"$ref": "https://schemas.test/a.json"}}})
    with pytest.raises(ValueError, match=r"leads nowhere: https://schemas\.test/a\.json"):
        wanted.read(json.dumps({"a": 1}))


def test_any_json() -> None:
    """Without a schema any JSON fits, and nothing is asked of the service for it."""
    assert JsonFormat().read("[1]") == [1]
    assert JsonFormat().options == {}
