"""What a JSON schema says that Gemma's chat template doesn't print, in words for its description. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from cf_gemma.request.merging import kinds_of, sentences

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cf_gemma.request.merging import Schema

_WORDS: Final[Mapping[str, str]] = {
    "default": "Default: {}",
    "minimum": "At least {}",
    "maximum": "At most {}",
    "exclusiveMinimum": "More than {}",
    "exclusiveMaximum": "Less than {}",
    "multipleOf": "A multiple of {}",
    "minLength": "At least {} characters",
    "maxLength": "At most {} characters",
    "minItems": "At least {} items",
    "maxItems": "At most {} items",
    "minProperties": "At least {} fields",
    "maxProperties": "At most {} fields",
    "pattern": "Pattern: {}",
    "format": "Format: {}",
    "contentEncoding": "Encoding: {}",
    "contentMediaType": "Media type: {}",
}
_PRINTED: Final = frozenset({"description", "type", "nullable", "properties", "required", "additionalProperties"})
_HIDDEN_NAMES: Final = ("description", "type", "properties", "required", "nullable")
"""Fields so named aren't printed by the template's revisions of the model's release."""


def notes(schema: Schema) -> list[str]:
    """What the template leaves out of a field with this schema. A `default` of null says nothing of its own."""
    kinds = kinds_of(schema.get("type"))
    keywords = [_of_keyword(name, value, kinds) for name, value in schema.items() if name not in _PRINTED]
    return [note for note in (_of_kinds(schema, kinds), *keywords, _of_other_fields(schema), _of_names(schema)) if note]


def phrase(schema: Any) -> str:
    """A schema in as few words as hold all of it; JSON Schema itself where no words do."""
    if not isinstance(schema, dict):
        return as_json(schema)
    rest: Schema = {name: value for name, value in schema.items() if name not in ("description", "type")}  # pyright: ignore[reportUnknownVariableType] - any keyword
    kinds = kinds_of(schema.get("type"))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] - as above
    words = " or ".join(kinds)
    if rest.keys() == {"enum"}:
        words = ", ".join(map(as_json, rest["enum"]))
    elif kinds == ["array"] and rest.keys() == {"items"} and phrase(rest["items"])[0] != "{":
        words = f"array of {phrase(rest['items'])}"
    elif rest or not words:
        return as_json(schema)
    return f"{words} ({schema['description']})" if schema.get("description") else words  # pyright: ignore[reportUnknownMemberType] - as above


def with_notes(schema: Schema, *, names_only: bool = False) -> Schema:
    """The schema with its notes in the description, and without the keywords that only annotate.

    With `names_only`, all keywords are printed as they are, and just the names of fields may be left out.
    """
    remarks = [_of_names(schema)] if names_only else notes(schema)
    text = sentences(str(schema.get("description") or ""), *remarks)
    rest = {name: value for name, value in schema.items() if name != "description"}
    if not names_only:
        rest = {name: value for name, value in rest.items() if name not in ("default", "examples", "deprecated")}
    return {"description": text, **rest} if text else rest


def as_json(value: Any) -> str:
    """Compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _of_keyword(name: str, value: Any, kinds: list[str]) -> str:
    if name in _WORDS:
        plain = isinstance(value, str) and name != "default"
        return "" if value is None else _WORDS[name].format(value if plain else as_json(value))
    match name:
        case "enum" if kinds != ["string"]:
            return f"One of {', '.join(map(as_json, value))}" if len(value) > 1 else f"Always {as_json(value[0])}"
        case "anyOf":
            return "One of: " + "; ".join(map(phrase, value))
        case "items" if kinds != ["array"]:
            return f"As an array, of {phrase(value)}"
        case "uniqueItems" | "deprecated":
            return {"uniqueItems": "No item twice", "deprecated": "Deprecated"}[name] if value else ""
        case "examples" if isinstance(value, list):
            return f"For example {', '.join(map(as_json, value))}"  # pyright: ignore[reportUnknownArgumentType] - any JSON
        case "enum" | "items" | "$ref":
            return ""
        case _:
            return f"{name}: {as_json(value)}"


def _of_kinds(schema: Schema, kinds: list[str]) -> str:
    if len(kinds) < 2 or not {"anyOf", "enum"}.isdisjoint(schema):
        return ""
    names = " or ".join(kinds) if len(kinds) < 6 else "any JSON value"
    fields = f"; as an object, with {as_json(schema['properties'])}" if schema.get("properties") else ""
    return names[0].upper() + names[1:] + fields


def _of_other_fields(schema: Schema) -> str:
    others, named = schema.get("additionalProperties", True), bool(schema.get("properties"))
    if kinds_of(schema.get("type")) != ["object"] or others is False or "$ref" in schema or "anyOf" in schema:
        return ""
    if others is True or others == {}:
        return "" if named else "Any names and values"
    return f"{'Other names' if named else 'Any names'}, each with a value: {phrase(others)}"


def _of_names(schema: Schema) -> str:
    properties: Schema = schema.get("properties") or {}
    return "; ".join(
        f"Has the field {name}: {phrase(properties[name])}" for name in _HIDDEN_NAMES if name in properties
    )
