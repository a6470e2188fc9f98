"""What both back-ends have to write, and what they write alike. Pure: values in, JSON-ready dicts out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from random import Random

    from cf_gemma.completion import ToolCallDelta
    from cf_gemma.emulator.engines.protocol import Ending, Step

END_OF_TURN: Final = 106
"""Gemma's `<turn|>` token, which both back-ends report as what stopped them."""


class Top(NamedTuple):
    """What every chunk of an answer says at its top level."""

    id: str
    created: int
    model: str


@dataclass(slots=True)
class Call:
    """A finished tool call."""

    id: str
    name: str
    arguments: str = ""


@dataclass(slots=True)
class Finished:
    """A finished choice, gathered from an engine's events."""

    index: int = 0
    text: str = ""
    reasoning: str = ""
    calls: list[Call] = field(default_factory=list[Call])
    logprobs: list[dict[str, Any]] | None = None
    finish_reason: str | None = None
    stop: str | None = None


class Dialect(Protocol):
    """One back-end's manner of writing."""

    name: Literal["S", "V"]

    def new_id(self, random: Random) -> str:
        """An id for an answer."""
        ...

    def new_call_id(self, random: Random) -> str:
        """An id for a tool call."""
        ...

    def model(self, requested: str) -> str:
        """The model as it is echoed."""
        ...

    def completion(self, top: Top, choices: list[Any], usage: Any) -> dict[str, Any]:
        """A whole `chat.completion`."""
        ...

    def chunk(self, top: Top, choices: list[Any], usage: Any, p: str) -> dict[str, Any]:
        """A `chat.completion.chunk`."""
        ...

    def choice(self, finished: Finished) -> dict[str, Any]:
        """A choice of a whole answer."""
        ...

    def first(self, index: int) -> dict[str, Any]:
        """The choice that opens a stream: the role and an empty text."""
        ...

    def step(self, step: Step) -> dict[str, Any]:
        """The choice that carries a delta."""
        ...

    def last(self, ending: Ending) -> dict[str, Any]:
        """The choice that carries the finish reason."""
        ...


def is_finaliser(delta: ToolCallDelta) -> bool:
    """Whether a delta is empty, and so closes its call; some of the service's models send one."""
    return delta.id is None and delta.name is None and not delta.arguments


def logprobs_object(entries: Any) -> dict[str, Any] | None:
    """The `logprobs` of a choice; None without entries."""
    return {"content": list(entries)} if entries is not None else None


def stop_reason(ended: Ending | Finished) -> str | int | None:
    """What stopped the model: a stop string, or the number of a token; None where the answer was cut."""
    return None if ended.finish_reason == "length" else ended.stop or END_OF_TURN
