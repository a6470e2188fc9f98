"""The schema of a structured answer, in the system turn. Pure.

A `response_format` binds the model's words and tells it nothing: servers make a grammar of it, and no part of their
prompt. Without this sentence the model doesn't know a field's description, nor that JSON is asked for.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic_core import from_json, to_json

from cf_gemma.errors import InvalidRequest
from cf_gemma.model.json_object import as_object
from cf_gemma.request.notes import as_json
from cf_gemma.request.readable import DEPTH
from cf_gemma.request.references import UnreadableSchema, target

if TYPE_CHECKING:
    from collections.abc import Mapping

ANY_OBJECT: Final = "Answer with one JSON object and nothing else."
OF_A_SCHEMA: Final = "Answer with JSON and nothing else, as this JSON Schema describes it: "

_TABLES: Final = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_RAW: Final = frozenset({"enum", "const", "default", "examples", "required", "type"})
_UNSAID: Final = frozenset({"title", "discriminator", "$schema", "$id", "$comment"})


def set_schema(body: dict[str, Any], response_format: Mapping[str, Any]) -> None:
    """Says in a body's system turn what JSON to answer with, unless its messages say so already.

    Raises InvalidRequest for a schema that refers to what isn't there, or can't be written.
    """
    turns: list[dict[str, Any]] = body.get("messages", [])
    if not turns or (sentence := _sentence(response_format, turns)) is None:
        return
    first = turns[0]
    if first["role"] in ("system", "developer"):
        system = {**first, "content": f"{first['content']}\n\n{sentence}".lstrip()}
        body["messages"] = [system, *turns[1:]]
    else:
        body["messages"] = [{"role": "system", "content": sentence}, *turns]


def schema_of(response_format: Mapping[str, Any]) -> dict[str, Any] | None:
    """The JSON schema that a `response_format` asks for; None for one without."""
    wrapper = as_object(response_format.get("json_schema")) or {}
    return as_object(wrapper.get("schema"))


def _sentence(response_format: Mapping[str, Any], turns: list[dict[str, Any]]) -> str | None:
    schema = schema_of(response_format)
    if schema is None:
        sentence, marks = ANY_OBJECT, [ANY_OBJECT]
    else:
        compact = _compact_text(_encoded(schema))
        sentence, marks = OF_A_SCHEMA + compact, [compact, *_spellings(schema.get("properties"))]
    texts = [turn["content"] for turn in turns if isinstance(turn["content"], str)]
    return None if any(mark in text for text in texts for mark in marks) else sentence


def _spellings(properties: object) -> list[str]:
    """How others write a schema's fields into a prompt: as Python's JSON encoder and as Pydantic's do."""
    if not properties:
        return []
    return [as_json(properties), json.dumps(properties), json.dumps(properties, ensure_ascii=False)]


def _encoded(schema: dict[str, Any]) -> bytes:
    try:
        return to_json(schema)
    except ValueError:
        raise InvalidRequest(
            "response_format: the schema can't be written as JSON: it has Python objects in it, or is too deep"
        ) from None


@lru_cache(maxsize=64)
def _compact_text(schema: bytes) -> str:
    root: dict[str, Any] = from_json(schema)
    try:
        return as_json(_compact(root, root, "schema", 0))
    except UnreadableSchema as error:
        raise InvalidRequest(f"response_format: {error}") from None


def _compact(value: Any, root: dict[str, Any], place: str, depth: int) -> Any:
    """A schema without what says nothing to the model."""
    if depth > 2 * DEPTH:  # a schema and its table of fields are two
        raise UnreadableSchema(f"{place}: the schema has over {DEPTH} levels")
    if isinstance(value, list):
        return [_compact(one, root, place, depth + 1) for one in cast("list[Any]", value)]
    schema = as_object(value)
    if schema is None:
        return value
    if "$ref" in schema:
        target(root, schema["$ref"], place)
    kept = {name: one for name, one in schema.items() if name not in _UNSAID and (name, one) != _CLOSED}
    return {name: _of_keyword(name, one, root, f"{place}.{name}", depth + 1) for name, one in kept.items()}


def _of_keyword(name: str, value: Any, root: dict[str, Any], place: str, depth: int) -> Any:
    if name in _RAW:
        return value
    if name in _TABLES and (table := as_object(value)) is not None:
        return {key: _compact(one, root, f"{place}.{key}", depth + 1) for key, one in table.items()}
    return _compact(value, root, place, depth)


_CLOSED: Final = ("additionalProperties", False)
