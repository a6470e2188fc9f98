"""A call's arguments while they come, so that the sum of the pieces is what the call has in the end. Pure.

What a server's parser may have bent is held back until the answer ends: a piece that went out can't be taken back.
"""

from __future__ import annotations

import re
from typing import Any, Final

from pydantic_core import from_json

from cf_gemma.model.completion import InvalidToolCall, ToolCall
from cf_gemma.model.json_object import as_object
from cf_gemma.response.bending import bent_back
from cf_gemma.response.validity import means_none, whole

_LOOKUPS: Final = 16
"""How many texts of one call are looked up in its schema, for each of which all that has come is read."""


def _begun(word: str) -> str:
    """A pattern of a word with a quotation mark behind it, or of any beginning of that at the end of the text."""
    pattern = '"'
    for letter in reversed(word):
        pattern = f"{letter}(?:\\Z|{pattern})"
    return pattern


_NO_OBJECT: Final = r"\A\s*n"
_QUOTE: Final = r'<(?:\Z|\|(?:\Z|\\(?:\Z|")))'
_NUMBER: Final = r'-?(?:\Z|\d[-+.\deE]{0,38}(?:\Z|"))'
_SUSPECT: Final = re.compile(
    rf'{_NO_OBJECT}|{_QUOTE}|(?<=[:\[,\s])"(?:\Z|{_NUMBER}|{_begun("true")}|{_begun("false")}|{_begun("null")})'
)
"""Null, the model's quote token, or a text that may stand for something else; at the end, what may become one."""


class ShownArguments:
    """What to hand out of one call's arguments as they come."""

    def __init__(self, schema: dict[str, Any] | None) -> None:
        """`schema`: of the tool's parameters, if that is known."""
        self._schema = schema
        self._parts: list[str] = []
        self._shown = 0
        """Characters that were handed out."""
        self._before: str = ""
        """The last of them."""
        self._held: str = ""
        self._stopped = False
        """Whether the rest waits for the end."""
        self._lookups = _LOOKUPS

    def feed(self, piece: str) -> str:
        """The arguments that are certain by now."""
        self._parts.append(piece)
        if self._stopped:
            return ""
        text: str = self._before + self._held + piece
        begin = len(self._before)
        end, searched = len(text), begin
        while suspect := _SUSPECT.search(text, searched):
            self._stopped = self._is_bent(suspect[0], len(text) - suspect.end())
            if self._stopped or suspect.end() == len(text):
                end = suspect.start()
                break
            searched = suspect.end()
        self._held, self._before = text[end:], text[max(0, end - 1) : end]
        self._shown += end - begin
        return text[begin:end]

    def close(self) -> str:
        """The rest, once all has come: as the call has it, where it is whole."""
        if not self._held:
            return ""
        self._held = ""
        arguments = "".join(self._parts)
        shown, settled = arguments[: self._shown], _settled(arguments, self._schema)
        return (settled if settled.startswith(shown) else arguments)[self._shown :]

    def _is_bent(self, suspect: str, behind: int) -> bool:
        """Whether the call can't have this as it stands; `behind` is how many characters have come after it."""
        if suspect[0] != '"':
            return suspect[0] != "<" or len(suspect) > len("<|\\")
        if suspect[-1] != '"' or len(suspect) == 1:
            return False
        self._lookups -= 1
        if self._lookups < 0:
            return True
        arguments = "".join(self._parts)
        try:
            so_far = from_json(arguments[: len(arguments) - behind], allow_partial=True)
        except ValueError:  # no JSON, so that nothing of it is restored
            return False
        return bent_back(so_far, self._schema or {}) != so_far


def _settled(arguments: str, schema: dict[str, Any] | None) -> str:
    """The arguments as the call has them in the end, unless something cuts it."""
    try:
        args = as_object(from_json(arguments, allow_inf_nan=False))
    except ValueError:
        return arguments
    if args is None:
        return "{}" if means_none(InvalidToolCall("", "", arguments, ""), schema) else arguments
    call = whole(ToolCall("", "", arguments, args), schema)
    return call.arguments if isinstance(call, ToolCall) else arguments
