"""JSON schemas in the form that Gemma's chat template prints. Pure.

Of a field the template prints `description`, `type`, `enum` where the type is string, `properties`, `required`, `items`
and `nullable`, and nothing else (Google's template of 2026-07-09, and its four earlier revisions). So references are
written out, and all else is said in the description, beside the keywords that bind an answer which is constrained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, cast

from cf_gemma.model.json_object import as_object
from cf_gemma.request.merging import distinct, kinds_of, merged, sentences
from cf_gemma.request.notes import as_json, notes, with_notes
from cf_gemma.request.references import UnreadableSchema, name_of, target
from cf_gemma.request.schema import json_type

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cf_gemma.request.merging import Schema

Printed = Literal["as words", "as keywords", "whole"]
"""What the template makes of a schema: a field's words only; the items of an array with their keywords, but with words
again for their fields; or, further down, all of it as it is."""

PARTS: Final = 10_000
"""Schemas within one schema, once it is written out. Our limit: more would fill a good part of the model's window."""

DEPTH: Final = 50
"""How deep they may stand within each other. Our limit."""

_KINDS: Final = ["string", "number", "boolean", "object", "array", "null"]
_IMPLIED: Final = {
    **dict.fromkeys(("properties", "required", "additionalProperties", "patternProperties", "propertyNames"), "object"),
    **dict.fromkeys(("minProperties", "maxProperties"), "object"),
    **dict.fromkeys(("items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"), "array"),
    **dict.fromkeys(("minLength", "maxLength", "pattern", "format"), "string"),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), "number"),
}
"""The type that a keyword is about, for schemas that name none."""
_DROPPED: Final = ("title", "discriminator", "$schema", "$id", "$anchor", "$comment", "$defs", "definitions")
_EXACT: Final = (
    *("not", "if", "then", "else", "contains", "propertyNames", "dependentSchemas", "dependencies", "oneOf"),
    *("unevaluatedProperties", "unevaluatedItems", "additionalItems"),
)
"""Keywords with schemas that must not accept more than they do."""


class _Place(NamedTuple):
    """Where in the tool a schema stands."""

    path: str
    within: frozenset[str] = frozenset({"#"})
    """The references that were written out around it."""
    depth: int = 0

    def at(self, name: str) -> _Place:
        return self._replace(path=f"{self.path}.{name}", depth=self.depth + 1)

    def inside(self, references: frozenset[str]) -> _Place:
        return self._replace(within=references, depth=self.depth + 1)


def readable(parameters: Schema, name: str, *, binding: bool = False, whole: bool = False) -> tuple[Schema, list[str]]:
    """A tool's parameters as the template prints them, and what is to be said of them in the tool's description.

    Args:
        parameters: A JSON schema of an object.
        name: The tool's, by which its `$defs` differ from those of other tools.
        binding: Whether they constrain the answer: then null must be possible where a field can't be left out.
        whole: Whether there must be no `$defs`, because the server puts the schema into a larger one without them
            (sglang#31692). What recurs is left open then.

    Raises:
        UnreadableSchema: It isn't the schema of an object, a reference leads nowhere, or it is too large.
    """
    writer = _Writer(parameters, name, binding=binding, whole=whole)
    root, place = writer.flat(parameters, _Place("parameters"))
    declared = kinds_of(root.get("type")) or _kinds_of_alternatives(root)
    if declared and "object" not in declared:
        raise UnreadableSchema(f"parameters must be the schema of an object, not of type {' or '.join(declared)}")
    written = writer.written({**root, "type": "object"}, place, printed="whole", fields="as words")
    text = str(written.pop("description", ""))
    remarks = notes({"additionalProperties": False, **written})
    if defs := writer.definitions():
        written["$defs"] = defs
    return written, [text, *remarks]


def _kinds_of_alternatives(schema: Schema) -> list[str]:
    """The types of all alternatives; empty when one of them may have any type."""
    alternatives = [as_object(one) or {} for one in schema.get("anyOf") or schema.get("oneOf") or ()]
    kinds = [kinds_of(one.get("type")) for one in alternatives]
    return [kind for each in kinds for kind in each] if all(kinds) else []


