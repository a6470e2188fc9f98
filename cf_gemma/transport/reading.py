"""An answer while it is read. Pure: chunks of the body in; deltas, and last the Completion, out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cf_gemma import log
from cf_gemma.reception import StallWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cf_gemma.completion import Completion, Delta
    from cf_gemma.reception import Reception

    Items = Iterable[Delta | Completion]


class Reading:
    """Decides what a chunk means, and when enough has come.

    What `feed` and `end` return is a list, or an iterator where something must be unpacked or raised on the way; it is
    empty (and false) where nothing was said. Every error comes after all that was said before it.
    """

    def __init__(self, reception: Reception, timeout: float | None, clock: Callable[[], float]) -> None:
        """`timeout` is seconds without a word before the answer is given up; `clock` gives seconds."""
        self.reception = reception
        self.ended = False
        """Whether `end` was called: there is nothing more to come."""
        self._clock = clock
        self._watch = StallWatch(timeout, clock())

    def over(self) -> bool:
        """Whether the rest of the body doesn't matter. Raises StreamTimeout for an answer that has stalled."""
        return self.reception.done or self._watch.over(self.reception, self._clock())

    def feed(self, chunk: bytes) -> Items:
        """What this chunk says."""
        return self.reception.feed(chunk)

    def end(self) -> Items:
        """What the end of the body says: the Completion, at least. Nothing the second time."""
        if self.ended:
            return ()
        self.ended = True
        return self._last()

    def _last(self) -> Iterator[Delta | Completion]:
        yield from self.reception.close()
        completion = self.reception.completion()
        log.completed(completion)
        yield completion


def begun(items: Items) -> Items:
    """The same items, with the first one at hand: an error that comes before it is raised here. () when none comes."""
    if isinstance(items, list | tuple):
        return items
    iterator = iter(items)
    for first in iterator:
        return _after(first, iterator)
    return ()


def _after(first: Delta | Completion, rest: Iterator[Delta | Completion]) -> Iterator[Delta | Completion]:
    yield first
    yield from rest
