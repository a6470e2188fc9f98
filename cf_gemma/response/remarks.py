"""What is kept of an answer besides its text and its calls: log probabilities, and fields yet unknown. Pure."""

from __future__ import annotations

from functools import partial
from itertools import chain, takewhile
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_json

from cf_gemma.errors import ResponseTooLarge
from cf_gemma.model.json_object import weight

if TYPE_CHECKING:
    from collections.abc import Callable

KEPT: Final = 8 * 1024 * 1024
"""What all of it may weigh, for each choice."""

KEPT_LOGPROBS: Final = 128 * 1024 * 1024
"""The same where log probabilities were asked for: 16,384 tokens with 20 alternatives each weigh 100 MB."""


class Allowance:
    """What may still be kept of one answer."""

    def __init__(self, left: int) -> None:
        self._left = left

    def spend(self, value: Any) -> None:
        """Takes a value into account. Raises ResponseTooLarge once it is too much."""
        self._left -= weight(to_json(value))
        if self._left < 0:
            raise ResponseTooLarge("the answer has more in fields yet unknown, or log probabilities, than is kept")


class Remarks:
    """Fields that come in pieces: lists and texts of one name are joined at the end, of all else the last counts."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._pieces: dict[str, list[Any]] = {}

    def add(self, fields: dict[str, Any]) -> None:
        """Takes pieces; a null says nothing."""
        for name, value in fields.items():
            if value is not None:
                self._allowance.spend(value)
                self._pieces.setdefault(name, []).append(value)

    def set(self, fields: dict[str, Any]) -> None:
        """Takes whole values. One that is repeated with every chunk counts once."""
        for name, value in fields.items():
            if self._pieces.get(name) != [value]:
                self._allowance.spend({name: value})
                self._pieces[name] = [value]

    def fields(self) -> dict[str, Any]:
        """All of it."""
        return {name: _joined(pieces) for name, pieces in self._pieces.items()}


def _joined(pieces: list[Any]) -> Any:
    for kind, join in _JOINED.items():
        if isinstance(pieces[-1], kind):
            return join([*takewhile(partial(_is_of, kind), reversed(pieces))][::-1])
    return pieces[-1]


def _is_of(kind: type, piece: Any) -> bool:
    return isinstance(piece, kind)


_JOINED: Final[dict[type, Callable[[list[Any]], Any]]] = {
    str: "".join,
    list: lambda lists: list(chain.from_iterable(lists)),
}
