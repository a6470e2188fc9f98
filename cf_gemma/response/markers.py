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
"""What stands behind a marker that the model meant: then it is no word about markers."""
_STATES: Final[dict[str, Literal["thought", "call"]]] = {_THOUGHT: "thought", _CALL: "call"}
_OPEN_THOUGHT: Final = "thought\n"
"""How a text begins whose server took the opening of the channel for its own."""


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
        self._begun = kind == "reasoning"
        """Whether the text has begun, so that it can't begin with a thought any more."""
        self._spoken: dict[str, bool] = {}
        self._titled = False
        """Whether the word at the beginning of a thought was taken off."""
        self._searched = 0
        self._calls = request is not None and bool(request.tools)

    def feed(self, text: str) -> list[Piece]:
        """The pieces that are certain by now. A text without `<` that comes while `idle` is one piece, itself."""
        self._held += text
        pieces: list[Piece] = []
        while self._advance(pieces, ended=False):
            pass
        self.idle = self._begun and not self._held and self._state == "plain"
        return pieces

    @property
    def held(self) -> str:
        """What is held back."""
        return self._held

    def close(self) -> list[Piece]:
        """The rest, once the text has ended."""
        pieces: list[Piece] = []
        while self._advance(pieces, ended=True):
            pass
        return pieces

    def _advance(self, pieces: list[Piece], *, ended: bool) -> bool:
        """Takes one step through what is held; false when it must wait for more."""
        if not self._held and not (ended and self._state == "call"):
            return False
        if self._state == "call":
            return self._take_call(pieces, ended=ended)
        if self._state == "thought":
            return self._take_thought(pieces, ended=ended)
        if not self._begun:
            return self._begin(pieces, ended=ended)
        found = self._next_marker(ended=ended)
        if found is None:
            end = len(self._held) if ended else _certain(self._held)
            self._say(self._held[:end], pieces)
            self._take(end)
            return False
        self._say(self._held[: found.at], pieces)
        self._take(found.at + (len(found.marker) if found.certain else 0))
        if found.certain and found.marker in _STATES:
            self._state = _STATES[found.marker]
        return found.certain

    def _begin(self, pieces: list[Piece], *, ended: bool) -> bool:
        """A text that begins with `thought` and has the end of a channel later began inside of one."""
        beginning = self._held.lstrip()
        if not ended and len(beginning) < len(_OPEN_THOUGHT) and _OPEN_THOUGHT.startswith(beginning):
            return False
        inside = beginning.startswith(_OPEN_THOUGHT) and not self._speaks_of(_THOUGHT_END)
        end = self._find(_THOUGHT_END) if inside else -1
        if inside and end < 0 and not ended:
            return False
        self._begun = True
        if end >= 0:
            thought = self._held[:end].lstrip().removeprefix(_OPEN_THOUGHT)
            self._take(end + len(_THOUGHT_END))
            pieces.append(Piece("reasoning", thought))
        return True

    def _take_call(self, pieces: list[Piece], *, ended: bool) -> bool:
        end = self._find(_CALL_END)
        if end < 0 and not ended:
            return False
        self._state = "plain"
        pieces.append(Piece("call", self._held[:end] if end >= 0 else self._held, whole=end >= 0))
        self._take(end + len(_CALL_END) if end >= 0 else len(self._held))
        return True

    def _take_thought(self, pieces: list[Piece], *, ended: bool) -> bool:
        """Reasoning is handed out as it comes, without the word at its beginning."""
        if not self._titled:
            if not ended and len(self._held) < len(_OPEN_THOUGHT) and _OPEN_THOUGHT.startswith(self._held):
                return False
            self._held = self._held.removeprefix(_OPEN_THOUGHT)
            self._titled = True
        end = self._held.find(_THOUGHT_END)
        certain = end if end >= 0 else len(self._held) if ended else _certain(self._held)
        if certain:
            pieces.append(Piece("reasoning", self._held[:certain]))
        self._take(certain + (len(_THOUGHT_END) if end >= 0 else 0))
        if end >= 0:
            self._state, self._titled = "plain", False
        return end >= 0

    def _find(self, marker: str) -> int:
        """Where a marker stands, looked for in what has come since the last time; -1 where it doesn't."""
        at = self._held.find(marker, max(0, self._searched - len(marker)))
        self._searched = len(self._held)
        return at

    def _take(self, count: int) -> None:
        self._held = self._held[count:]
        self._searched = 0

    def _say(self, text: str, pieces: list[Piece]) -> None:
        if text:
            pieces.append(Piece(self._kind, text))

    def _next_marker(self, *, ended: bool) -> _Found | None:
        """The first marker that is to be taken out."""
        for match in _ANY_MARKER.finditer(self._held):
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


def _certain(text: str) -> int:
    """How much of a text can't be part of a marker that goes on in the next piece."""
    at = text.rfind("<", -_LONGEST)
    return at if at >= 0 and any(marker.startswith(text[at:]) for marker in _MARKERS) else len(text)
