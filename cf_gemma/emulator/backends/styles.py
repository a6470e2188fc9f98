"""The manners in which the service's back-ends cut a streamed tool call into deltas. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from cf_gemma.emulator.backends.calls import CallSteps, choice_of, gather, opener_of
from cf_gemma.emulator.engines.protocol import Ending, Event, Step
from cf_gemma.model.completion import ToolCallDelta

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from cf_gemma.emulator.backends.common import Dialect
    from cf_gemma.emulator.chat import ChatRequest

ToolCallStyle = Literal["server", "whole", "fragments", "finaliser", "position"]
"""How a streamed tool call is cut.

- `server`: as the back-end's own code does. V: `fragments`. S: an opener, then all arguments in one delta, both under
  the place of the tool in the request's `tools`, -1 for an unknown one; `fragments` where a call is required or named;
- `whole`: in one delta;
- `fragments`: an opener with the name, then the arguments in pieces;
- `finaliser`: the same, and a delta of nulls behind;
- `position`: in pieces, under the place of the tool, whichever back-end answers.
"""


def cut(events: Iterable[Event], style: ToolCallStyle, dialect: Dialect, chat: ChatRequest) -> Iterator[Event]:
    """The same events, their tool calls cut in that style."""
    tools = [tool["name"] for tool in chat.tools]
    match style:
        case "server" if dialect.name == "S" and chat.tool_choice != "required":
            return _placed(_two_deltas(events), tools)
        case "whole":
            return _whole(events)
        case "finaliser":
            return _finaliser(events)
        case "position":
            return _placed(_fragments(events), tools)
        case _:
            return _fragments(events)


def _whole(events: Iterable[Event]) -> Iterator[Event]:
    for event in gather(events):
        if isinstance(event, CallSteps):
            yield from event.rewritten(replace(event.opener, arguments=event.arguments))
        else:
            yield event


def _two_deltas(events: Iterable[Event]) -> Iterator[Event]:
    """An opener, then all arguments at once, if there are any."""
    for event in gather(events):
        if isinstance(event, CallSteps):
            rest = ToolCallDelta(event.opener.index, arguments=event.arguments, choice=event.opener.choice)
            yield from event.rewritten(event.opener, *([rest] if event.arguments else []))
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
    open_calls: dict[int, int] = {}
    for event in _fragments(events):
        choice, opener = choice_of(event), opener_of(event)
        if choice in open_calls and (opener or isinstance(event, Ending)):
            yield Step(ToolCallDelta(open_calls.pop(choice), choice=choice), 0)
        if opener:
            open_calls[choice] = opener.index
        yield event


def _placed(events: Iterable[Event], tools: Sequence[str]) -> Iterator[Event]:
    """The same, under the place of the tool in the request."""
    places: dict[tuple[int, int], int] = {}
    for event in events:
        if isinstance(event, Step) and isinstance(event.delta, ToolCallDelta):
            delta = event.delta
            if delta.name is not None:
                places[delta.choice, delta.index] = tools.index(delta.name) if delta.name in tools else -1
            yield replace(event, delta=replace(delta, index=places[delta.choice, delta.index]))
        else:
            yield event
