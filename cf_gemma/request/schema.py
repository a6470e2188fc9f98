"""What JSON should look like, and what is wrong when it doesn't, in the words of the service's validator. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Shape:
    """The part of JSON Schema that the published request needs. Each rule binds the values of its own type only."""

    types: tuple[str, ...]
    enum: tuple[str, ...] = ()
    """The strings that may be."""
    low: float | None = None
    high: float | None = None
    """The range of a number."""
    least: int = 0
    most: int | None = None
    """The length of a string or an array."""
    items: Shape | None = None
    fields: Mapping[str, Shape] = field(default_factory=dict[str, "Shape"])
    """Those that are looked at; an object may have others."""
    required: tuple[str, ...] = ()
    tag: str = ""
    """The field whose value says which of `kinds` an object is."""
    kinds: Mapping[str, Shape] = field(default_factory=dict[str, "Shape"])

    def problems(self, value: Any, path: str = "") -> Iterator[str]:
        """What is wrong with a value, and where."""
        kind = json_type(value)
        if kind == "unknown":  # no JSON yet: it may become anything
            return
        if kind not in self.types and not (kind == "integer" and "number" in self.types):
            yield f"Type mismatch of '{path or '/'}', '{','.join(self.types)}' not in '{kind}'"
        elif isinstance(value, str):
            yield from self._of_string(value, path)
        elif isinstance(value, list):
            yield from self._of_array(cast("list[Any]", value), path)
        elif isinstance(value, dict):
            yield from self._of_object(cast("dict[str, Any]", value), path)
        elif kind in ("integer", "number"):
            yield from self._of_number(value, path)

    def to_json_schema(self) -> dict[str, Any]:
        """The same as a JSON Schema."""
        schemas = [self._of_type(kind) for kind in self.types]
        return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}

    def _of_type(self, kind: str) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": kind}
        match kind:
            case "string":
                rules: dict[str, Any] = {
                    "enum": list(self.enum) or None,
                    "minLength": self.least if "array" not in self.types and self.least else None,
                }
            case "integer" | "number":
                rules = {"minimum": self.low, "maximum": self.high}
            case "array":
                items = self.items.to_json_schema() if self.items else None
                rules = {"items": items, "minItems": self.least or None, "maxItems": self.most}
            case "object":
                rules = self._rules_of_object()
            case _:
                rules = {}
        return schema | {name: rule for name, rule in rules.items() if rule is not None}

    def _rules_of_object(self) -> dict[str, Any]:
        fields = {name: shape.to_json_schema() for name, shape in self.fields.items()}
        rules: dict[str, Any] = {"properties": fields or None, "required": list(self.required) or None}
        if self.tag:
            rules["oneOf"] = [_tagged(shape.to_json_schema(), self.tag, kind) for kind, shape in self.kinds.items()]
        return rules

    def _of_string(self, value: str, path: str) -> Iterator[str]:
        if self.enum and value not in self.enum:
            yield f"enum {value} not in {','.join(self.enum)} at '{path}'"
        if len(value) < self.least and "array" not in self.types:
            yield f"Length of '{path}' must be >= {self.least} not met"

    def _of_number(self, value: float, path: str) -> Iterator[str]:
        if self.low is not None and value < self.low:
            yield f"'{path}' must be >= {self.low:g}"
        if self.high is not None and value > self.high:
            yield f"'{path}' must be <= {self.high:g}"

    def _of_array(self, value: list[Any], path: str) -> Iterator[str]:
        if len(value) < self.least:
            yield f"Length of '{path}' must be >= {self.least} not met"
        if self.most is not None and len(value) > self.most:
            yield f"Length of '{path}' must be <= {self.most}"
        if self.items is not None:
            for place, item in enumerate(value):
                yield from self.items.problems(item, f"{path}/{place}")

    def _of_object(self, value: dict[str, Any], path: str) -> Iterator[str]:
        if self.tag:
            kind = str(value.get(self.tag))
            if kind in self.kinds:
                yield from self.kinds[kind].problems(value, path)
            else:
                yield f"enum {kind} not in {','.join(self.kinds)} at '{path}/{self.tag}'"
        if any(name not in value for name in self.required):
            yield f"required properties at '{path or '/'}' are '{','.join(self.required)}'"
        for name, shape in self.fields.items():
            if name in value:
                yield from shape.problems(value[name], f"{path}/{name}")


def _tagged(schema: dict[str, Any], tag: str, kind: str) -> dict[str, Any]:
    return {
        **schema,
        "properties": {tag: {"const": kind}, **schema.get("properties", {})},
        "required": sorted({tag, *schema.get("required", [])}),
    }


def json_type(value: Any) -> str:
    """JSON Schema's name for the type of a decoded value; `unknown` for what JSON hasn't."""
    return next((name for kind, name in _TYPES.items() if isinstance(value, kind)), "unknown")


def string(least: int = 0) -> Shape:
    """A string of at least that length."""
    return Shape(("string",), least=least)


def one_of(*values: str) -> Shape:
    """One of some strings."""
    return Shape(("string",), enum=values)


def number(low: float, high: float) -> Shape:
    """A number in a range."""
    return Shape(("number",), low=low, high=high)


def integer(low: int | None = None, high: int | None = None) -> Shape:
    """A whole number in a range."""
    return Shape(("integer",), low=low, high=high)


def array(items: Shape, least: int = 0, most: int | None = None) -> Shape:
    """An array of one sort of item."""
    return Shape(("array",), items=items, least=least, most=most)


def record(required: str = "", /, **fields: Shape) -> Shape:
    """An object; `required` names, between spaces, the fields that must be there."""
    return Shape(("object",), fields=fields, required=tuple(required.split()))


def tagged(tag: str, /, **kinds: Shape) -> Shape:
    """An object of the kind that one of its fields names."""
    return Shape(("object",), tag=tag, kinds=kinds)


def nullable(shape: Shape) -> Shape:
    """The same, or null."""
    return replace(shape, types=(*shape.types, "null"))


BOOLEAN: Final = Shape(("boolean",))
OBJECT: Final = Shape(("object",))
_TYPES: Final = MappingProxyType(
    {
        str: "string",
        bool: "boolean",  # before int, which it is one of
        int: "integer",
        float: "number",
        list: "array",
        dict: "object",
        type(None): "null",
    }
)
