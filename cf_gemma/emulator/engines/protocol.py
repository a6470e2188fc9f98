"""What an engine is, and the events it yields: the emulator puts them on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from cf_gemma.emulator.chat import ChatRequest
    from cf_gemma.model.completion import Delta


@runtime_checkable
class Engine(Protocol):
    """Something that answers chat requests.

    An engine knows nothing of HTTP, dialects or envelopes. To refuse, it raises `faults.Refusal`: before its first
    event that becomes an HTTP error, later an error event in the stream.
    """

    @property
    def name(self) -> str:
        """What really answers, for people to read: a script, or the file name of a model."""
        ...

    def generate(self, request: ChatRequest, cancelled: threading.Event) -> Iterator[Event]:
        """One Opening, then Steps, then an Ending for each of `request.n` choices.

        Runs in a worker thread, several at once. When `cancelled` is set nobody listens any more: stop soon.
        """
        ...

    def close(self) -> None:
        """Frees what the engine holds. The one who made the engine calls this, not the emulator."""
        ...


@dataclass(frozen=True, slots=True)
class Opening:
    """The prompt was read; the answer begins."""

    prompt_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """A delta, and what making it took."""

    delta: Delta
    tokens: int = 1
    logprobs: tuple[dict[str, Any], ...] | None = None
    """Chat-completions `logprobs.content` entries, one a token, when the request asked for them."""
    last: bool = False
    """Whether `max_tokens` ends the choice with it. An engine that can't know leaves it."""
    as_reasoning: bool = False
    """Whether a server that takes what stands in no channel of its own for a thought would do so."""


@dataclass(frozen=True, slots=True)
class Ending:
    """A choice is complete."""

    finish_reason: str
    tokens: int = 0
    """Completion tokens that no step counted, such as the end-of-turn token."""
    stop: str | int | None = None
    """What ended the choice, if an engine knows it: a stop string. The back-ends add the numbers of tokens."""
    choice: int = 0
    logprobs: tuple[dict[str, Any], ...] | None = None
    """Those of the token that ended it, where a back-end tells them."""


Event = Opening | Step | Ending
