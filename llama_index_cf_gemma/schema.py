"""JSON schemas as constrained decoding wants them. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cf_gemma.structured import response_format, strict_schema

if TYPE_CHECKING:
    from pydantic import BaseModel


def answer_format(output_cls: type[BaseModel]) -> dict[str, Any]:
    """The `response_format` that holds an answer to the model's JSON schema."""
    schema = output_cls.model_json_schema()
    name = re.sub(r"[^a-zA-Z0-9_-]", "_", schema.get("title", output_cls.__name__))[:64]
    return response_format(strict_schema(schema), name, strict=True)
