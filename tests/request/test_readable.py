from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from cf_gemma.errors import InvalidRequest
from cf_gemma.request.tools import readable_tools
from tests.request.schemas import PARAMETERS, Example, without_null_fields
from tests.request.template import REVISIONS, declaration, rendered

PLACE = {
    "type": "object",
    "title": "Place",
    "description": "A place on Earth.",
    "properties": {"city": {"title": "City", "type": "string", "description": "Its name"}},
    "required": ["city"],
}
NODE = {
    "type": "object",
    "properties": {"value": {"type": "integer"}, "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}}},
}


def tool(parameters: Any, name: str = "book", **function: Any) -> dict[str, Any]:
    """A tool with these parameters."""
    return {
        "type": "function",
        "function": {"name": name, "description": "Books.", "parameters": parameters, **function},
    }


def of_field(field: Any, **definitions: Any) -> dict[str, Any]:
    """A tool with one parameter `x`."""
    return tool({"type": "object", "properties": {"x": field}, "$defs": definitions})


def printed(tools: list[dict[str, Any]], revision: str = REVISIONS[-1], name: str = "book") -> str:
    """What the model reads of a tool."""
    body = {"messages": [{"role": "user", "content": "x"}], "tools": tools}
    return declaration(rendered(body, revision), name).replace('<|"|>', '"')


def field(schema: Any, **definitions: Any) -> str:
    """What the model reads of a field `x`."""
    text = printed(readable_tools([of_field(schema, **definitions)]))
    return text[text.index("properties:{x:") + len("properties:{x:") : text.rindex("},type:")]


@pytest.mark.parametrize(
    ("schema", "read"),
    [
        (
            {"$ref": "#/$defs/Place"},
            (
                '{description:"A place on Earth.",properties:{city:{description:"Its name",'
                'type:"STRING"}},required:["city"],type:"OBJECT"}'
            ),
        ),
        (
            {"$ref": "#/$defs/Place", "description": "Where to"},
            (
                '{description:"Where to. A place on Earth.",properties:{city:{description:"Its name",'
                'type:"STRING"}},required:["city"],type:"OBJECT"}'
            ),
        ),
        (
            {"allOf": [{"$ref": "#/$defs/Place"}, {"properties": {"n": {"type": "integer"}}, "required": ["n"]}]},
            (
                '{description:"A place on Earth.",properties:{city:{description:"Its name",'
                'type:"STRING"},n:{type:"INTEGER"}},required:["city","n"],type:"OBJECT"}'
            ),
        ),
        ({"type": "array", "items": {"$ref": "#/$defs/Unit"}}, '{items:{enum:["km","mi"],type:"STRING"},type:"ARRAY"}'),
        ({"$ref": "#/$defs/Unit", "default": "km"}, '{description:"Default: "km"",enum:["km","mi"],type:"STRING"}'),
        (
            {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None, "title": "X"},
            '{nullable:true,type:"INTEGER"}',
        ),
        ({"type": ["integer", "null"], "minimum": 1}, '{description:"At least 1",nullable:true,type:"INTEGER"}'),
        (
            {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/Unit"}}, {"type": "null"}]},
            '{items:{enum:["km","mi"],type:"STRING"},nullable:true,type:"ARRAY"}',
        ),
        ({"const": "card"}, '{enum:["card"],type:"STRING"}'),
        ({"const": 7}, '{description:"Always 7",type:"INTEGER"}'),
        ({"enum": [1, 2.5], "description": "Pick."}, '{description:"Pick. One of 1, 2.5.",type:"NUMBER"}'),
        ({"enum": ["a", None]}, '{enum:["a"],nullable:true,type:"STRING"}'),
        (
            {"anyOf": [{"const": "a", "description": "first"}, {"const": "b"}]},
            '{description:""a": first",enum:["a","b"],type:"STRING"}',
        ),
        (
            {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "string"}}]},
            """{description:"One of: integer; array of string",type:"['INTEGER', 'ARRAY']"}""",
        ),
        (
            {"type": "object", "additionalProperties": {"type": "integer"}, "title": "X"},
            '{description:"Any names, each with a value: integer",properties:{},type:"OBJECT"}',
        ),
        ({"type": "object"}, '{description:"Any names and values",properties:{},type:"OBJECT"}'),
        (
            {"type": "string", "format": "date", "pattern": "^2"},
            '{description:"Format: date. Pattern: ^2.",type:"STRING"}',
        ),
        (
            {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "uniqueItems": True},
            ('{description:"At least 1 items. No item twice.",items:{minimum:0,type:"INTEGER"},type:"ARRAY"}'),
        ),
        (
            {"$ref": "#/$defs/Node"},
            (
                '{properties:{children:{items:{$ref:"#/$defs/book_Node_0",description:"Node again,'
                ' with the same fields as around it",type:"OBJECT"},type:"ARRAY"},'
                'value:{type:"INTEGER"}},type:"OBJECT"}'
            ),
        ),
    ],
)
def test_what_the_model_reads_of_a_field(schema: Any, read: str) -> None:
    """Everything that a field's schema says, in the places that the template prints."""
    unit = {"enum": ["km", "mi"], "title": "Unit", "type": "string"}
    assert field(schema, Place=PLACE, Node=NODE, Unit=unit) == read


