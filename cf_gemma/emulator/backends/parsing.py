"""What a back-end's own parsers make of what the model said: calls, reasoning, and the reason of the end. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from cf_gemma.emulator.backends.calls import CallSteps, gather, opener_of
from cf_gemma.emulator.backends.common import END_OF_TURN, TOOL_RESPONSE
from cf_gemma.emulator.backends.notation import has_stray_quote, write_call
from cf_gemma.emulator.engines.logprobs import token_logprob
from cf_gemma.emulator.engines.protocol import Ending, Event, Opening, Step
from cf_gemma.emulator.faults import Fault, Refusal
from cf_gemma.model.completion import ReasoningDelta, TextDelta

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from random import Random

    from cf_gemma.emulator.backends.common import Dialect
    from cf_gemma.emulator.chat import ChatRequest


Quirk = Literal["cut_calls", "grammar", "history"]
"""What a back-end does where a careless client gives wrong answers.

- `cut_calls`: a call that `max_tokens` or a stop string ended in its arguments is written as the parser leaves it, not
  as far as it came. V closes the JSON, and a whole answer says `tool_calls` (0.25: a stream, too); 0.22 closes nothing.
  S streams the opener alone. A whole answer of S, and of 0.22, has Gemma's own notation as text.
- `grammar`: `response_format` forbids tool calls: a script that makes one is refused.
- `history`: S refuses (400) earlier calls whose arguments are no JSON objects.
"""


@dataclass(frozen=True, slots=True)
class Parser:
    """Reads one answer as one back-end does."""

    dialect: Dialect
    chat: ChatRequest
    random: Random
    quirks: tuple[Quirk, ...]
    streamed: bool
    _called: set[int] = field(default_factory=set[int])
    """Choices that made a call."""
    _reasons: dict[int, str] = field(default_factory=dict[int, str])
    """Finish reasons of choices that end otherwise than the engine says."""

    def parse(self, events: Iterable[Event]) -> Iterator[Event]:
        """What the back-end has to write. Raises Refusal for a call that the grammar forbids."""
        as_reasoning = self.dialect.files_as_reasoning(self.chat, streamed=self.streamed)
        whole = "cut_calls" in self.quirks or as_reasoning or self.dialect.loses_arguments(streamed=self.streamed)
        identified = self._with_ids(events)
        for event in gather(identified) if whole else identified:
            match event:
                case CallSteps():
                    yield from self._call(event, as_reasoning=as_reasoning and event.steps[0].as_reasoning)
                case Step():
                    yield from self._step(event, as_reasoning=as_reasoning and event.as_reasoning)
                case Ending():
                    yield self._ending(event)
                case Opening():
                    yield event

    def _step(self, step: Step, *, as_reasoning: bool) -> Iterator[Step]:
        if opener_of(step):
            self._called.add(step.delta.choice)
        if as_reasoning and isinstance(step.delta, TextDelta):
            step = replace(step, delta=ReasoningDelta(step.delta.text, step.delta.choice))
        yield from self.dialect.split(step)

    def _call(self, call: CallSteps, *, as_reasoning: bool) -> Iterator[Step]:
        choice = call.opener.choice
        if as_reasoning:
            self._reasons[choice] = "stop"
            yield from call.rewritten(ReasoningDelta(write_call(call.name, call.arguments), choice))
            return
        self._called.add(choice)
        if call.cut_by and "cut_calls" in self.quirks:
            steps, self._reasons[choice] = self.dialect.cut(call, call.cut_by, streamed=self.streamed)
            yield from steps
        elif has_stray_quote(call.arguments) and self.dialect.loses_arguments(streamed=self.streamed):
            yield from call.rewritten(call.opener)
        else:
            yield from call.steps

    def _with_ids(self, events: Iterable[Event]) -> Iterator[Event]:
        """Gives each call that has no id one in the manner of the back-end."""
        for event in events:
            opener = opener_of(event)
            if opener and "grammar" in self.quirks and self.chat.json_schema is not None:
                text = "response_format forbids tool calls: its grammar holds from the first token; script a text"
                raise Refusal(Fault(400, message=text))
            if opener and isinstance(event, Step):
                call_id = opener.id or self.dialect.new_call_id(self.random)
                yield replace(event, delta=replace(opener, id=call_id))
            else:
                yield event

    def _ending(self, ending: Ending) -> Ending:
        called = ending.choice in self._called
        token = TOOL_RESPONSE if called else END_OF_TURN
        reason = self._reasons.get(ending.choice) or self.dialect.finish_reason(
            ending.finish_reason, self.chat, called=called, streamed=self.streamed
        )
        if ending.finish_reason == "length":
            return replace(ending, finish_reason=reason, stop=None)
        if ending.stop is not None or not self.chat.logprobs:
            return replace(ending, finish_reason=reason, stop=ending.stop or token.number)
        logprobs = self.dialect.last_logprobs(token_logprob(token.text, self.chat.top_logprobs))
        return replace(ending, finish_reason=reason, stop=token.number, logprobs=logprobs)