class _Writer:
    """Writes out one schema."""

    def __init__(self, root: Schema, name: str, *, binding: bool, whole: bool) -> None:
        self._root, self._name, self._binding, self._whole = root, name, binding, whole
        self._keys: dict[str, str] = {}
        self._parts = 0

    def definitions(self) -> Schema:
        """Recursive definitions, each written out up to its first recursion."""
        defs: Schema = {}
        while waiting := [reference for reference, key in self._keys.items() if key not in defs]:
            for reference in waiting:
                place = _Place(reference, frozenset({reference}))
                defs[self._keys[reference]] = self.schema(target(self._root, reference, reference), place)
        return defs

    def schema(self, schema: object, place: _Place, printed: Printed = "as words", *, leavable: bool = False) -> Schema:
        """The schema, readable. `leavable` says that it is of a field which can be left out in place of null."""
        return self.written(*self.flat(schema, place), printed, leavable=leavable)

    def flat(self, schema: object, place: _Place) -> tuple[Schema, _Place]:
        """The schema with its reference and all of its `allOf` in one. A `$ref` that stays is one that recurs."""
        self._count(place)
        if isinstance(schema, bool):
            return ({} if schema else {"not": {}}), place
        own = {name: value for name, value in _object(schema, place).items() if name not in _DROPPED}
        inner = _list(own.pop("allOf", []), place.at("allOf"))
        within = place.within
        if "$ref" in own and own["$ref"] not in within:
            reference = own.pop("$ref")
            inner = [target(self._root, reference, place.path), *inner]
            within |= {reference}
        if "const" in own:
            own["enum"] = [own.pop("const")]
        if isinstance(own.get("items"), list):  # as drafts before 2020 have it
            own["prefixItems"] = own.pop("items")
        parts = [own]
        for part in inner:
            resolved, deeper = self.flat(part, place.inside(within))
            parts.append(resolved)
            within |= deeper.within
        return (merged(parts) if inner else own), place._replace(within=within)

    def written(
        self,
        flat: Schema,
        place: _Place,
        printed: Printed = "as words",
        *,
        fields: Printed | None = None,
        leavable: bool = False,
    ) -> Schema:
        """A flat schema, readable; its `fields` are printed as it is, or as they are when it is an array's items."""
        flat, place = self._united(flat, place)
        kinds, null = self._kinds(flat)
        written: Schema = {"type": kinds[0] if len(kinds) == 1 else kinds}
        fields = fields or ("whole" if printed == "whole" else "as words")
        for name, value in flat.items():
            if name == "properties":
                written[name] = self._fields(_object(value, place.at(name)), flat.get("required") or [], place, fields)
            elif name not in ("type", "nullable", "$ref"):
                written[name] = self._keyword(name, value, place.at(name), printed)
        if "$ref" in flat:
            self._refer(written, flat["$ref"])
        if null:
            _allow_null(written, leavable=leavable)
        if kinds == ["object"] and printed == "as words":
            written.setdefault("properties", {})  # without any, the template takes the other keywords for fields
        written = {name: value for name, value in written.items() if value is not None}
        return written if printed == "whole" else with_notes(written, names_only=printed == "as keywords")

    def _keyword(self, name: str, value: Any, place: _Place, printed: Printed) -> Any:
        """The value of one keyword; None drops it."""
        match name:
            case "items" if not isinstance(value, bool):
                return self.schema(value, place, "as keywords" if printed == "as words" else "whole")
            case "patternProperties":
                return {key: self.schema(of, place.at(key), "whole") for key, of in _object(value, place).items()}
            case "prefixItems" | "allOf":
                return [self.schema(one, place, "whole") for one in _list(value, place)]
            case "additionalProperties":
                is_open = value is True or value == {}
                return None if is_open else value and self.schema(value, place, "whole")
            case "required" | "enum":
                return _list(value, place) or None
            case _:
                return self._exact(value, place) if name in _EXACT else value

    def _fields(self, fields: Schema, required: list[str], place: _Place, printed: Printed) -> Schema:
        return {
            name: self.schema(field, place.at(name), printed, leavable=not self._binding or name not in required)
            for name, field in fields.items()
            if field is not False
        }

    def _united(self, flat: Schema, place: _Place) -> tuple[Schema, _Place]:
        """The schema with null as `nullable`, and its other alternatives written, where there is more than one."""
        union = next((name for name in ("anyOf", "oneOf") if name in flat), None)
        if union is None:
            return flat, place
        rest = {name: value for name, value in flat.items() if name != union}
        every = list(self._alternatives(flat[union], place.at(union)))
        others = [alternative for alternative in every if not _is_null(alternative[0])]
        if len(others) < len(every):
            rest["nullable"] = True
        if not others:
            return {**rest, "type": "null"}, place
        if len(others) == 1:
            (only, at) = others[0]
            return self._united(merged([rest, only]), place.inside(place.within | at.within))
        if "enum" not in rest and all(_is_of_texts(alternative) for alternative, _ in others):
            return merged([rest, _texts([alternative for alternative, _ in others])]), place
        return {**rest, "anyOf": distinct([self.written(flat, at, "whole") for flat, at in others])}, place

    def _alternatives(self, alternatives: object, place: _Place) -> Iterator[tuple[Schema, _Place]]:
        """The alternatives, with those nested in others lifted to the top."""
        for alternative in _list(alternatives, place):
            flat, at = self.flat(alternative, place)
            if flat.keys() == {"anyOf"}:
                yield from self._alternatives(flat["anyOf"], at.inside(at.within))
            else:
                yield flat, at

    def _kinds(self, flat: Schema) -> tuple[list[str], bool]:
        """The types of a flat schema without null, and whether null is one of them."""
        kinds = kinds_of(flat.get("type")) or self._implied(flat)
        null = flat.get("nullable") is True or "null" in kinds
        others = [kind for kind in kinds if kind != "null"]
        return (others, null) if others and len(kinds) < len(_KINDS) else (kinds, False)

    def _implied(self, flat: Schema) -> list[str]:
        """The types that a schema without `type` is about."""
        if "$ref" in flat:
            resolved = as_object(target(self._root, flat["$ref"], "")) or {}
            rest = {name: value for name, value in resolved.items() if name not in ("$ref", "anyOf")}
            kinds = kinds_of(resolved.get("type")) or self._implied(rest)
        elif "enum" in flat:
            kinds = [json_type(value) for value in flat["enum"]]
        elif "anyOf" in flat:
            kinds = [kind for alternative in flat["anyOf"] for kind in kinds_of(alternative.get("type"))]
        else:
            kinds = [_IMPLIED[name] for name in flat if name in _IMPLIED][:1]
        known = list(dict.fromkeys(kinds)) or _KINDS
        return [kind for kind in known if kind != "integer" or "number" not in known]

    def _refer(self, written: Schema, reference: str) -> None:
        again = f"{name_of(reference)} again, with the same fields as around it"
        written["description"] = sentences(str(written.get("description") or ""), again)
        if not self._whole:
            key = self._keys.setdefault(reference, f"{self._name}_{name_of(reference)}_{len(self._keys)}")
            written["$ref"] = f"#/$defs/{key}"

    def _exact(self, value: Any, place: _Place) -> Any:
        """A keyword's value with its references written out, and nothing else changed."""
        self._count(place)
        if isinstance(value, list):
            return [self._exact(one, place.inside(place.within)) for one in cast("list[Any]", value)]
        fields = as_object(value)
        if fields is None:
            return value
        rest = {name: self._exact(one, place.at(name)) for name, one in fields.items() if name != "$ref"}
        reference = fields.get("$ref")
        if not isinstance(reference, str):
            return rest if reference is None else {**rest, "$ref": self._exact(reference, place.at("$ref"))}
        if reference in place.within:
            raise UnreadableSchema(f"{place.path}: {reference} recurs where it can't be written out")
        resolved = self._exact(target(self._root, reference, place.path), place.inside(place.within | {reference}))
        return {"allOf": [resolved, rest]} if rest else resolved

    def _count(self, place: _Place) -> None:
        self._parts += 1
        if self._parts > PARTS or place.depth > DEPTH:
            limit = f"{PARTS:,} schemas" if self._parts > PARTS else f"{DEPTH} levels"
            raise UnreadableSchema(f"{place.path}: with its references written out, the schema has over {limit}")


