"""A JSON Schema from a file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

from cf_gemma.jsonobject import as_object

if TYPE_CHECKING:
    from pathlib import Path


def read_schema(path: Path | None) -> dict[str, Any] | None:
    """The schema in a file; None for no file. Raises typer.BadParameter for what isn't one."""
    if path is None:
        return None
    from cf_gemma.bulk.schema import problems

    try:
        schema = as_object(json.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{path} can't be read as JSON: {error}") from None
    if schema is None:
        raise typer.BadParameter(f"{path} is not a JSON Schema: it must be an object")
    if problem := next(problems(schema), None):
        raise typer.BadParameter(f"{path} is not a JSON Schema: {problem}")
    return schema
