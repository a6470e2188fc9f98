"""Primed streams: begun when they are handed out, closed whenever they end."""

import inspect
from collections.abc import AsyncGenerator, Generator

import pytest

from cf_gemma import Choice, Completion, TextDelta
from llama_index_cf_gemma.streaming import aprimed, primed

END = Completion((Choice(text="ab", finish_reason="stop"),))


def pieces() -> Generator[TextDelta | Completion, None, None]:
    """A stream as cf_gemma gives it."""
    yield TextDelta("a")
    yield TextDelta("b")
    yield END


async def apieces() -> AsyncGenerator[TextDelta | Completion, None]:
    """The same, asynchronous."""
    for piece in pieces():
        yield piece


def upper(piece: object) -> str | None:
    """Shows text only."""
    return piece.text.upper() if isinstance(piece, TextDelta) else None


def refuse(piece: object) -> str | None:
    """Finds the first text unbearable."""
    raise ValueError(piece)


def test_everything_comes_through() -> None:
    """In order, without what shows nothing."""
    assert list(primed(pieces(), upper)) == ["A", "B"]


async def test_everything_comes_through_async() -> None:
    """The same, asynchronous."""
    assert [text async for text in await aprimed(apieces(), upper)] == ["A", "B"]


def test_the_first_piece_has_come() -> None:
    """The source has been asked once, and no more, when the call returns; its error comes there too."""
    asked: list[str] = []

    def source() -> Generator[TextDelta, None, None]:
        for text in "ab":
            asked.append(text)
            yield TextDelta(text)

    stream = primed(source(), upper)
    assert asked == ["a"]
    assert list(stream) == ["A", "B"]

    def failing() -> Generator[TextDelta, None, None]:
        raise ValueError("refused")
        yield TextDelta("")

    with pytest.raises(ValueError, match="refused"):
        primed(failing(), upper)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_leaving_closes_the_source(steps: int) -> None:
    """Whoever else holds it, and however far it was read."""
    source = pieces()
    stream = primed(source, upper)
    for _ in range(steps):
        next(stream)
    stream.close()
    assert inspect.getgeneratorstate(source) == inspect.GEN_CLOSED


@pytest.mark.parametrize("steps", [0, 1, 2])
async def test_leaving_closes_the_source_async(steps: int) -> None:
    """The same, asynchronous."""
    source = apieces()
    stream = await aprimed(source, upper)
    for _ in range(steps):
        await anext(stream)
    await stream.aclose()
    assert source.ag_frame is None


def test_an_error_of_the_translation_closes_the_source() -> None:
    """Even while the error, and with it the frame, is still held."""
    source = pieces()
    with pytest.raises(ValueError, match="a"):
        next(primed(source, refuse))
    assert inspect.getgeneratorstate(source) == inspect.GEN_CLOSED


async def test_an_error_of_the_translation_closes_the_source_async() -> None:
    """The same, asynchronous."""
    source = apieces()
    stream = await aprimed(source, refuse)
    with pytest.raises(ValueError, match="a"):
        await anext(stream)
    assert source.ag_frame is None
