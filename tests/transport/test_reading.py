"""When enough of an answer has come, decided without a network or a clock."""

from __future__ import annotations

import pytest

from cf_gemma import errors as e
from cf_gemma.model.completion import Completion, TextDelta
from cf_gemma.request.http_request import HttpRequest
from cf_gemma.response.reception import Reception
from cf_gemma.transport.reading import Reading, begun
from tests.response.wire import sse, text_chunk

REQUEST = HttpRequest("https://x.test", {}, b"", stream=True)


class Clock:
    """Seconds, as a test sets them."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def reading(kind: str = "text/event-stream", timeout: float | None = 10.0) -> tuple[Reading, Clock]:
    """An answer of this content type, about to be read."""
    clock = Clock()
    return Reading(Reception.of_answer(REQUEST, 200, {"content-type": kind}, now=0.0), timeout, clock), clock


EMPTY = [{"choices": []}, {"choices": [{"delta": {"content": ""}}]}, {"choices": [{"delta": {"role": "assistant"}}]}]


@pytest.mark.parametrize(
    ("kind", "words", "noise"),
    [
        ("text/event-stream", sse([text_chunk("a")], done=False), b": ping\n\n" + sse(EMPTY, done=False)),
        ("application/json", b"{", b""),
    ],
)
def test_an_answer_that_stalls(kind: str, words: bytes, noise: bytes) -> None:
    """Only what says something sets the clock back, a body's bytes too."""
    answer, clock = reading(kind)
    for clock.now, fed in ((10.0, words), (15.0, noise), (25.0, b"")):
        assert not answer.over()
        list(answer.feed(fed))
    clock.now = 25.1
    with pytest.raises((e.StreamTimeout, e.RequestTimeout), match="10 s"):
        answer.over()
    list(answer.feed(words))
    clock.now = 99.0
    assert not answer.over()


def test_without_a_limit_nothing_stalls() -> None:
    """`timeout=None` waits for ever."""
    answer, clock = reading(timeout=None)
    clock.now = 1e9
    assert not answer.over()


@pytest.mark.parametrize(
    "chunk",
    [{"choices": [{"delta": {}, "token_ids": [7]}]}, {"choices": [{"delta": {"mood": "x"}}]}, {"usage": {"n": 1}}],
)
def test_what_is_no_delta_is_progress_too(chunk: dict[str, object]) -> None:
    """A model that says anything is at work, though there is nothing of it to hand out."""
    answer, clock = reading()
    list(answer.feed(sse([chunk], done=False)))
    clock.now = 11.0
    assert not answer.over()


def test_a_whole_answer_is_not_given_up() -> None:
    """A stream that goes silent after its finish reason is over, and no error."""
    answer, clock = reading()
    list(answer.feed(sse([text_chunk("a", "stop")], done=False)))
    clock.now = 1.0
    assert not answer.over()
    clock.now = 11.1
    assert answer.over()
    assert next(item for item in answer.end() if isinstance(item, Completion)).text == "a"
    assert list(answer.end()) == []


def test_an_error_comes_after_the_words_before_it() -> None:
    """What was said before an error event is handed out, and then the error is raised, with all of it."""
    answer, _ = reading()
    items = iter(answer.feed(sse([text_chunk("a"), {"errors": [{"code": 3040, "message": "full"}]}], done=False)))
    assert next(items) == TextDelta("a")
    with pytest.raises(e.CapacityExceeded) as caught:
        next(items)
    assert caught.value.partial is not None
    assert caught.value.partial.text == "a"


def test_a_beginning() -> None:
    """The first item is at hand, an error before it is raised at once, and nothing is lost or read twice."""

    def failing() -> object:
        raise e.StreamTimeout("nothing came")
        yield

    first, items = begun(iter([1, 2, 3]))
    assert (first, list(items)) == (1, [1, 2, 3])
    assert begun(iter([])) == (None, ())
    with pytest.raises(e.StreamTimeout):
        begun(failing())
