"""Streams that have begun when they are handed out: errors come at the call, closing one closes its connection."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar, cast

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from cf_gemma import Completion, Delta

    Pieces = Delta | Completion
R = TypeVar("R")
"""A response of the framework's."""


def primed(pieces: Generator[Pieces, None, None], translate: Callable[[Pieces], R | None]) -> Generator[R, None, None]:
    """The pieces, translated. The first has come when this returns, so a request that fails raises here."""

    def responses() -> Generator[R | None, None, None]:
        with closing(pieces):
            first = next(pieces)
            yield None
            for piece in chain((first,), pieces):
                response = translate(piece)
                if response is not None:
                    yield response

    stream = responses()
    next(stream)
    return cast("Generator[R, None, None]", stream)


async def aprimed(
    pieces: AsyncGenerator[Pieces, None], translate: Callable[[Pieces], R | None]
) -> AsyncGenerator[R, None]:
    """The same, asynchronous."""
    return _Responses(pieces, translate, await anext(pieces))


class _Responses(AsyncGenerator[R, None]):
    """The translated pieces; no generator function, which would be one more for an event loop to know of.

    A loop that shuts down closes the generators that are left all at once, and logs an error for one that is then
    being closed by another around it.
    """

    def __init__(self, pieces: AsyncGenerator[Pieces, None], translate: Callable[[Pieces], R | None], first: Pieces):
        self._pieces = pieces
        self._translate = translate
        self._first: Pieces | None = first

    @override
    async def asend(self, value: None) -> R:
        while True:
            piece, self._first = self._first or await anext(self._pieces), None
            try:
                response = self._translate(piece)
            except BaseException:  # whatever it is goes on: the connection must not stay open behind it
                await self.aclose()
                raise
            if response is not None:
                return response

    @override
    async def athrow(self, typ: Any, val: Any = None, tb: Any = None, /) -> R:
        await self.aclose()
        raise typ if val is None else val

    @override
    async def aclose(self) -> None:
        self._first = None
        await self._pieces.aclose()
