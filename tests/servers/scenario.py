"""A request, the words of the answers to it, and what must come of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.faults.faces import FACES

if TYPE_CHECKING:
    from tests.faults.faces import Prompt, Said

Call = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """What a user gets."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[Call, ...] = ()
    """The valid ones."""
    invalid: int = 0
    """How many calls must not be executed."""
    reason: str | None = None
    """The finish reason, where it matters."""
    error: type[Exception] | None = None
    """What is raised in place of an answer."""
    by: str | None = None
    """The only server of which it may come; None for any."""

    def is_met(self, got: Said | Exception) -> bool:
        """Whether this is what came."""
        if isinstance(got, Exception):
            return self.error is not None and isinstance(got, self.error)
        same = (got.text, got.reasoning.strip(), tuple(got.calls), got.invalid)
        return self.reason in (None, got.reason) and same == (self.text, self.reasoning, self.calls, self.invalid)


@dataclass(frozen=True)
class Scenario:
    """Without thinking, unless the options say so."""

    name: str
    words: tuple[str, ...]
    """Of each answer; the last one is said again and again."""
    outcomes: tuple[Outcome, ...]
    """The first is what should come. Others may, too, because of what a server does."""
    prompt: Prompt = "What is the weather in Paris?"
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    limits: tuple[int, ...] = ()
    """Values of `max_tokens`, each of which is tried."""
    faces: tuple[str, ...] = tuple(FACES)
    servers: tuple[str, ...] = ("vLLM", "SGLang")
    """Those that can show it."""

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The options of each request."""
        options = {"thinking": False, **self.options}
        return [{**options, "max_tokens": limit} for limit in self.limits] or [options]
