"""Several JSON schemas that must all be met, as one that accepts at least what they all accept. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Schema = dict[str, Any]

_GROUPS: Final = (
    frozenset({"if", "then", "else"}),
    frozenset({"contains", "minContains", "maxContains"}),
    frozenset({"prefixItems", "items", "additionalItems"}),
)
"""Keywords that only mean something together, so that they aren't taken from two schemas."""


def merged(schemas: Sequence[Schema]) -> Schema:
    """One schema for all of these. What can't be put together stays apart, in its `allOf`."""
    if len(schemas) == 1:
        return schemas[0]
    values: dict[str, list[Any]] = {}
    apart: list[Schema] = []
    for schema in schemas:
        second = [group & schema.keys() for group in _GROUPS if not group.isdisjoint(values)]
        apart += [{name: schema[name] for name in group} for group in second if group]
        for name, value in schema.items():
            if not any(name in group for group in second):
                values.setdefault(name, []).append(value)
    whole: Schema = {}
    for name, several in values.items():
        whole[name], *others = [_RULES[name](several)] if name in _RULES and len(several) > 1 else distinct(several)
        apart += [{name: other} for other in others]
    if apart:
        whole["allOf"] = [*whole.get("allOf", []), *apart]
    return whole


def distinct(values: Sequence[Any]) -> list[Any]:
    """The values, each once, as JSON tells them apart: 1, true and "1" are three."""
    return list({to_json(value): value for value in reversed(values)}.values())[::-1]


def sentences(*texts: str) -> str:
    """Texts joined to sentences, each with a full stop, none of them twice."""
    each = dict.fromkeys(text.strip() for text in texts if text.strip())
    ended = [text if text[-1] in ".!?:;" else f"{text}." for text in each]
    return " ".join(ended) if len(each) > 1 else "".join(each)


def kinds_of(types: object) -> list[str]:
    """A `type` as a list of names."""
    return [types] if isinstance(types, str) else [str(kind) for kind in types] if isinstance(types, list) else []  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - a list's items are anything


def _each(tables: Sequence[Mapping[str, Any]]) -> Schema:
    """Tables of schemas by name; under a name that several have, all are to be met."""
    by_name: dict[str, list[Any]] = {}
    for table in tables:
        for name, schema in table.items():
            by_name.setdefault(name, []).append(schema)
    return {name: schemas[0] if len(schemas) == 1 else {"allOf": schemas} for name, schemas in by_name.items()}


def _common_types(types: Sequence[object]) -> object:
    common = kinds_of(types[0])
    for others in map(kinds_of, types[1:]):
        both = [kind for kind in common if kind in others or (kind == "integer" and "number" in others)]
        common = both + [kind for kind in others if kind == "integer" and "number" in common and kind not in both]
    return common[0] if len(common) == 1 else common


def _common_values(enums: Sequence[list[Any]]) -> list[Any]:
    common = {to_json(value): value for value in enums[0]}
    for enum in enums[1:]:
        others = {to_json(value) for value in enum}
        common = {key: value for key, value in common.items() if key in others}
    return list(common.values())


def _other_fields(rules: Sequence[Any]) -> Any:
    strict = [rule for rule in distinct(rules) if rule not in (True, {})]
    if False in strict or len(strict) < 2:
        return False if False in strict else strict[0] if strict else True
    return {"allOf": strict}


def _all_names(names: Sequence[list[str]]) -> list[str]:
    return list(dict.fromkeys(name for some in names for name in some))


def _first(values: Sequence[Any]) -> Any:
    return values[0]


def _texts(values: Sequence[Any]) -> str:
    return sentences(*(value for value in values if isinstance(value, str)))


_RULES: Final[Mapping[str, Callable[[Sequence[Any]], Any]]] = {
    "properties": _each,
    "patternProperties": _each,
    "additionalProperties": _other_fields,
    "required": _all_names,
    "type": _common_types,
    "enum": _common_values,
    "description": _texts,
    "nullable": any,
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), max),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), min),
    **dict.fromkeys(("title", "default", "examples", "deprecated"), _first),
}
