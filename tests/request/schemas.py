"""JSON schemas made by Hypothesis, each with a value that it accepts."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import strategies as st

NAMES = ("a", "b", "type", "description", "é")
DEFINITIONS: dict[str, Any] = {
    "Unit": {"enum": ["km", "mi"], "title": "Unit", "type": "string"},
    "Place": {
        "type": "object",
        "title": "Place",
        "description": "A place.",
        "properties": {"city": {"type": "string"}, "unit": {"$ref": "#/$defs/Unit"}},
        "required": ["city"],
    },
    "Node": {
        "type": "object",
        "properties": {
            "value": {"type": "integer"},
            "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
            "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}, "default": []},
        },
        "required": ["value"],
        "additionalProperties": False,
    },
}
VALUES: dict[str, Any] = {
    "Unit": "km",
    "Place": {"city": "Rome", "unit": "mi"},
    "Node": {"value": 1, "children": [{"value": 2, "next": {"value": 3, "children": []}}]},
}


class Example(NamedTuple):
    """A schema, and a value that fits it."""

    schema: dict[str, Any]
    value: Any


LEAVES = st.sampled_from(
    [
        Example({"type": "string", "minLength": 2, "pattern": "^x", "default": "xx"}, "xyz"),
        Example({"type": "string", "format": "date"}, "2026-11-29"),
        Example({"type": "integer", "minimum": 1, "exclusiveMaximum": 9}, 4),
        Example({"type": "number", "multipleOf": 0.5}, 2.5),
        Example({"type": "boolean", "description": "Whether."}, False),
        Example({"const": "card"}, "card"),
        Example({"const": 7, "title": "Seven"}, 7),
        Example({"enum": [1, 2, None]}, 2),
        Example({"enum": ["x", 3, True]}, True),
        Example({"type": ["string", "integer"]}, 5),
        Example({"type": ["array", "string"], "items": {"type": "integer"}}, [1]),
        Example({"type": "object", "additionalProperties": {"type": "integer"}}, {"any": 1}),
        Example({"type": "object"}, {"any": [None]}),
        Example({"type": "array", "prefixItems": [{"type": "string"}, {"type": "number"}]}, ["x", 1]),
        Example({}, {"any": None}),
        Example({"type": "string", "not": {"$ref": "#/$defs/Unit"}}, "m"),
        *(Example({"$ref": f"#/$defs/{name}", "description": "One."}, value) for name, value in VALUES.items()),
        Example(
            {"allOf": [{"$ref": "#/$defs/Place"}, {"properties": {"n": {"type": "integer"}}}]}, {"city": "", "n": 1}
        ),
    ]
)


def _within(examples: st.SearchStrategy[Example]) -> st.SearchStrategy[Example]:
    return st.one_of(
        examples.map(lambda one: Example({"type": "array", "items": one.schema}, [one.value])),
        examples.map(lambda one: Example({"anyOf": [one.schema, {"type": "null"}]}, one.value)),
        examples.map(lambda one: Example({"anyOf": [{"type": "null"}, one.schema], "default": None}, None)),
        st.tuples(examples, examples).map(
            lambda two: Example({"anyOf": [two[0].schema, two[1].schema], "title": "Choice"}, two[1].value)
        ),
        examples.map(
            lambda one: Example({"type": "object", "patternProperties": {"^p": one.schema}}, {"p": one.value})
        ),
        objects(examples),
    )


@st.composite
def objects(draw: st.DrawFn, examples: st.SearchStrategy[Example]) -> Example:
    """An object with up to three fields, some required. Null is said of fields that may be left out only."""
    fields = draw(st.dictionaries(st.sampled_from(NAMES), examples, max_size=3))
    required = [name for name in fields if draw(st.booleans()) and fields[name].value is not None]
    closed = draw(st.booleans())
    return Example(
        {
            "type": "object",
            "properties": {name: field.schema for name, field in fields.items()},
            **({"required": required} if required else {}),
            **({"additionalProperties": False} if closed else {}),
        },
        {name: field.value for name, field in fields.items()},
    )


EXAMPLES = st.recursive(LEAVES, _within, max_leaves=6)
PARAMETERS = objects(EXAMPLES).map(lambda one: Example({**one.schema, "$defs": DEFINITIONS}, one.value))


def without_null_fields(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> Any:
    """The value with null said by leaving the field out, wherever the schema has such a field."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    options = [option for name in ("anyOf", "allOf") for option in schema.get(name, [])]
    for option in options:
        value = without_null_fields(value, option, root)
    if isinstance(value, list) and "items" in schema:
        return [without_null_fields(item, schema["items"], root) for item in value]
    if isinstance(value, dict):
        pattern = schema.get("patternProperties", {}).get("^p")
        fields = {"p": pattern, **schema.get("properties", {})} if pattern else schema.get("properties", {})
        kept = {name: field for name, field in value.items() if field is not None or name not in fields}
        return {name: without_null_fields(field, fields.get(name, {}), root) for name, field in kept.items()}
    return value
