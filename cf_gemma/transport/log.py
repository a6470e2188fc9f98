"""What is worth a line in the log. Neither bodies nor addresses are: they have secrets and other people's words."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cf_gemma.model.completion import ANSWER_IN_REASONING
from cf_gemma.structured import budget_exceeded

if TYPE_CHECKING:
    from cf_gemma.model.completion import Completion
    from cf_gemma.transport.flow import Sleep

_log = logging.getLogger("cf_gemma")


def retry(step: Sleep) -> None:
    """A request is about to be sent again."""
    _log.info("sending again in %.2f s after attempt %d: %s", step.seconds, step.attempt, type(step.reason).__name__)


def completed(completion: Completion) -> None:
    """An answer is whole; a warning when thinking left no room for it."""
    if any(choice.extra.get(ANSWER_IN_REASONING) for choice in completion.choices):
        _log.warning("the server filed the whole answer under reasoning; it is the text, too")
    if completion.thought_only:
        _log.warning("%s", budget_exceeded(completion).message)
