"""Tool calls, put together from the pieces in which the back-ends send them."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_json

from cf_gemma.errors import ResponseTooLarge
from cf_gemma.model.completion import InvalidToolCall, ToolCall, ToolCallDelta
from cf_gemma.model.json_object import as_object, parsed
from cf_gemma.response.showing import ShownArguments

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CALLS: Final = 4_096
"""Tool calls that one choice may have. Our limit: the model's window has room for a few hundred."""

_MARKS: Final = re.compile(r'\\.?|["{}\[\]]', re.DOTALL)
"""What decides where a JSON value ends."""


class ToolCallAssembler:
    """Assembles the tool calls of one choice.

    Pieces come in many manners (captured, or known from the servers behind the service): a whole call at once or
    argument by argument, an index that is missing or is the tool's place in the request, two calls on one index,
    arguments before the name, arguments as an object, a closing piece of nulls. A call keeps its place from the moment
    in which it begins, and is shown once its name is known.
    """

    def __init__(self, choice: int = 0, tools: Mapping[str, dict[str, Any]] | None = None) -> None:
        """`tools`: by name, the schema of the parameters of those that may be called, if that is known."""
        self._choice = choice
        self._tools = tools or {}
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}
        self._ids: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._calls)

    def feed(self, pieces: list[Any], answer_id: str) -> Iterator[ToolCallDelta]:
        """The deltas that these entries of a `tool_calls` array give.

        `answer_id` seeds the ids that the wire left out.
        """
        for place, entry in enumerate(pieces):
            if (fields := as_object(entry)) is not None:
                piece = _Piece(fields, place)
                if (call := self._call(piece)) is not None:
                    yield from self._advance(call, piece, answer_id)

    def close(self, *, cut: bool) -> tuple[ToolCall | InvalidToolCall, ...]:
        """All calls. `cut`: the answer was cut off, so a call without arguments may have lost them."""
        return tuple(call.result(cut=cut) for call in self._calls)

    def rest(self) -> Iterator[ToolCallDelta]:
        """The deltas of what was held back of the arguments, once the answer has ended."""
        for call in self._calls:
            if call.shown is not None and (rest := call.shown.close()):
                yield ToolCallDelta(call.place, arguments=rest, choice=self._choice)

    def _call(self, piece: _Piece) -> _Call | None:
        """The call that this is a piece of; None for an empty or a repeated piece."""
        call = self._known(piece)
        if call is not None and not piece.begins_after(call):
            return None if piece.repeats(call) else call
        if piece.empty:
            return None
        if len(self._calls) == CALLS:
            raise ResponseTooLarge(f"the answer has more than {CALLS} tool calls")
        call = self._by_index[piece.index] = _Call(len(self._calls))
        self._calls.append(call)
        return call

    def _known(self, piece: _Piece) -> _Call | None:
        if not piece.indexed and piece.id in self._by_id:
            return self._by_id[piece.id]
        return self._by_index.get(piece.index)

    def _advance(self, call: _Call, piece: _Piece, answer_id: str) -> Iterator[ToolCallDelta]:
        if piece.id and not call.wire_id:
            call.wire_id = piece.id
            # Two may share an id: then the later one goes on.
            self._by_id[piece.id] = max(call, self._by_id.get(piece.id, call), key=lambda one: one.place)
        call.arguments.add(piece.arguments)
        if call.shown is not None:
            if shown := call.shown.feed(piece.arguments):
                yield ToolCallDelta(call.place, arguments=shown, choice=self._choice)
        elif piece.name:
            call.name = piece.name
            own = call.wire_id and call.wire_id not in self._ids
            call.id = call.wire_id if own else self._made_id(call, answer_id)
            self._ids.add(call.id)
            call.shown = ShownArguments(self._tools.get(call.name))
            arguments = call.shown.feed(call.arguments.text())
            yield ToolCallDelta(call.place, call.id, call.name, arguments, self._choice)

    def _made_id(self, call: _Call, answer_id: str) -> str:
        """An id for a call that came without one of its own: the same whenever the same answer is replayed."""
        seed = f"{answer_id}/{self._choice}/{call.place}"
        return f"call_{hashlib.sha256(seed.encode()).hexdigest()[:24]}"


