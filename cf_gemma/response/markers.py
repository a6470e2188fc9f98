"""Keeps the model's own markers from a user: what a server's parser left in a text is parsed here. Pure.

A thought in its channel becomes reasoning, a call in Gemma's notation a call, and the marks of turns go. A marker that
the request speaks about stays: then it is what the conversation is about.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from cf_gemma.request.http_request import HttpRequest

_THOUGHT: Final = "<|channel>"
_THOUGHT_END: Final = "<channel|>"
_CALL: Final = "<|tool_call>"
_CALL_END: Final = "<tool_call|>"
_TURNS: Final = (
    *("<|turn>", "<turn|>", "<|tool_response>", "<tool_response|>", "<|think|>", "<|tool>", "<tool|>"),
    *("<start_of_turn>", "<end_of_turn>"),
)
_MARKERS: Final = (_THOUGHT, _THOUGHT_END, _CALL, _CALL_END, *_TURNS)
_LONGEST: Final = max(map(len, _MARKERS))
_ANY_MARKER: Final = re.compile("|".join(map(re.escape, _MARKERS)))
_FORMS: Final = {_THOUGHT: "thought", _CALL: "call:"}
"""What follows a marker that is one; a marker followed by anything else is text about markers."""
_STATES: Final[dict[str, Literal["thought", "call"]]] = {_THOUGHT: "thought", _CALL: "call"}
_OPEN_THOUGHT: Final = "thought\n"
"""How a text begins whose server took the opening of the channel for its own."""
_BLANKS: Final = 1_000
"""Characters of blanks at a text's beginning behind which no thought is looked for any more."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of what the model said."""

    kind: Literal["text", "reasoning", "call"]
    text: str
    """Of a call, its notation."""
    whole: bool = True
    """Whether a call ended."""


@dataclass(frozen=True, slots=True)
class _Found:
    at: int
    marker: str
    certain: bool
    """Whether enough has come to tell what it is."""


