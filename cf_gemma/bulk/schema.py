"""JSON Schemas for answers, checked before anything is sent. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from cf_gemma.jsonobject import as_object

if TYPE_CHECKING:
    from collections.abc import Iterator

_TYPES: Final = ("object", "array", "string", "number", "integer", "boolean", "null")
_WORDS: Final = ("type", "properties", "items", "enum", "const", "anyOf", "oneOf", "allOf", "$ref")


def response_format(schema: dict[str, Any]) -> dict[str, Any]:
    """The option that asks for an answer of this schema."""
    return {"type": "json_schema", "json_schema": {"name": schema.get("title") or "answer", "schema": schema}}


def problems(schema: object, path: str = "/") -> Iterator[str]:
    """What is wrong with a schema, as far as its structure tells."""
    if isinstance(schema, bool) and path != "/":
        return
    fields = as_object(schema)
    if fields is None:
        yield f"{path} must be an object"
        return
    if path == "/" and not fields.keys() & set(_WORDS):
        yield f"it says nothing of a value: none of {', '.join(_WORDS)}"
    kinds = fields.get("type", [])
    for kind in cast("list[object]", kinds) if isinstance(kinds, list) else [kinds]:
        if kind not in _TYPES:
            yield f"{path}type must be one of {', '.join(_TYPES)}"
    for name in ("required", "enum", "anyOf", "oneOf", "allOf"):
        if not isinstance(fields.get(name, []), list):
            yield f"{path}{name} must be a list"
            return
    yield from _inner_problems(fields, path)


def _inner_problems(schema: dict[str, Any], path: str) -> Iterator[str]:
    for name in ("properties", "$defs"):
        inner = as_object(schema.get(name, {}))
        if inner is None:
            yield f"{path}{name} must be an object"
        for key, value in (inner or {}).items():
            yield from problems(value, f"{path}{name}/{key}/")
    if "items" in schema:
        yield from problems(schema["items"], f"{path}items/")
    for name in ("anyOf", "oneOf", "allOf"):
        for place, value in enumerate(cast("list[object]", schema.get(name, []))):
            yield from problems(value, f"{path}{name}/{place}/")
