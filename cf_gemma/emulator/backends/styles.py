"""The manners in which the service's back-ends have been seen to cut a streamed tool call. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from cf_gemma.completion import ToolCallDelta
from cf_gemma.emulator.engines.protocol import Ending, Event, Opening, Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

ToolCallStyle = Literal["whole", "fragments", "finaliser", "position"]
"""How a streamed tool call is cut.

- `whole`: in one delta;
- `fragments`: an opener with the name, then the arguments in pieces;
- `finaliser`: the same, and a delta of nulls behind;
- `position`: in pieces, under the place of the tool in the request's `tools` instead of the call's own: a bug of one
  back-end (2026-05) that many clients stumble over, so it is never chosen at random.
"""


def cut(events: Iterable[Event], style: ToolCallStyle, tool_names: Sequence[str] = ()) -> Iterator[Event]:
    """The same events, their tool calls cut in that style; `tool_names` are the request's, for `position`."""
    if style == "whole":
        return _whole(events)
    if style == "finaliser":
        return _finaliser(events)
    return _position(events, tool_names) if style == "position" else _fragments(events)


def _whole(events: Iterable[Event]) -> Iterator[Event]:
    """Holds the pieces of a call back until it is complete."""
    held: dict[int, tuple[ToolCallDelta, int]] = {}
    for event in events:
        choice = _choice_of(event)
        delta = event.delta if isinstance(event, Step) else None
        piece = isinstance(delta, ToolCallDelta) and delta.name is None
        if choice in held and not piece:
            yield Step(*held.pop(choice))
        if isinstance(event, Step) and isinstance(delta, ToolCallDelta):
            begun, tokens = held.get(choice, (replace(delta, arguments=""), 0))
            held[choice] = replace(begun, arguments=begun.arguments + delta.arguments), tokens + event.tokens
        else:
            yield event


def _fragments(events: Iterable[Event]) -> Iterator[Event]:
    """An opener that has the name only, then the arguments in pieces."""
    for event in events:
        if (
            isinstance(event, Step)
            and isinstance(event.delta, ToolCallDelta)
            and event.delta.name
            and event.delta.arguments
        ):
            yield Step(replace(event.delta, arguments=""), 0)
            yield replace(event, delta=replace(event.delta, id=None, name=None))
        else:
            yield event


def _finaliser(events: Iterable[Event]) -> Iterator[Event]:
    """Pieces, and behind each call a delta that says nothing."""
    open_call: dict[int, ToolCallDelta] = {}
    for event in _fragments(events):
        choice = _choice_of(event)
        delta = event.delta if isinstance(event, Step) else None
        begins = isinstance(delta, ToolCallDelta) and delta.name is not None
        if choice in open_call and (begins or isinstance(event, Ending)):
            yield Step(ToolCallDelta(open_call.pop(choice).index, choice=choice), 0)
        if isinstance(delta, ToolCallDelta) and begins:
            open_call[choice] = delta
        yield event


def _position(events: Iterable[Event], tool_names: Sequence[str]) -> Iterator[Event]:
    """Pieces, under the place of the tool in the request."""
    places: dict[tuple[int, int], int] = {}
    for event in _fragments(events):
        if isinstance(event, Step) and isinstance(event.delta, ToolCallDelta):
            delta = event.delta
            if delta.name in tool_names:
                places[delta.choice, delta.index] = tool_names.index(delta.name)
            yield replace(event, delta=replace(delta, index=places.get((delta.choice, delta.index), delta.index)))
        else:
            yield event


def _choice_of(event: Event) -> int:
    match event:
        case Step():
            return event.delta.choice
        case Ending():
            return event.choice
        case Opening():
            return -1
