"""A JSON Schema from a file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

from cf_gemma.model.json_object import as_object

if TYPE_CHECKING:
    from pathlib import Path


def read_schema(path: Path | None) -> dict[str, Any] | None:
    """The JSON object in a file; None for no file. Raises typer.BadParameter where there is none."""
    if path is None:
        return None
    try:
        schema = as_object(json.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{path} can't be read as JSON: {error}") from None
    if schema is None:
        raise typer.BadParameter(f"{path} is not a JSON Schema: it must be an object")
    return schema
