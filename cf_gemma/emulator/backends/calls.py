"""Tool calls gathered from an engine's events, which come piece by piece. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from cf_gemma.emulator.backends.notation import is_whole
from cf_gemma.emulator.engines.protocol import Ending, Event, Opening, Step
from cf_gemma.emulator.faults import Refusal
from cf_gemma.model.completion import ToolCallDelta

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cf_gemma.model.completion import Delta


@dataclass(slots=True)
class CallSteps:
    """The steps of one call."""

    opener: ToolCallDelta
    """Its first delta, but without arguments."""
    steps: list[Step]
    cut_by: Literal["length", "stop"] | None = None
    """What ended it in its arguments: `max_tokens`, or a stop string."""

    @property
    def name(self) -> str:
        """The tool's name."""
        return self.opener.name or ""

    @property
    def arguments(self) -> str:
        """All of its arguments, as JSON text."""
        return "".join(step.delta.arguments for step in self.steps if isinstance(step.delta, ToolCallDelta))

    @property
    def tokens(self) -> int:
        """Completion tokens of all its steps."""
        return sum(step.tokens for step in self.steps)

    def rewritten(self, *deltas: Delta) -> list[Step]:
        """Other deltas in the place of its own; the last has its tokens."""
        last = Step(deltas[-1], self.tokens, last=self.steps[-1].last)
        return [*(Step(delta, 0) for delta in deltas[:-1]), last]


def gather(events: Iterable[Event]) -> Iterator[Event | CallSteps]:
    """The events, each call in one piece once it is complete; one that a Refusal breaks off comes in its steps."""
    open_calls: dict[int, CallSteps] = {}
    try:
        for event in events:
            choice, opener = choice_of(event), opener_of(event)
            if choice in open_calls and (opener or not _is_piece(event)):
                call = open_calls.pop(choice)
                call.cut_by = _cut_by(call, event)
                yield call
            if opener and isinstance(event, Step):
                open_calls[choice] = CallSteps(replace(opener, arguments=""), [event])
            elif choice in open_calls and isinstance(event, Step):
                open_calls[choice].steps.append(event)
            else:
                yield event
    except Refusal:
        for call in open_calls.values():
            yield from call.steps
        raise


def choice_of(event: Event) -> int:
    """The choice that an event belongs to."""
    match event:
        case Step():
            return event.delta.choice
        case Ending():
            return event.choice
        case Opening():
            return -1


def opener_of(event: Event) -> ToolCallDelta | None:
    """Its delta, if a call begins with it."""
    if isinstance(event, Step) and isinstance(event.delta, ToolCallDelta) and event.delta.name is not None:
        return event.delta
    return None


def _is_piece(event: Event) -> bool:
    return isinstance(event, Step) and isinstance(event.delta, ToolCallDelta)


def _cut_by(call: CallSteps, event: Event) -> Literal["length", "stop"] | None:
    if not isinstance(event, Ending) or is_whole(call.arguments):
        return None
    return "length" if event.finish_reason == "length" else "stop" if event.stop else None
