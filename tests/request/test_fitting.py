from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from cf_gemma.request.fitting import fits
from tests.request.schemas import PARAMETERS, Example

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.sampled_from(["", "xx", "km", 2.5, 2.0, 1e300]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "p", "é"]), inner),
    max_leaves=6,
)
LIMITS = [
    {"type": "integer"},
    {"minimum": 2, "exclusiveMaximum": 8},
    {"maximum": 2, "exclusiveMinimum": -1},
    {"minLength": 1, "maxLength": 2},
    {"minItems": 1, "maxItems": 2, "items": {"type": ["integer", "string"]}},
    {"prefixItems": [{"type": "integer"}], "items": False},
    {"required": ["a"], "patternProperties": {"^p": {"type": "integer"}}, "additionalProperties": {"type": "null"}},
    {"oneOf": [{"type": "integer"}, {"minimum": 3}]},
    {"enum": [1, "xx", None, [True]]},
    {"const": 1},
    {"pattern": "x$"},
    {"properties": {"a": True, "b": False}},
]


@given(PARAMETERS, VALUES)
def test_agrees_with_a_validator(example: Example, other: Any) -> None:
    """A value that the schema was made for fits, and any other does exactly if a validator says so."""
    assert fits(example.value, example.schema)
    for value in (other, {"a": other}, {"a": other, "b": other}):
        if "not" not in str(example.schema):
            assert fits(value, example.schema) is Draft202012Validator(example.schema).is_valid(value)


@pytest.mark.parametrize("schema", LIMITS, ids=str)
@settings(max_examples=30)
@given(VALUES)
def test_each_keyword(schema: dict[str, Any], value: Any) -> None:
    """Each keyword that is looked at means what it does in JSON Schema."""
    assert fits(value, schema) is Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize(
    "schema",
    [
        {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"$ref": "#/$defs/no"},
        {"pattern": "("},
        {"minimum": "1", "type": "integer"},
    ],
    ids=str,
)
def test_what_is_no_schema_fits_nothing(schema: dict[str, Any]) -> None:
    """A schema that can't be met or isn't one ends in no, soon."""
    assert not fits("1" if "pattern" in schema else 1, schema)
