"""Tools and a schema at once: what is asked for when the answer that ends a tool loop isn't the object. Pure.

A grammar holds from the first token, so with one no tool could be called (vLLM, SGLang and llama.cpp, 2026-11).
While tools may be called there is none: the schema stands in the prompt, and the final text is checked.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic_core import from_json

from cf_gemma.errors import GemmaError
from cf_gemma.model.completion import Completion, TextDelta, Usage
from cf_gemma.request.fitting import fits
from cf_gemma.request.schema_prompt import schema_of
from cf_gemma.structured import unfenced

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from cf_gemma.model.completion import Delta

ASK: Final = "Give this answer as the JSON that was asked for."

_OF_TOOLS: Final = ("tools", "tool_choice", "parallel_tool_calls")


@dataclass(frozen=True, slots=True)
class Closing:
    """A call with tools whose final answer is to be an object."""

    messages: Sequence[Mapping[str, Any]] = field(repr=False)
    parameters: Mapping[str, Any] = field(repr=False)
    """As they were for the call, `response_format` included."""

    def is_needed(self, completion: Completion) -> bool:
        """Whether the answer is a whole text that isn't the object. A call, or an answer that was cut, is as it is."""
        choice = completion.choices[0]
        ended = choice.finish_reason == "stop" and not choice.calls and len(completion.choices) == 1
        return ended and self.object_in(choice.text) is None

    def object_in(self, text: str) -> str | None:
        """The text of the object, without a code fence around it; None where there is none that fits."""
        bare = unfenced(text)
        try:
            value: object = from_json(bare, allow_inf_nan=False)
        except ValueError:
            return None
        schema = schema_of(self.parameters["response_format"]) or {"type": "object"}
        return bare if fits(value, schema) else None

    def bare(self, completion: Completion) -> Completion:
        """The answer with the object alone as its text, where that is in it."""
        choice = completion.choices[0]
        json_text = None if choice.calls else self.object_in(choice.text)
        return (
            completion
            if json_text is None
            else replace(completion, choices=(replace(choice, text=json_text), *completion.choices[1:]))
        )

    def last_messages(self, text: str) -> list[Mapping[str, Any]]:
        """The conversation with the answer, and the question for the object."""
        draft = [{"role": "assistant", "content": text}, {"role": "user", "content": ASK}]
        return [*self.messages, *(draft if text.strip() else [])]

    def last_parameters(self) -> dict[str, Any]:
        """The call's parameters without tools, so that the grammar may hold."""
        return {name: value for name, value in self.parameters.items() if name not in _OF_TOOLS}


@contextmanager
def keeping(first: Completion | None) -> Generator[None]:
    """An error of the closing request carries the first answer, unless it has something of its own."""
    try:
        yield
    except GemmaError as error:
        error.partial = error.partial or first
        raise


def together(first: Completion, last: Completion) -> Completion:
    """Both answers as one: the object, what was thought, what both have cost, and the first text as `draft`."""
    before, choice = first.choices[0], last.choices[0]
    both = replace(
        choice,
        reasoning="\n".join(filter(None, (before.reasoning, choice.reasoning))),
        extra={**choice.extra, "draft": before.text},
    )
    return replace(last, choices=(both, *last.choices[1:]), usage=_sum(first.usage, last.usage))


class HeldText:
    """A stream whose text is handed out at the end, as the object alone, or not at all where it isn't one."""

    def __init__(self, closing: Closing) -> None:
        self.closing = closing
        self.unfit: Completion | None = None
        """The whole answer, once it has ended in a text that isn't the object."""

    def passed(self, item: Delta | Completion) -> list[Delta | Completion]:
        """What to hand out now that this has come."""
        if isinstance(item, TextDelta):
            return []
        if not isinstance(item, Completion):
            return [item]
        if self.closing.is_needed(item):
            self.unfit = item
            return []
        whole = self.closing.bare(item)
        return [*(TextDelta(one.text, one.index) for one in whole.choices if one.text), whole]

    def joined(self, item: Delta | Completion) -> Delta | Completion:
        """What to hand out of the answer that follows an unfit one."""
        return together(self.unfit, item) if self.unfit and isinstance(item, Completion) else item


def _sum(first: Usage | None, last: Usage | None) -> Usage | None:
    if first is None or last is None:
        return first or last
    names = ("cached_tokens", "reasoning_tokens", "neurons")
    known: dict[str, Any] = {
        name: None if None in (pair := (getattr(first, name), getattr(last, name))) else sum(cast("Any", pair))
        for name in names
    }
    return Usage(
        first.prompt_tokens + last.prompt_tokens,
        first.completion_tokens + last.completion_tokens,
        first.total_tokens + last.total_tokens,
        **known,
    )
