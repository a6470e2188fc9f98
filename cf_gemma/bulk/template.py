"""A prompt with the columns of a row in it: "Translate into {language}: {text}". Pure."""

from __future__ import annotations

from string import Formatter
from typing import TYPE_CHECKING, Any

from cf_gemma.bulk.errors import BulkError
from cf_gemma.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping


class Template:
    """A text with `{column}` where a row's value goes; `{{` and `}}` stand for braces.

    Raises BulkError for a text without a column, or with anything but a name in its braces.
    """

    def __init__(self, text: str) -> None:
        try:
            self._parts = list(Formatter().parse(text))
        except ValueError as error:
            raise BulkError(f"the template can't be read: {error}; write {{{{ and }}}} for braces") from None
        names = [name for _, name, _, _ in self._parts if name is not None]
        if not names:
            raise BulkError("the template has no {column}: every row would be the same")
        for _, name, spec, conversion in self._parts:
            if name is not None and (not name or spec or conversion or set(name) & set(".[]")):
                raise BulkError(f"the template may have nothing but the name of a column in braces, not {{{name}}}")

    def fill(self, row: Mapping[str, Any]) -> str:
        """The prompt of a row. A column that is empty leaves nothing; raises InvalidRequest where it isn't there."""
        return "".join(f"{text}{'' if name is None else self._value(row, name)}" for text, name, _, _ in self._parts)

    @staticmethod
    def _value(row: Mapping[str, Any], name: str) -> str:
        if name not in row:
            raise InvalidRequest(f"the template needs a column {name}; there are {', '.join(row) or 'none'}")
        return "" if row[name] is None else str(row[name])
