"""References within one JSON schema. Pure."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import unquote


class UnreadableSchema(ValueError):
    """A schema that can't be written out, with the place in it and the reason."""


def target(root: Any, reference: object, place: str) -> Any:
    """What a `$ref` such as `#/$defs/Node` points to. Raises UnreadableSchema where there is nothing."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        raise UnreadableSchema(f"{place}: $ref must point into the schema itself, as #/$defs/… does: {reference!r}")
    node = root
    for step in reference.split("/")[1:]:
        name = unquote(step).replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict) and name in node:
            node = cast("dict[str, Any]", node)[name]
        elif isinstance(node, list) and name.isdecimal() and int(name) < len(cast("list[Any]", node)):
            node = cast("list[Any]", node)[int(name)]
        else:
            raise UnreadableSchema(f"{place}: $ref points to {reference}, where there is nothing")
    return node


def name_of(reference: str) -> str:
    """The last part of a reference, as a name."""
    last = unquote(reference.rpartition("/")[2])
    return "".join(letter if letter.isalnum() or letter in "_-" else "_" for letter in last.strip("#")) or "whole"