@pytest.mark.parametrize("revision", REVISIONS)
def test_fields_that_early_revisions_hide(revision: str) -> None:
    """A field named `type` or `description` is read in every revision, also in those that print no such field."""
    kind = {"type": "string", "enum": ["bug", "idea"], "description": "Which"}
    nested = {"type": "object", "properties": {"type": kind}}
    text = printed(readable_tools([tool({"type": "object", "properties": {"type": kind, "x": nested}})]), revision)
    assert text.count('Has the field type: "bug", "idea" (Which)') == 2


@given(PARAMETERS, st.sampled_from(REVISIONS))
def test_everything_is_printed(example: Example, revision: str) -> None:
    """Whatever the schema: each field has a type, and no keyword is taken for a field."""
    text = printed(readable_tools([tool(example.schema)]), revision)
    assert 'type:""' not in text
    assert "properties:{additionalProperties" not in text
    assert "anyOf:{" not in text


@given(PARAMETERS)
def test_the_same_values_are_accepted(example: Example) -> None:
    """What the original schema accepts, the readable one does, but that optional null is said by leaving it out."""
    schema, value = example
    Draft202012Validator(schema).validate(value)
    left_out = without_null_fields(value, schema, schema)
    for forced in (None, "book"):
        (made,) = readable_tools([tool(schema)], forced)
        Draft202012Validator.check_schema(made["function"]["parameters"])
        Draft202012Validator(made["function"]["parameters"]).validate(left_out)
    # A forced call's parameters stand within a larger schema on some servers.
    larger = {"type": "array", "items": {"properties": {"parameters": made["function"]["parameters"]}}}
    Draft202012Validator(larger).validate([{"parameters": left_out}])


@given(PARAMETERS)
def test_nothing_of_the_caller_is_changed(example: Example) -> None:
    """The caller's tools are the same afterwards, and what is made of equal tools is equal."""
    given_tool = tool(example.schema)
    before = copy.deepcopy(given_tool)
    assert readable_tools([given_tool]) == readable_tools([before])
    assert given_tool == before


def test_a_recursive_schema_binds_all_the_way_down() -> None:
    """Where a schema recurs it still says what may be there, however deep."""
    (made,) = readable_tools([of_field({"$ref": "#/$defs/Node"}, Node=NODE)])
    validator = Draft202012Validator(made["function"]["parameters"])
    assert validator.is_valid({"x": {"children": [{"children": [{"children": [{"value": 1}]}]}]}})
    assert not validator.is_valid({"x": {"children": [{"children": [{"children": [{"value": "1"}]}]}]}})


def test_definitions_of_two_tools_never_meet() -> None:
    """Two tools whose `$defs` share a name keep each its own."""
    tools = [tool({"$ref": "#/$defs/Node", "$defs": {"Node": {**NODE, "description": name}}}, name) for name in "ab"]
    first, second = ({*made["function"]["parameters"]["$defs"]} for made in readable_tools(tools, required=True))
    assert first & second == set()


