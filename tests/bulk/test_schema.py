"""A JSON Schema from a file."""

from __future__ import annotations

from typing import Any

import pytest

from cf_gemma.bulk.schema import problems


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}, None),
        ({"anyOf": [{"type": "string"}, {"type": ["null", "integer"]}]}, None),
        ({"type": "array", "items": {"$ref": "#/$defs/x"}, "$defs": {"x": {"enum": [1]}}}, None),
        ({"type": "object", "additionalProperties": False, "properties": {"a": True}}, None),
        ([], "/ must be an object"),
        ({"prompt": "a"}, "says nothing of a value"),
        ({"type": "strin"}, "/type must be one of"),
        ({"type": "object", "properties": []}, "/properties must be an object"),
        ({"type": "object", "properties": {"a": {"type": "text"}}}, "/properties/a/type must be one of"),
        ({"type": "object", "properties": {"a": "string"}}, "/properties/a/ must be an object"),
        ({"type": "object", "required": "a"}, "/required must be a list"),
        ({"type": "array", "items": {"type": 3}}, "/items/type must be one of"),
        ({"anyOf": {"type": "string"}}, "/anyOf must be a list"),
    ],
)
def test_schemas(schema: Any, told: str | None) -> None:
    """What isn't a JSON Schema is told from what is, with the place."""
    problem = next(problems(schema), None)
    assert problem is None if told is None else told in (problem or "")
