"""Makes a model say what a file says: a logits processor for vLLM, in whose Python it runs. Imports nothing of ours.

The file of the environment variable SCRIPTED_WORDS holds the numbers of the tokens of each answer, `[[…], […]]`. Each
request takes the next one, and the last one over and over; a file that was replaced begins anew.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vllm.v1.sample.logits_processor import LogitsProcessor, MoveDirectionality

if TYPE_CHECKING:
    import torch
    from vllm.v1.sample.logits_processor import BatchUpdate


class ScriptedWords(LogitsProcessor):
    """Raises the next token of each request far above all others; what a grammar forbids stays forbidden."""

    def __init__(self, *_: Any) -> None:
        self._file = Path(os.environ["SCRIPTED_WORDS"])
        self._script: tuple[int, list[list[int]]] = (0, [])
        self._requests: dict[int, tuple[list[int], list[int]]] = {}
        """By place in the batch: what is to be said, and what was."""

    def is_argmax_invariant(self) -> bool:
        """It isn't: the argmax is what it sets."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follows the requests that come, go and move."""
        if batch_update is None:
            return
        for place in batch_update.removed:
            self._requests.pop(place, None)
        for place, _, _, output in batch_update.added:
            self._requests[place] = (self._next(), output)
        for here, there, direction in batch_update.moved:
            moved, other = self._requests.pop(here, None), self._requests.pop(there, None)
            if moved:
                self._requests[there] = moved
            if other and direction is MoveDirectionality.SWAP:
                self._requests[here] = other

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Says the next token; the last one, which ends the answer, over and over."""
        for place, (tokens, output) in self._requests.items():
            logits[place, tokens[min(len(output), len(tokens) - 1)]] += 1000
        return logits

    def _next(self) -> list[int]:
        version, answers = self._file.stat().st_mtime_ns, self._script[1]
        if version != self._script[0]:
            answers = json.loads(self._file.read_bytes())
        self._script = version, answers[1:] or answers
        return answers[0]
