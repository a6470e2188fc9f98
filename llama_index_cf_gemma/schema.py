"""JSON schemas as constrained decoding wants them. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

from cf_gemma.structured import response_format

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel


def answer_format(output_cls: type[BaseModel]) -> dict[str, Any]:
    """The `response_format` that holds an answer to the model's JSON schema."""
    schema = output_cls.model_json_schema()
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", schema.get("title", output_cls.__name__))[:64]
    return response_format(strict_schema(schema), name, strict=True)


def strict_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A copy in which every object with properties is closed and requires all of them.

    Left optional, a field is what the model leaves out; with all required the grammar is small and an answer is whole.
    """
    return cast("dict[str, Any]", _strict(schema))


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(item) for item in cast("list[Any]", node)]
    if not isinstance(node, dict):
        return node
    copy = {key: _strict(value) for key, value in cast("dict[str, Any]", node).items()}
    properties = copy.get("properties")
    if copy.get("type") == "object" and isinstance(properties, dict):
        fields = cast("dict[str, Any]", properties)
        copy["properties"] = {name: _without_default(field) for name, field in fields.items()}
        copy["required"] = list(fields)
        copy.setdefault("additionalProperties", False)
    return copy


def _without_default(field: Any) -> Any:
    if not isinstance(field, dict):
        return field
    return {key: value for key, value in cast("dict[str, Any]", field).items() if key != "default"}
