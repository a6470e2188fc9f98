"""What each back-end has to do, and what both do alike. Pure: values in, JSON-ready dicts out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from random import Random

    from cf_gemma.emulator.backends.calls import CallSteps
    from cf_gemma.emulator.chat import ChatRequest
    from cf_gemma.emulator.engines.protocol import Ending, Step
    from cf_gemma.emulator.faults import Fault
    from cf_gemma.model.completion import ToolCallDelta


class Token(NamedTuple):
    """One of Gemma's control tokens."""

    text: str
    number: int


END_OF_TURN: Final = Token("<turn|>", 106)
TOOL_RESPONSE: Final = Token("<|tool_response>", 50)
"""Both end an answer, the second one with calls, and back-ends report their numbers as what stopped the model."""


class Top(NamedTuple):
    """What every chunk of an answer has at its top level."""

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
    """A finished choice, gathered from a parser's events."""

    index: int = 0
    text: str = ""
    reasoning: str = ""
    calls: list[Call] = field(default_factory=list[Call])
    logprobs: list[dict[str, Any]] | None = None
    finish_reason: str | None = None
    stop: str | int | None = None


class Dialect(Protocol):
    """One back-end: what its parsers make of the model's words, and how it writes that."""

    name: Literal["S", "V"]
    rides: bool
    """Whether the reason of an answer that `max_tokens` cut stands in the chunk of its last words."""

    def objections(self, chat: ChatRequest) -> Iterator[Fault]:
        """What this back-end refuses and the other takes."""
        ...

    def files_as_reasoning(self, chat: ChatRequest, *, streamed: bool) -> bool:
        """Whether its parser takes an answer that is in no channel of its own for reasoning."""
        ...

    def loses_arguments(self, *, streamed: bool) -> bool:
        """Whether its parser drops the arguments of a call with a stray quote token."""
        ...

    def cut(self, call: CallSteps, cut_by: Literal["length", "stop"], *, streamed: bool) -> tuple[Iterable[Step], str]:
        """What its parser makes of a call that was cut: the steps in its place, and the finish reason."""
        ...

    def finish_reason(self, reason: str, chat: ChatRequest, *, called: bool, streamed: bool) -> str:
        """The finish reason as it is written; `called` is whether there are tool calls."""
        ...

    def split(self, step: Step) -> Iterable[Step]:
        """A step as its detokeniser makes it."""
        ...

    def last_logprobs(self, entry: dict[str, Any]) -> tuple[dict[str, Any], ...] | None:
        """The log-probabilities of the token that ended the answer, if it tells them."""
        ...

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

    def last(self, ending: Ending, step: Step | None) -> dict[str, Any]:
        """The choice that carries the finish reason, and the last delta where it rides on that."""
        ...


def is_finaliser(delta: ToolCallDelta) -> bool:
    """Whether a delta is empty, and so closes its call; some of the service's models send one."""
    return delta.id is None and delta.name is None and not delta.arguments


def logprobs_object(entries: Any) -> dict[str, Any] | None:
    """The `logprobs` of a choice; None without entries."""
    return {"content": list(entries)} if entries is not None else None
