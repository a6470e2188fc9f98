"""What is timed: so many calls of one kind, in one process, at one go."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from benchmarks.scenarios import Scenario


@dataclass(frozen=True)
class Sample:
    """One thing to do, and how often. Its cost is divided by `units`."""

    action: Literal["stream", "call", "first"]
    """Read a stream; get a whole answer; read a stream, and time its first text only."""
    scenario: Scenario
    is_async: bool = False
    repeat: int = 1
    """Calls one after the other."""
    at_once: int = 1
    """Streams at the same time, in one event loop."""
    max_tokens: int | None = None
    """Of `call`: with few, the answer isn't streamed on the wire."""
    history: Literal["question", "new picture", "same picture"] = "question"
    """What is sent: one question; forty messages with a picture never sent before; forty that were sent already."""
    observed: bool = False
    """Whether an event handler of LlamaIndex listens."""

    @property
    def units(self) -> int:
        """Events read, or answers where they are counted whole."""
        return self.repeat * self.at_once * (self.scenario.units if self.action == "stream" else 1)

    @property
    def name(self) -> str:
        """What sets it apart from the other samples of its row."""
        delay = f" after {self.scenario.delay} ms" if self.scenario.delay else ""
        return ("async" if self.is_async else "sync") + delay

    def to_json(self) -> dict[str, Any]:
        """As sent to a worker."""
        return asdict(self)

    @classmethod
    def of(cls, data: dict[str, Any]) -> Sample:
        """As received by a worker."""
        return cls(**{**data, "scenario": Scenario(**data["scenario"])})
