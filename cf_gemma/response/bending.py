"""What arguments were before a server's parser bent them: texts that stand for a number, a truth value, null. Pure."""

from __future__ import annotations

import re
from typing import Any, Final, cast

from pydantic_core import from_json, to_json

from cf_gemma.model.json_object import as_object

_LEVELS: Final = 100
_INTEGER: Final = re.compile(r"-?\d+")
_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
_ANY_BUT_TEXT: Final = frozenset({"integer", "number", "boolean", "null"})
_STANDS_FOR: Final = re.compile(r'(?<=[:\[,\s])"(-?\d[-+.\deE]{0,38}|true|false|null)"')
_LAST_QUOTE: Final = re.compile(r'<\|\\"\|>(?=")')
_RESPELLINGS: Final = 64
"""How many texts are tried, each of which costs reading the arguments once."""


def bent_back(value: Any, schema: dict[str, Any], root: dict[str, Any] | None = None, levels: int = _LEVELS) -> Any:
    """The value with texts that only stand for a number, a truth value or null as what they stand for.

    Where the schema allows a text, a text it stays. What is already right is the same object.
    """
    root = schema if root is None else root
    schema = _resolved(schema, root)
    if levels == 0:
        return value
    if isinstance(value, str):
        return _unbent(value, _all_types(schema, root))
    if isinstance(value, list):
        items = as_object(schema.get("items"))
        listed = cast("list[Any]", value)
        return [bent_back(item, items, root, levels - 1) for item in listed] if items else listed
    properties, fields = as_object(schema.get("properties")), as_object(value)
    if not properties or fields is None:
        return value
    return {
        name: bent_back(item, as_object(properties.get(name)) or {}, root, levels - 1) for name, item in fields.items()
    }


def respelled(arguments: str, args: dict[str, Any], schema: dict[str, Any]) -> str:
    """The JSON text of `args`, which were bent back from these arguments: changed nowhere else, where that can be."""
    text = _LAST_QUOTE.sub("", arguments)
    at = 0
    for _ in range(_RESPELLINGS):
        if (match := _STANDS_FOR.search(text, at)) is None:
            break
        at = match.end()
        bare = to_json(_unbent(match[1], _ANY_BUT_TEXT)).decode()
        tried = f"{text[: match.start()]}{bare}{text[at:]}"
        if bent_back(_read(tried), schema) == args:
            text, at = tried, match.start() + len(bare)
    return text if _read(text) == args else to_json(args).decode()


def _read(text: str) -> object:
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        return None


def _types_of(schema: dict[str, Any]) -> tuple[str, ...]:
    """The types that a schema names; none when it names none."""
    named = schema.get("type")
    types = [named] if isinstance(named, str) else cast("list[str]", named) if isinstance(named, list) else []
    return (*types, "null") if types and schema.get("nullable") is True else tuple(types)


def _all_types(schema: dict[str, Any], root: dict[str, Any]) -> frozenset[str]:
    """All types that a value may be of; empty when anything may be."""
    options = [_resolved(as_object(one) or {}, root) for one in schema.get("anyOf") or schema.get("oneOf") or ()]
    types = [_types_of(one) for one in (options or [schema])]
    return frozenset(kind for each in types for kind in each) if all(types) else frozenset()


def _unbent(text: str, types: frozenset[str]) -> Any:
    if not types or "string" in types:
        return text
    if text == "null" and "null" in types:
        return None
    if text in ("true", "false") and "boolean" in types:
        return text == "true"
    if "integer" in types and _INTEGER.fullmatch(text) and len(text) < 20:
        return int(text)
    if types & {"number", "integer"} and _NUMBER.fullmatch(text) and len(text) < 40:
        number = float(text)
        if "number" in types:
            return number
        return int(number) if number.is_integer() and abs(number) < 2**53 else text
    return text


def _resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """The schema that a local reference points to; an empty one where it leads nowhere or round and round."""
    for _ in range(_LEVELS):
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        target: Any = root
        for step in reference.removeprefix("#/").split("/") if reference != "#" else ():
            target = (as_object(target) or {}).get(step.replace("~1", "/").replace("~0", "~"))
        schema = as_object(target) or {}
    return {}
