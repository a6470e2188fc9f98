"""A logits processor for vLLM that makes a model say what the script says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from script import Script
from vllm.v1.sample.logits_processor import LogitsProcessor, MoveDirectionality

if TYPE_CHECKING:
    import torch
    from vllm.v1.sample.logits_processor import BatchUpdate


class ScriptedWords(LogitsProcessor):
    """Raises the next token of each request far above all others; what a grammar forbids stays forbidden."""

    def __init__(self, *_: Any) -> None:
        self._script = Script()
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
            self._requests[place] = (self._script.next(), output)
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
