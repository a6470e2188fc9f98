"""What is known of a batch: the handle that finds it again, how far it is, and what came of each of its requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic_core import from_json, to_json

from cf_gemma.errors import GemmaError, InvalidRequest, Resumable
from cf_gemma.model.facts import MODEL
from cf_gemma.model.json_object import as_object

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from cf_gemma.model.completion import Completion


@dataclass(frozen=True, slots=True)
class BatchPart:
    """One of the requests that a batch was cut into, none of which may be larger than 10 MB."""

    request_id: str
    references: tuple[str, ...] | None = None
    """The `external_reference` of each item, in order; None when only the request id is known."""


@dataclass(frozen=True, slots=True)
class BatchHandle:
    """A batch that was handed over. Keep `to_json()`, and any process can collect it, now or after a restart."""

    parts: tuple[BatchPart, ...]
    model: str = MODEL

    def __len__(self) -> int:
        """How many items it has, as far as that is known."""
        return sum(len(part.references or ()) for part in self.parts)

    def to_json(self) -> str:
        """The handle as one line of JSON."""
        parts = [{"request_id": part.request_id, "references": part.references} for part in self.parts]
        return to_json({"model": self.model, "parts": parts}).decode()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The handle that `to_json` wrote. Raises InvalidRequest for anything else."""
        try:
            fields = as_object(from_json(text))
            parts = cast("list[dict[str, Any]]", (fields or {})["parts"])
            return cls(tuple(_part(part) for part in parts), str((fields or {})["model"]))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InvalidRequest("not a batch handle: pass what BatchHandle.to_json() wrote, or a request id") from None

    @classmethod
    def of(cls, batch: Resumable | str, model: str = MODEL) -> BatchHandle:
        """A handle from a handle, its JSON, or the request id of a batch that was submitted elsewhere."""
        if isinstance(batch, BatchHandle):
            return batch
        text = (batch if isinstance(batch, str) else batch.to_json()).strip()
        if text.startswith("{"):
            return cls.from_json(text)
        if not text:
            raise InvalidRequest("the batch's id is empty")
        return cls((BatchPart(text),), model)


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """How far a batch is."""

    states: tuple[str, ...]
    """Of each part: `queued`, `running`, `done`, or a word of the service's that this version doesn't know."""

    @property
    def state(self) -> Literal["queued", "running", "done"]:
        """Of the whole: `done` when every part is, `queued` when none has begun."""
        if all(state == "done" for state in self.states):
            return "done"
        return "queued" if all(state == "queued" for state in self.states) else "running"


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What came of one item."""

    reference: str
    """Its `external_reference`: the caller's own, or its place in the batch, from "0"."""
    outcome: Completion | GemmaError

    @property
    def completion(self) -> Completion:
        """The answer. Raises the GemmaError that came instead."""
        if isinstance(self.outcome, GemmaError):
            raise self.outcome
        return self.outcome

    @property
    def error(self) -> GemmaError | None:
        """Why there is no answer; None when there is one."""
        return self.outcome if isinstance(self.outcome, GemmaError) else None


def _part(fields: dict[str, Any]) -> BatchPart:
    references: Sequence[str] | None = fields["references"]
    return BatchPart(str(fields["request_id"]), None if references is None else tuple(map(str, references)))
