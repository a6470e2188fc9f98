"""Whether a JSON value fits a JSON schema, as far as a grammar would hold it to one. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic_core import SchemaError, SchemaValidator, to_json

from cf_gemma.request.merging import kinds_of
from cf_gemma.request.references import UnreadableSchema, target
from cf_gemma.request.schema import json_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

STEPS: Final = 100_000
"""Comparisons that are made at most. Our limit: alternatives that refer to each other would take forever."""


def fits(value: Any, schema: Any) -> bool:
    """Whether the value fits.

    Formats and `not`, `if`, `dependent…` and `unevaluated…` aren't looked at, nor are patterns that look ahead or back.
    """
    try:
        return _Fitting(schema).of(value, schema)
    except (UnreadableSchema, re.error, TypeError, RecursionError):  # not a schema that one could hold it to
        return False


class _Fitting:
    def __init__(self, root: Any) -> None:
        self._root, self._left = root, STEPS

    def of(self, value: Any, schema: Any) -> bool:
        """Whether the value fits a part of the schema."""
        self._left -= 1
        if isinstance(schema, bool) or self._left < 0:
            return schema is True
        return all(self._each(value, schema))

    def _each(self, value: Any, schema: dict[str, Any]) -> Iterator[bool]:
        if kinds := kinds_of(schema.get("type")):
            yield _is_of(value, kinds)
        if "enum" in schema or "const" in schema:
            yield to_json(value) in [to_json(one) for one in schema.get("enum", [schema.get("const")])]
        yield all(holds(value, schema[name]) for name, holds in _LIMITS.items() if name in schema)
        if "$ref" in schema:
            yield self.of(value, target(self._root, schema["$ref"], "$ref"))
        yield all(self.of(value, one) for one in schema.get("allOf", ()))
        yield "anyOf" not in schema or any(self.of(value, one) for one in schema["anyOf"])
        yield "oneOf" not in schema or sum(self.of(value, one) for one in schema["oneOf"]) == 1
        if isinstance(value, dict):
            yield from self._fields(cast("dict[str, Any]", value), schema)
        if isinstance(value, list):
            yield from self._items(cast("list[Any]", value), schema)

    def _fields(self, value: dict[str, Any], schema: dict[str, Any]) -> Iterator[bool]:
        properties, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        yield all(name in value for name in schema.get("required", ()))
        for name, one in value.items():
            matching = [of for pattern, of in patterns.items() if _matches(name, pattern)]
            rules = [properties[name], *matching] if name in properties else matching
            yield all(self.of(one, rule) for rule in rules or [schema.get("additionalProperties", True)])

    def _items(self, value: list[Any], schema: dict[str, Any]) -> Iterator[bool]:
        first = schema.get("prefixItems", [])
        yield all(self.of(one, rule) for one, rule in zip(value, first, strict=False))
        yield all(self.of(one, schema.get("items", True)) for one in value[len(first) :])


def _is_of(value: Any, kinds: list[str]) -> bool:
    kind = json_type(value)
    whole = kind == "number" and float(value).is_integer()
    return kind in kinds or (kind == "integer" and "number" in kinds) or (whole and "integer" in kinds)


def _matches(text: str, pattern: str) -> bool:
    """Whether the pattern is found in the text, in time that grows with both and no faster: the text is foreign."""
    validator = _validator(pattern)
    return validator is None or validator.isinstance_python(text)


@lru_cache(256)
def _validator(pattern: str) -> SchemaValidator | None:
    """None for a pattern that only a backtracking engine could search for; re.error for what is no pattern."""
    try:
        return SchemaValidator({"type": "str", "pattern": pattern, "regex_engine": "rust-regex"})
    except SchemaError:
        re.compile(pattern)
        return None


def _number(holds: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, limit: json_type(value) not in ("integer", "number") or holds(value, limit)


def _length(kind: type, holds: Callable[[int, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, limit: not isinstance(value, kind) or holds(len(value), limit)


def _at_least(value: Any, limit: Any) -> bool:
    return value >= limit


def _at_most(value: Any, limit: Any) -> bool:
    return value <= limit


_LIMITS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "minimum": _number(_at_least),
    "maximum": _number(_at_most),
    "exclusiveMinimum": _number(lambda value, limit: value > limit),
    "exclusiveMaximum": _number(lambda value, limit: value < limit),
    "minLength": _length(str, _at_least),
    "maxLength": _length(str, _at_most),
    "minItems": _length(list, _at_least),
    "maxItems": _length(list, _at_most),
    "pattern": lambda value, pattern: not isinstance(value, str) or _matches(value, pattern),
}