def _allow_null(written: Schema, *, leavable: bool) -> None:
    """Allows null: the template's `nullable` where the field may be left out instead, else null as an alternative."""
    if "enum" in written:
        written["enum"] = [value for value in written["enum"] if value is not None]
    if leavable:
        written["nullable"] = True
        return
    written["type"] = [*kinds_of(written["type"]), "null"]
    if "enum" in written:
        written["enum"] = [*written["enum"], None]
    if "anyOf" in written:
        written["anyOf"] = [*written["anyOf"], {"type": "null"}]
    if "$ref" in written:
        written["anyOf"] = [{"$ref": written.pop("$ref")}, {"type": "null"}]


def _is_null(flat: Schema) -> bool:
    return flat.get("type") == "null" or flat.get("enum") == [None]


def _is_of_texts(flat: Schema) -> bool:
    texts = all(isinstance(value, str) for value in flat.get("enum") or [None])
    return texts and flat.get("type", "string") == "string" and flat.keys() <= {"type", "enum", "description"}


def _texts(alternatives: list[Schema]) -> Schema:
    """One choice among all the texts of several, each with its description."""
    described = [
        f"{', '.join(map(as_json, one['enum']))}: {one['description']}"
        for one in alternatives
        if one.get("description")
    ]
    enum = distinct([text for alternative in alternatives for text in alternative["enum"]])
    return {"type": "string", "enum": enum, "description": sentences(*described)}


def _object(value: object, place: _Place) -> Schema:
    schema = as_object(value)
    if schema is None:
        raise UnreadableSchema(f"{place.path} must be an object, not {json_type(value)}")
    return schema


def _list(value: object, place: _Place) -> list[Any]:
    if not isinstance(value, list):
        raise UnreadableSchema(f"{place.path} must be an array, not {json_type(value)}")
    return cast("list[Any]", value)
