"""A JSON Schema from a file, checked before anything is sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, cast

import typer

from cf_gemma.jsonobject import as_object

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TYPES: Final = ("object", "array", "string", "number", "integer", "boolean", "null")
_WORDS: Final = ("type", "properties", "items", "enum", "const", "anyOf", "oneOf", "allOf", "$ref")


def read_schema(path: Path | None) -> dict[str, Any] | None:
    """The schema in a file; None for no file. Raises typer.BadParameter for what isn't one."""
    if path is None:
        return None
    try:
        schema = as_object(json.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{path} can't be read as JSON: {error}") from None
    if schema is None:
        raise typer.BadParameter(f"{path} is not a JSON Schema: it must be an object")
    if problem := next(problems(schema), None):
        raise typer.BadParameter(f"{path} is not a JSON Schema: {problem}")
    return schema


def response_format(schema: dict[str, Any]) -> dict[str, Any]:
    """The option that asks for an answer of this schema."""
    return {"type": "json_schema", "json_schema": {"name": schema.get("title") or "answer", "schema": schema}}


def problems(schema: object, path: str = "/") -> Iterator[str]:
    """What is wrong with a schema, as far as its structure tells."""
    if isinstance(schema, bool) and path != "/":
        return
    found = as_object(schema)
    if found is None:
        yield f"{path} must be an object"
        return
    if path == "/" and not found.keys() & set(_WORDS):
        yield f"it says nothing of a value: none of {', '.join(_WORDS)}"
    kinds = found.get("type", [])
    for kind in cast("list[object]", kinds) if isinstance(kinds, list) else [kinds]:
        if kind not in _TYPES:
            yield f"{path}type must be one of {', '.join(_TYPES)}"
    for name in ("required", "enum", "anyOf", "oneOf", "allOf"):
        if not isinstance(found.get(name, []), list):
            yield f"{path}{name} must be a list"
            return
    yield from _inner_problems(found, path)


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
