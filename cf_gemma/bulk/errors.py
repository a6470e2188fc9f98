"""What keeps a job from beginning. Nothing has been sent then, and no file has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cf_gemma.errors import GemmaError, InvalidRequest

if TYPE_CHECKING:
    from pathlib import Path


class BulkError(GemmaError):
    """The input, the output or a setting of a job can't be used."""


class OutputBroken(BulkError):
    """The output can't be written any more, or somebody else has deleted, moved or changed it while the job ran."""


class OutputExists(BulkError):
    """There is an output already, and the job doesn't say what to do with it."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} exists: pass existing='resume' to continue it, or 'overwrite' to start again")
        self.path = path


class QueueHoldsRows(BulkError):
    """The service's queue still has rows of the output; sent live, they would be paid for twice."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} says that the queue has rows of this output, which would be paid for twice: "
            "pass mode='queue' to continue with them, or existing='overwrite' to start again"
        )
        self.path = path


def of_row(error: Exception) -> GemmaError:
    """Whatever goes wrong with a row, as an error that can stand in its line: it ends nothing but the row."""
    return error if isinstance(error, GemmaError) else InvalidRequest(f"{type(error).__name__}: {error}")
