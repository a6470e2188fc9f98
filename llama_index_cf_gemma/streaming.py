"""Streams that have begun when they are handed out: errors come at the call, closing one closes its connection."""

from __future__ import annotations

from contextlib import aclosing, closing
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from cf_gemma import Completion
    from cf_gemma.completion import Delta

    Pieces = Delta | Completion
R = TypeVar("R")
"""A response of the framework's."""


def primed(pieces: Generator[Pieces, None, None], translate: Callable[[Pieces], R | None]) -> Generator[R, None, None]:
    """The pieces, translated. The first has come when this returns, so a request that fails raises here."""

    def responses() -> Generator[R | None, None, None]:
        with closing(pieces):
            piece = next(pieces)
            yield None
            while piece is not None:
                response = translate(piece)
                if response is not None:
                    yield response
                piece = next(pieces, None)

    stream = responses()
    next(stream)
    return cast("Generator[R, None, None]", stream)


async def aprimed(
    pieces: AsyncGenerator[Pieces, None], translate: Callable[[Pieces], R | None]
) -> AsyncGenerator[R, None]:
    """The same, asynchronous."""

    async def responses() -> AsyncGenerator[R | None, None]:
        async with aclosing(pieces):
            piece = await anext(pieces)
            yield None
            while piece is not None:
                response = translate(piece)
                if response is not None:
                    yield response
                piece = await anext(pieces, None)

    stream = responses()
    await anext(stream)
    return cast("AsyncGenerator[R, None]", stream)