class _Call:
    __slots__ = ("arguments", "id", "name", "place", "shown", "wire_id")

    def __init__(self, place: int) -> None:
        self.place = place
        self.wire_id = ""
        self.id = ""
        self.name = ""
        self.arguments = _Arguments()
        self.shown: ShownArguments | None = None
        """What is handed out of the arguments as they come; None until the name has come."""

    def result(self, *, cut: bool) -> ToolCall | InvalidToolCall:
        arguments = self.arguments.text()
        args = {} if not cut and not arguments.strip() else as_object(_decoded(arguments))
        identity = self.id or self.wire_id
        if not self.name:
            return InvalidToolCall(identity, "", arguments, "the call has no function name", cut=cut)
        if args is not None:
            return ToolCall(identity, self.name, arguments, args)
        return InvalidToolCall(identity, self.name, arguments, "the arguments are not a complete JSON object", cut=cut)


class _Arguments:
    """JSON text that comes in parts, none of which is looked at twice to see where it ends."""

    __slots__ = ("_depth", "_in_text", "_new", "_parts", "_whole", "length")

    def __init__(self) -> None:
        self.length = 0
        self._parts: list[str] = []
        self._new: list[str] = []
        self._depth = 0
        self._in_text = False
        self._whole: bool | None = None

    def add(self, part: str) -> None:
        if part:
            self.length += len(part)
            self._parts.append(part)
            self._new.append(part)

    def text(self) -> str:
        return "".join(self._parts)

    def whole(self) -> bool:
        """Whether the parts so far are a JSON object."""
        new = "".join(self._new)
        self._new.clear()
        if self._whole is None and self._ends(new):
            self._whole = as_object(_decoded(self.text())) is not None
        elif self._whole and new.strip():  # nothing but blanks may follow
            self._whole = False
        return bool(self._whole)

    def _ends(self, new: str) -> bool:
        """Whether the first object or array ends within this."""
        for match in _MARKS.finditer(new):
            mark = match[0]
            if mark == "\\":  # what it stands before is yet to come
                self._new.append(mark)
            elif mark == '"':
                self._in_text = not self._in_text
            elif not self._in_text and len(mark) == 1:
                self._depth += 1 if mark in "{[" else -1
                if self._depth <= 0:
                    return True
        return False


class _Piece:
    __slots__ = ("arguments", "id", "index", "indexed", "name")

    def __init__(self, entry: dict[str, Any], place: int) -> None:
        # Native calls have name and arguments at the top.
        source = as_object(entry.get("function")) or entry
        index = entry.get("index")
        self.indexed = isinstance(index, int)
        self.index: int = index if isinstance(index, int) else place
        self.id = str(entry.get("id") or "")
        self.name = str(source.get("name") or "")
        arguments = source.get("arguments")
        if arguments is None:
            self.arguments = ""
        else:
            self.arguments = arguments if isinstance(arguments, str) else to_json(arguments).decode()

    @property
    def empty(self) -> bool:
        return not (self.id or self.name or self.arguments)

    def begins_after(self, call: _Call) -> bool:
        """Whether this piece begins a new call although it bears the index of `call`."""
        other_id = bool(self.id and call.wire_id and self.id != call.wire_id)
        if self.name and call.name and (other_id or self.name != call.name):
            return True
        # Some servers repeat the name with each piece, so only arguments that begin anew are another call's.
        anew = bool(self.name and call.name) and self.arguments.lstrip().startswith("{")
        return (other_id or anew) and call.arguments.whole() and not self.repeats(call)

    def repeats(self, call: _Call) -> bool:
        """Whether this repeats a call that is already complete."""
        same = self.id and (self.id, self.name) == (call.wire_id, call.name)
        known = call.arguments
        return bool(same) and len(self.arguments) == known.length and self.arguments == known.text() and known.whole()


def _decoded(arguments: str) -> object:
    try:
        return parsed(arguments)
    except ValueError:
        return None