@pytest.mark.parametrize("strict", [True, None])
def test_required_null_in_a_constrained_answer(strict: bool | None) -> None:
    """Where the schema binds the answer, a required field that may be null still may; else `nullable` says it."""
    field = {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    (made,) = readable_tools([tool({"type": "object", "properties": {"x": field}, "required": ["x"]}, strict=strict)])
    validator = Draft202012Validator(made["function"]["parameters"])
    assert validator.is_valid({"x": None}) is (strict is True)
    assert made["function"]["parameters"]["properties"]["x"] == (
        {"description": "Integer or null", "type": ["integer", "null"]}
        if strict
        else {"type": "integer", "nullable": True}
    )


def test_the_description_of_the_whole() -> None:
    """A class's own description is read once, beside the tool's or as it."""
    assert '{description:"Books. A place on Earth."' in printed(readable_tools([tool(PLACE)]))
    assert '{description:"A place on Earth."' in printed(readable_tools([tool(PLACE, description="A place on Earth.")]))


@pytest.mark.parametrize("parameters", [{}, None, {"type": "object", "properties": {}}])
def test_a_tool_without_parameters(parameters: Any) -> None:
    """Nothing is invented for it."""
    function = {"name": "book", "description": "Books."} | ({} if parameters is None else {"parameters": parameters})
    text = printed(readable_tools([{"type": "function", "function": function}]))
    assert text in (
        '<|tool>declaration:book{description:"Books."}',
        '<|tool>declaration:book{description:"Books.",parameters:{type:"OBJECT"}}',
    )


def test_a_tool_of_another_kind() -> None:
    """It is passed on."""
    custom = {"type": "custom", "custom": {"name": "grep"}}
    assert readable_tools([custom]) == [custom]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ([1], r"tools\[0\] \(book\): parameters must be the JSON schema of an object"),
        ({"type": "string"}, "parameters must be the schema of an object, not of type string"),
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, "the schema of an object, not of type string or null"),
        (
            {"type": "object", "properties": {"a": {"$ref": "#/$defs/No"}}},
            r"parameters\.a: \$ref points to #/\$defs/No",
        ),
        (
            {"type": "object", "properties": {"a": {"$ref": "https://x.test/s"}}},
            r"parameters\.a: \$ref must point into",
        ),
        ({"type": "object", "properties": {"a": {"$ref": 1}}}, r"parameters\.a: \$ref must point into"),
        ({"type": "object", "properties": {"a": 5}}, r"parameters\.a must be an object, not integer"),
        ({"type": "object", "properties": []}, r"parameters\.properties must be an object, not array"),
        ({"properties": {"a": {"anyOf": {}}}}, r"parameters\.a\.anyOf must be an array, not object"),
        ({"properties": {"a": {"not": {"$ref": "#"}}}}, "recurs where it can't be written out"),
        ({"properties": {"a": {"default": object()}}}, "can't be written as JSON"),
    ],
)
def test_bad_parameters(parameters: Any, message: str) -> None:
    """They are refused with the tool's name and the place."""
    with pytest.raises(InvalidRequest, match=message):
        readable_tools([tool(parameters)])


def nested(levels: int) -> dict[str, Any]:
    """An object in an object, so many times."""
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def doubling(levels: int, kind: str) -> dict[str, Any]:
    """References that would be 2 ** levels schemas, were they written out."""
    both = [{"$ref": "#/$defs/0"}] * 2
    definitions: dict[str, Any] = {str(levels): {"type": "string"}}
    for level in range(levels):
        both = [{"$ref": f"#/$defs/{level + 1}"}] * 2
        if kind == "properties":
            definitions[str(level)] = {"type": "object", "properties": {"a": both[0], "b": both[1]}}
        else:
            definitions[str(level)] = {kind: both if kind != "not" else {}, "not": {"anyOf": both}}
    return {"type": "object", "properties": {"x": {"$ref": "#/$defs/0"}}, "$defs": definitions}


@pytest.mark.parametrize(
    "parameters",
    [nested(60), *(doubling(40, kind) for kind in ("properties", "allOf", "anyOf", "not"))],
    ids=["deep", "properties", "allOf", "anyOf", "not"],
)
def test_too_large_to_write_out(parameters: Any) -> None:
    """A schema that would be huge is refused before it is, with the remedy."""
    with pytest.raises(InvalidRequest, match=r"\(book\): .*has over .*readable_tools=False"):
        readable_tools([tool(parameters)])


def test_a_chain_of_references_that_leads_round() -> None:
    """A reference that only leads to itself is open, and ends."""
    (made,) = readable_tools([of_field({"$ref": "#/$defs/A"}, A={"$ref": "#/$defs/B"}, B={"$ref": "#/$defs/A"})])
    assert json.dumps(made)


def test_of_pydantic() -> None:
    """A class with fields of every sort is read whole."""

    class Stop(BaseModel):
        """One stop."""

        place: str
        nights: int | None = None

    class Trip(BaseModel):
        stops: list[Stop]
        by_name: dict[str, Stop]

    text = printed(readable_tools([tool(Trip.model_json_schema())]))
    assert text.count("One stop.") == 2
    assert text.count("nights") == 2
    assert "$ref" not in text
