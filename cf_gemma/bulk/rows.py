"""The input: rows, each a request, or a complaint that says what is wrong with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from cf_gemma.bulk.errors import BulkError, of_row
from cf_gemma.bulk.forms import form_of, options_of
from cf_gemma.bulk.schema import JsonFormat
from cf_gemma.errors import GemmaError, InvalidRequest
from cf_gemma.model.json_object import as_object
from cf_gemma.request.images import image_file, image_part
from cf_gemma.request.parameters import merged

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from cf_gemma.bulk.template import Template


@dataclass(frozen=True, slots=True)
class Row:
    """A row that can be sent."""

    line: int
    """From 1."""
    id: str | int
    """Its own, else the line."""
    messages: list[dict[str, Any]]
    options: dict[str, Any]
    format: JsonFormat | None = None
    """What the answer must be; None for any text."""

    @property
    def key(self) -> str:
        """What tells it from all other rows, in the input and in the output."""
        return json.dumps(self.id)


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that can't be sent."""

    line: int
    error: GemmaError
    id: str | int | None = None
    """None when it couldn't be read, or is another row's."""

    @property
    def key(self) -> str:
        """What tells it from all other rows: the line, when there is no id."""
        return json.dumps(self.line if self.id is None else self.id)


class BadLines(BulkError):
    """A strict job has lines that can't be sent: `rows` names them."""

    def __init__(self, rows: Sequence[BadRow]) -> None:
        super().__init__(f"{len(rows):,} bad lines, nothing was sent; line {rows[0].line}: {rows[0].error.message}")
        self.rows = rows


class Rows:
    """The rows of a file.

    Args:
        path: The file.
        wanted, system, template: See `Reader`.
    """

    def __init__(
        self,
        path: Path,
        *,
        wanted: JsonFormat | None = None,
        system: str | None = None,
        template: Template | None = None,
    ) -> None:
        self._path, self._form = path, form_of(path)
        self._reader = Reader(
            path.parent, text_cells=self._form.text_cells, wanted=wanted, system=system, template=template
        )

    def __len__(self) -> int:
        """How many there are, for which the whole file may be read."""
        return self._form.count(self._path)

    def __iter__(self) -> Iterator[Row | BadRow]:
        """The rows, one after the other."""
        for number, fields in self._form.read(self._path):
            yield BadRow(number, fields) if isinstance(fields, GemmaError) else self._reader.row(number, fields)


class Reader:
    """Makes rows of their fields.

    Args:
        folder: From where the paths of images are.
        text_cells: Whether all values are texts, so that those of options have to be read as JSON.
        wanted: The format of the answers to rows that ask for none of their own.
        system: A system message in front of every row's.
        template: Of the prompts; the fields go into it, and none but `id` has a meaning of its own.
    """

    def __init__(
        self,
        folder: Path,
        *,
        text_cells: bool = False,
        wanted: JsonFormat | None = None,
        system: str | None = None,
        template: Template | None = None,
    ) -> None:
        self._folder, self._text_cells = folder, text_cells
        self._wanted, self._template = wanted, template
        self._front = [{"role": "system", "content": system}] if system else []

    def row(self, number: int, fields: dict[str, Any]) -> Row | BadRow:
        """The row of these fields, of which `id` is taken out."""
        row_id = None
        try:
            row_id = _id(fields)
            return self._read(number, number if row_id is None else row_id, self._request(fields))
        except Exception as error:  # noqa: BLE001 - a row that can't be read is a bad one, whatever it is
            return BadRow(number, of_row(error), row_id)

    def _request(self, fields: dict[str, Any]) -> dict[str, Any]:
        """What a row asks for. With a template, its columns are there for that alone."""
        if self._template is not None:
            return {"prompt": self._template.fill(fields)}
        if self._text_cells:
            return options_of(fields)
        return {name: value for name, value in fields.items() if value is not None}

    def _read(self, number: int, row_id: str | int, fields: dict[str, Any]) -> Row:
        row_format = JsonFormat() if _wants_json(fields) else self._wanted
        schema, images = fields.pop("schema", None), fields.pop("image", None)
        messages = _messages(fields.pop("prompt", None), fields.pop("messages", None))
        if images is not None:
            messages = _with_images(messages, self._images(images))
        if schema is not None:
            row_format = _json_format(json.dumps(schema))
            fields |= row_format.options
        if (merged(fields).get("n") or 1) > 1:
            raise InvalidRequest("n must be 1: a row has one answer")
        return Row(number, row_id, [*self._front, *messages], fields, row_format)

    def _images(self, value: object) -> list[dict[str, Any]]:
        names = cast("list[object]", value) if isinstance(value, list) else [value]
        parts: list[dict[str, Any]] = []
        for name in names:
            if not isinstance(name, str):
                raise InvalidRequest("image must be the path of a file, or a list of paths")
            if name.startswith(("http://", "https://")):
                raise InvalidRequest(f"image {name} is a URL, which the service doesn't take: give the path of a file")
            parts.append(image_part(image_file(self._folder / name, name)))
        return parts


@lru_cache(64)
def _json_format(schema: str) -> JsonFormat:
    return JsonFormat(json.loads(schema))


def _wants_json(fields: dict[str, Any]) -> bool:
    """Whether a row has a `response_format` of its own for JSON."""
    kind = (as_object(fields.get("response_format")) or {"type": "text"}).get("type")
    return kind != "text"


def _id(fields: dict[str, Any]) -> str | int | None:
    row_id = fields.get("id") or None if isinstance(fields.get("id"), str) else fields.get("id")
    fields.pop("id", None)
    if isinstance(row_id, bool) or not isinstance(row_id, str | int | None):
        raise InvalidRequest("id must be a text or a whole number")
    return row_id


def _messages(prompt: object, messages: object) -> list[dict[str, Any]]:
    if (prompt is None) == (messages is None):
        raise InvalidRequest("a row needs a prompt or messages, and not both")
    if prompt is not None:
        if not isinstance(prompt, str) or not prompt:
            raise InvalidRequest("prompt must be a text, and not empty")
        return [{"role": "user", "content": prompt}]
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("messages must be a list, and not empty")
    return cast("list[dict[str, Any]]", messages)


def _with_images(messages: list[dict[str, Any]], parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with the images in front of the last one's text."""
    last = as_object(messages[-1]) or {}
    content = last.get("content")
    if last.get("role") != "user" or not isinstance(content, str):
        raise InvalidRequest("image goes with a prompt, or with messages whose last is a user's text")
    return [*messages[:-1], {**last, "content": [*parts, {"type": "text", "text": content}]}]