class MarkerFilter:
    """Of the text, or the reasoning, of one choice, as it comes. Holds back only what may be part of a marker."""

    def __init__(self, request: HttpRequest | None, kind: Literal["text", "reasoning"]) -> None:
        self._request = request
        self._kind: Literal["text", "reasoning"] = kind
        self._state: Literal["plain", "thought", "call"] = "plain"
        self.idle = kind == "reasoning"
        """Whether nothing is held and nothing is open."""
        self._held = ""
        self._at = 0
        """Where what is held begins in `_held`."""
        self._awaited = self._tail = ""
        """The marker that must come before anything held is certain; "" for none."""
        self._later: list[str] = []
        """What has come since it was looked for in `_held`."""
        self._begun = kind == "reasoning"
        """Whether the text has begun, so that it can't begin with a thought any more."""
        self._spoken: dict[str, bool] = {}
        self._titled = False
        """Whether the word at the beginning of a thought was taken off."""
        self._calls = request is not None and bool(request.tools)

    def feed(self, text: str) -> list[Piece]:
        """The pieces that are certain by now. A text without `<` that comes while `idle` is one piece, itself."""
        if self._awaited:
            # So that no piece is looked at, or copied, once for each that comes after it.
            self._later.append(text)
            seen = self._tail + text
            self._tail = seen[1 - len(self._awaited) :]
            if self._awaited not in seen:
                return []
        pieces = self._pieces(text, ended=False)
        self.idle = self._begun and not self._held and self._state == "plain"
        return pieces

    @property
    def held(self) -> str:
        """What is held back."""
        return "".join((self._held, *self._later))

    def close(self) -> list[Piece]:
        """The rest, once the text has ended."""
        return [] if self.idle else self._pieces("", ended=True)

    def _pieces(self, text: str, *, ended: bool) -> list[Piece]:
        self._held = "".join((self._held, *(self._later or (text,))))
        self._later.clear()
        self._awaited, self._at = "", 0
        pieces: list[Piece] = []
        while self._advance(pieces, ended=ended):
            pass
        self._held = self._held[self._at :]
        return pieces

    def _advance(self, pieces: list[Piece], *, ended: bool) -> bool:
        """Takes one step through what is held; false when it must wait for more."""
        if self._at == len(self._held) and not (ended and self._state == "call"):
            return False
        if self._state == "call":
            return self._take_call(pieces, ended=ended)
        if self._state == "thought":
            return self._take_thought(pieces, ended=ended)
        if not self._begun:
            return self._begin(pieces, ended=ended)
        marked = self._next_marker(ended=ended)
        if marked is None:
            self._emit(self._kind, len(self._held) if ended else _certain(self._held, self._at), pieces)
            return False
        self._emit(self._kind, marked.at, pieces)
        self._at += len(marked.marker) if marked.certain else 0
        if marked.certain and marked.marker in _STATES:
            self._state = _STATES[marked.marker]
        return marked.certain

    def _begin(self, pieces: list[Piece], *, ended: bool) -> bool:
        """A text that begins with `thought` and has the end of a channel later began inside of one."""
        begin = len(self._held) - len(self._held.lstrip())
        beginning = self._held[begin : begin + len(_OPEN_THOUGHT)]
        if beginning != _OPEN_THOUGHT and _OPEN_THOUGHT.startswith(beginning) and begin < _BLANKS and not ended:
            return False
        end = -1
        if beginning == _OPEN_THOUGHT and not self._speaks_of(_THOUGHT_END):
            end = self._find(_THOUGHT_END)
            if end < 0 and not ended:
                return False
        self._begun = True
        if end >= 0:
            self._at = begin + len(_OPEN_THOUGHT)
            pieces.append(Piece("reasoning", self._held[self._at : end]))
            self._at = end + len(_THOUGHT_END)
        return True

    def _take_call(self, pieces: list[Piece], *, ended: bool) -> bool:
        end = self._find(_CALL_END)
        if end < 0 and not ended:
            return False
        self._state = "plain"
        pieces.append(Piece("call", self._held[self._at : end if end >= 0 else None], whole=end >= 0))
        self._at = end + len(_CALL_END) if end >= 0 else len(self._held)
        return True

    def _take_thought(self, pieces: list[Piece], *, ended: bool) -> bool:
        """Reasoning is handed out as it comes, without the word at its beginning."""
        if not self._titled:
            beginning = self._held[self._at : self._at + len(_OPEN_THOUGHT)]
            if beginning != _OPEN_THOUGHT and _OPEN_THOUGHT.startswith(beginning) and not ended:
                return False
            self._at += len(_OPEN_THOUGHT) if beginning == _OPEN_THOUGHT else 0
            self._titled = True
        end = self._held.find(_THOUGHT_END, self._at)
        if end < 0:
            self._emit("reasoning", len(self._held) if ended else _certain(self._held, self._at), pieces)
            return False
        self._emit("reasoning", end, pieces)
        self._at += len(_THOUGHT_END)
        self._state, self._titled = "plain", False
        return True

    def _find(self, marker: str) -> int:
        """Where a marker stands in what is held; -1 where it doesn't, and then it is awaited."""
        at = self._held.find(marker, self._at)
        if at < 0:
            self._awaited, self._tail = marker, self._held[self._at :][1 - len(marker) :]
        return at

    def _emit(self, kind: Literal["text", "reasoning"], end: int, pieces: list[Piece]) -> None:
        if end > self._at:
            pieces.append(Piece(kind, self._held[self._at : end]))
        self._at = end

    def _next_marker(self, *, ended: bool) -> _Found | None:
        """The first marker that is to be taken out."""
        for match in _ANY_MARKER.finditer(self._held, self._at):
            marker = match[0]
            if marker in (_CALL, _CALL_END) and not self._calls:
                continue
            form = _FORMS.get(marker, "")
            follows = self._held[match.end() : match.end() + len(form)]
            if form and follows == form:
                return _Found(match.start(), marker, certain=True)
            if form and not ended and form.startswith(follows):
                return _Found(match.start(), marker, certain=False)
            if not self._speaks_of(marker):
                return _Found(match.start(), marker, certain=True)
        return None

    def _speaks_of(self, marker: str) -> bool:
        """Whether the request has the marker; looked for once, since a request may be large."""
        if marker not in self._spoken:
            self._spoken[marker] = self._request is not None and marker.encode() in self._request.body
        return self._spoken[marker]


def _certain(text: str, begin: int) -> int:
    """Up to where a text can't be part of a marker that goes on in the next piece. `begin` is where it begins."""
    at = text.rfind("<", max(begin, len(text) - _LONGEST))
    return at if at >= 0 and any(marker.startswith(text[at:]) for marker in _MARKERS) else len(text)
