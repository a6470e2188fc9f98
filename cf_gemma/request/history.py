"""Turns in the order and the form in which Gemma's chat template prints them whole. Pure.

Seen in all five revisions of Google's template: a call without its result opens a response that never ends; text beside
a call is printed behind the result, and closes the turn in which the model is to go on; reasoning is printed behind the
last user turn only. Servers refuse a conversation whose calls have arguments that are no JSON object.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from pydantic_core import from_json, to_json

from cf_gemma.model.json_object import as_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Turn = dict[str, Any]

NO_RESULT: Final = "no result: the call was not run"
LATE_RESULT: Final = "Result of an earlier tool call:"

_REASONING: Final = ("reasoning_content", "reasoning")


def answered(turns: Sequence[Turn]) -> Iterator[Turn]:
    """The same conversation, each call of which has its result behind it, in the order of the calls.

    A call without a result gets one that says so. A result without a call becomes a user turn.
    """
    run: _Run | None = None
    for turn in turns:
        if turn["role"] in ("tool", "function"):
            run = run or _Run([])
            run.add(turn)
            continue
        if run:
            yield from run.turns()
        yield turn
        calls = turn.get("tool_calls") if turn["role"] == "assistant" else None
        run = _Run(calls) if calls else None
    if run:
        yield from run.turns()


def thought(turns: list[Turn]) -> None:
    """Puts what the model thought, and what it said beside calls, where the template prints it in the running loop.

    That is as reasoning, under both its names. Reasoning of other turns isn't printed, and would be paid for in vain.
    """
    in_loop = True
    for turn in reversed(turns):
        if turn["role"] == "user":
            in_loop = False
        names = [turn.pop(name) for name in _REASONING if name in turn]
        if in_loop and turn["role"] == "assistant" and turn.get("tool_calls"):
            reasoning = next((text for text in names if isinstance(text, str) and text), "")
            texts = [text for text in (reasoning, turn["content"]) if text.strip()]
            if texts:
                turn |= {**dict.fromkeys(_REASONING, "\n".join(texts)), "content": ""}


def json_object(arguments: object) -> str:
    """A call's arguments as the text of a JSON object; anything else becomes `{"invalid": text}`."""
    if arguments is None or arguments == "":
        return "{}"
    text = arguments if isinstance(arguments, str) else _encoded(arguments)
    try:
        value: object = from_json(text, allow_inf_nan=False)
    except ValueError:
        value = text
    if isinstance(value, dict):
        return text
    return "{}" if value is None else to_json({"invalid": text}).decode()


def _encoded(arguments: object) -> str:
    """The JSON text, of any depth; for values that JSON can't hold, their `str`, since the past can't be changed."""
    try:
        return to_json(arguments).decode()
    except ValueError:
        pass
    try:
        return json.dumps(arguments, ensure_ascii=False)
    except RecursionError:
        return _deep(arguments)
    except (TypeError, ValueError):
        return str(arguments)


def _deep(value: object) -> str:
    """The JSON text of a value that is too deep for recursion."""
    pieces: list[str] = []
    waiting: list[tuple[str, Any]] = [("", value)]
    around: set[int] = set()
    while waiting:
        before, one = waiting.pop()
        pieces.append(before)
        if isinstance(one, _Closing):
            around.discard(one.of)
            continue
        fields, items = as_object(one), cast("list[Any] | None", one if isinstance(one, list) else None)
        mark = id(cast("object", one))
        if (fields is None and items is None) or mark in around:
            pieces.append(json.dumps(None if mark in around else one, ensure_ascii=False, default=str))
            continue
        around.add(mark)
        inner = [("", each) for each in items or ()]
        inner += [(f"{json.dumps(name)}: ", each) for name, each in (fields or {}).items()]
        pieces.append("{" if items is None else "[")
        waiting.append(("}" if items is None else "]", _Closing(mark)))
        waiting += [(f", {name}" if place else name, each) for place, (name, each) in enumerate(inner)][::-1]
    return "".join(pieces)


class _Closing(NamedTuple):
    """The end of an object or a list; a reference to one that is still open is null."""

    of: int


class _Run:
    """The results behind one turn."""

    def __init__(self, calls: Sequence[Turn]) -> None:
        self._ids = [call["id"] for call in calls]
        self._open: dict[tuple[str, str], list[int]] = {}
        for place, call in reversed(list(enumerate(calls))):
            for key in (("tool", call["id"]), ("function", call["function"]["name"])):
                self._open.setdefault(key, []).append(place)
        self._results: dict[int, Turn] = {}
        self._stray: list[Turn] = []

    def add(self, turn: Turn) -> None:
        """Assigns a result to the oldest open call with its id, or for the old kind without ids, its name."""
        role: str = turn["role"]
        places = self._open.get((role, str(turn.get("tool_call_id" if role == "tool" else "name"))), [])
        if not places:
            self._stray.append(_as_text(turn))
            return
        place = places.pop()
        self._results[place] = turn if role == "tool" else _result(self._ids[place], turn["content"], turn.get("name"))

    def turns(self) -> Iterator[Turn]:
        """The results in the order of the calls, and behind them those that answer none."""
        for place, id_ in enumerate(self._ids):
            yield self._results.get(place) or _result(id_, NO_RESULT)
        yield from self._stray


def _result(call: str, content: Any, name: str | None = None) -> Turn:
    return {"role": "tool", "tool_call_id": call, "content": content, **({"name": name} if name else {})}


def _as_text(turn: Turn) -> Turn:
    content = turn["content"]
    if isinstance(content, str):
        return {"role": "user", "content": f"{LATE_RESULT}\n{content}"}
    return {"role": "user", "content": [{"type": "text", "text": LATE_RESULT}, *content]}
