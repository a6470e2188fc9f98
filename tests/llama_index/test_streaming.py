"""Primed streams: begun when they are handed out, closed whenever they end."""

import asyncio
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


async def test_throwing_into_a_stream_closes_the_source() -> None:
    """The error comes back out, and nothing more after it."""
    source = apieces()
    stream = await aprimed(source, upper)
    with pytest.raises(KeyError):
        await stream.athrow(KeyError("thrown"))
    assert source.ag_frame is None
    assert [text async for text in stream] == []


def test_a_loop_that_ends_before_its_stream(caplog: pytest.LogCaptureFixture) -> None:
    """The loop closes the source, and has nothing to complain of; in which order it closes things is chance."""

    async def source() -> AsyncGenerator[TextDelta, None]:
        try:
            yield TextDelta("a")
            yield TextDelta("b")
        finally:
            await asyncio.sleep(0)

    async def leave() -> object:
        stream = await aprimed(source(), upper)
        await anext(stream)
        return stream

    for _ in range(20):
        asyncio.run(leave())
    assert caplog.records == []


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
