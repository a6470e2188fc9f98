"""Tool calls in the order in which they began. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cf_gemma import ToolCallDelta

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cf_gemma import InvalidToolCall, ToolCall


class CallOrder:
    """Holds the deltas of a call back until all calls that began before it are shown.

    A call is told once its name is known, and LangChain keeps calls in the order in which they are first shown, which
    must be the one in which a whole answer has them.
    """

    def __init__(self) -> None:
        self._shown = 0
        self._held: dict[int, list[ToolCallDelta]] = {}

    def of(self, delta: ToolCallDelta) -> list[ToolCallDelta]:
        """The deltas to show now that this one has come."""
        if delta.index < self._shown:
            return [delta]
        self._held.setdefault(delta.index, []).append(delta)
        released: list[ToolCallDelta] = []
        while self._shown in self._held:
            released += self._held.pop(self._shown)
            self._shown += 1
        return released

    def rest(self, calls: Iterable[ToolCall | InvalidToolCall]) -> list[ToolCallDelta]:
        """The deltas to show at the answer's end, where all calls are known: those that never got a name, too."""
        for index, call in enumerate(calls):
            if index >= self._shown and index not in self._held:
                self._held[index] = [ToolCallDelta(index, call.id, call.name, call.arguments)]
        return [delta for index in sorted(self._held) for delta in self._held[index]]
