"""The words of a script: replies, their tool calls, and what each field may be."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, cast

from cf_gemma.emulator.faults import Fault

Text = str | Sequence[str]
"""A text; or its pieces, each of which is one token, and one delta, as it is."""


@dataclass(frozen=True, slots=True)
class ToolCallSpec:
    """A tool call to make: `ToolCallSpec("add", {"a": 1, "b": 2})`.

    Raises:
        TypeError: the name isn't a text, or the arguments are neither a text nor an object that JSON can write.
    """

    name: str
    args: Mapping[str, Any] | str = field(default_factory=dict[str, Any])
    """The arguments; a str goes out as it is, valid JSON or not."""
    id: str | None = None
    """None mints one in the manner of the back-end that answers."""

    def __post_init__(self) -> None:
        name, args = cast("tuple[object, object]", (self.name, self.args))
        if not isinstance(name, str):
            raise TypeError(f"ToolCallSpec: name must be a str; not a {kind_of(name)}")
        if not isinstance(args, str | Mapping):
            raise TypeError(f"ToolCallSpec: args must be a dict, or a str of JSON; not a {kind_of(args)}")
        try:
            _ = self.arguments
        except (TypeError, ValueError) as error:
            raise TypeError(f"ToolCallSpec: args of {self.name} can't be written as JSON: {error}") from error

    @property
    def arguments(self) -> str:
        """The arguments as JSON text, spaced as the back-ends space it."""
        return self.args if isinstance(self.args, str) else json.dumps(self.args, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `Reply("Hello!")` is enough; so is the bare string, wherever a Reply is asked for.

    Raises:
        TypeError: a field isn't of its type.
        ValueError: `chunk` is less than 1, or a time or a count is negative.
    """

    text: Text = ""
    reasoning: Text = ""
    """Dropped when the request switches thinking off."""
    tool_calls: Sequence[ToolCallSpec] = ()
    finish_reason: str | None = None
    """None finds it: `length` when `max_tokens` cut the answer, `tool_calls` when there are any, else `stop`."""
    usage: tuple[int, int] | None = None
    """Prompt and completion tokens to report; None counts them."""
    chunk: int = 1
    """Tokens in a delta."""
    error: Fault | None = None
    """Ends the answer behind its words; with no words before it, it is a plain HTTP error."""
    delay: float = 0.0
    """Seconds before the answer begins."""
    gap: float = 0.0
    """Seconds behind each of its deltas."""
    as_reasoning: bool = False
    """The model leaves out the mark between thought and answer: where back-ends fail at that, text and calls come as
    reasoning. S fails whenever thinking is on, V in streams behind a tool's result."""

    def __post_init__(self) -> None:
        for name, (requirement, fits) in _FIELDS.items():
            value: object = getattr(self, name)
            if not fits(value):
                raise TypeError(f"Reply: {name} must be {requirement}; not {value!r}")
        if self.chunk < 1 or min(self.delay, self.gap, *(self.usage or ())) < 0:
            raise ValueError("Reply: chunk must be at least 1; delay, gap and usage must not be negative")


Script = Reply | str | Fault
"""The reply to one request."""

Replies = Script | Sequence[Script] | Callable[[dict[str, Any]], Script]
"""The replies to all requests: always the same, a list in order, or a function of the request's JSON body."""


def kind_of(value: object) -> str:
    """The name of a value's type, for messages."""
    return type(value).__name__


def tokens(text: Text) -> list[str]:
    """The tokens of a text: its words, each with the white space before it; or the pieces as they are."""
    return _WORD.findall(text) if isinstance(text, str) else list(text)


def _is_text(value: object) -> bool:
    return isinstance(value, str) or _holds(value, str)


def _holds(value: object, kind: type) -> bool:
    return isinstance(value, Sequence) and all(isinstance(item, kind) for item in cast("Sequence[object]", value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


_FIELDS: Final[Mapping[str, tuple[str, Callable[[object], bool]]]] = MappingProxyType(
    {
        "text": ("a str, or a list of them", _is_text),
        "reasoning": ("a str, or a list of them", _is_text),
        "tool_calls": (
            'a list of ToolCallSpec objects, such as ToolCallSpec("add", {"a": 1})',
            lambda value: _holds(value, ToolCallSpec),
        ),
        "finish_reason": ("a str or None", lambda value: isinstance(value, str | None)),
        "usage": (
            "two ints, of the prompt and of the answer, or None",
            lambda value: value is None or (_holds(value, int) and len(cast("Sequence[int]", value)) == 2),
        ),
        "chunk": ("an int", lambda value: isinstance(value, int)),
        "error": ("a Fault, such as CUT, or None", lambda value: isinstance(value, Fault | None)),
        "delay": ("seconds", _is_number),
        "gap": ("seconds", _is_number),
        "as_reasoning": ("a bool", lambda value: isinstance(value, bool)),
    }
)
"""What each field of a Reply must be, in words, and whether a value is that."""

_WORD: Final = re.compile(r"\s*\S+|\s+")
