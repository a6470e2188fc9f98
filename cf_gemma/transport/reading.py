"""An answer while it is read. Pure: chunks of the body in; deltas, and last the Completion, out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cf_gemma.model.completion import Completion
from cf_gemma.transport import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cf_gemma.model.completion import Delta, Usage
    from cf_gemma.response.reception import Reception

    Items = Iterable[Delta | Completion]


class Reading:
    """Decides what a chunk means, and when enough has come.

    What `feed` and `end` return is a list, or an iterator where something must be unpacked or raised on the way; it is
    empty (and false) where nothing was said. Every error comes after all that was said before it.
    """

    def __init__(self, reception: Reception[Any], timeout: float | None, clock: Callable[[], float]) -> None:
        """`timeout` is seconds without a word before the answer is given up; `clock` gives seconds."""
        self.reception = reception
        self.feed: Callable[[bytes], Items] = reception.feed
        """What a chunk says."""
        self.ended = False
        """Whether `end` was called: there is nothing more to come."""
        self._completion: Completion | None = None
        self._timeout = timeout
        self._clock = clock
        self._since = clock()
        self._progress = 0

    def over(self) -> bool:
        """Whether the rest of the body doesn't matter.

        Raises StreamTimeout for an answer that goes on and says nothing: what keeps a connection alive isn't words.
        """
        reader, now = self.reception.reader, self._clock()
        if (progress := reader.progress) != self._progress:
            self._progress, self._since = progress, now
        elif self._timeout is not None and now - self._since > self._timeout:
            if not reader.finished:
                raise reader.silent(self._timeout)
            return True
        return reader.done

    def usage(self) -> Usage | None:
        """What was used, as far as it was reported."""
        completion = self._completion or self.reception.reader.partial()
        return completion.usage if completion is not None else None

    def end(self) -> Items:
        """What the end of the body says: the Completion, at least. Nothing the second time."""
        if self.ended:
            return ()
        self.ended = True
        return self._last()

    def _last(self) -> Iterator[Any]:
        yield from self.reception.close()
        result = self.reception.result()
        if isinstance(result, Completion):
            self._completion = result
            log.completed(result)
        yield result


def begun(items: Items) -> tuple[Any, Items]:
    """The first item and all items: an error that comes before it is raised here. None and () when none comes."""
    iterator = iter(items)
    for first in iterator:
        return first, items if isinstance(items, list | tuple) else _after(first, iterator)
    return None, ()


def _after(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest
