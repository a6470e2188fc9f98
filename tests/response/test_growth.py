"""What a server sends costs no more than in proportion to its length, in work and in memory."""

from __future__ import annotations

import signal
import sys
import tracemalloc
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from cf_gemma.errors import GemmaError, ProtocolError, ResponseTooLarge
from cf_gemma.request.fitting import fits
from cf_gemma.request.http_request import HttpRequest
from cf_gemma.response.answer import AnswerBuilder
from cf_gemma.response.reception import Reception
from cf_gemma.response.refusals import api_error
from cf_gemma.response.tool_calls import CALLS, ToolCallAssembler
from cf_gemma.structured import unfenced
from tests.response.wire import sse, streaming, text_chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import FrameType

MIB = 1 << 20
UUID = "(01234567-89ab-4cde-8f01-23456789abcd)"


def stream_of(pieces: list[str]) -> None:
    """Reads a stream of texts."""
    stream = streaming()
    for piece in pieces:
        list(stream.feed(sse([{"choices": [{"delta": {"content": piece}}]}], done=False)))
    list(stream.feed(sse([text_chunk("", "stop")])))
    stream.close()
    stream.result()


def calls_of(pieces: list[dict[str, Any]]) -> None:
    """Assembles these pieces of tool calls."""
    assembler = ToolCallAssembler()
    for piece in pieces:
        list(assembler.feed([piece], "a"))
    assembler.close(cut=False)


def piece(arguments: str, **fields: Any) -> dict[str, Any]:
    """A piece of a tool call."""
    return {"function": {"name": "f", "arguments": arguments}, **fields}


def unknown(pieces: list[str]) -> None:
    """Reads pieces of a field yet unknown."""
    answer = AnswerBuilder()
    for one in pieces:
        answer.add({"choices": [{"delta": {"refusal": one}}]}, [])
    answer.completion()


GROWING: dict[str, Callable[[int], object]] = {
    "blanks in an error": lambda n: api_error("a" + " " * n + "b", {}),
    "blanks before an id that is none": lambda n: api_error(" " * n + UUID[:-1], {}),
    "digits in an error": lambda n: api_error("12345 " * n, {}),
    "a call in pieces that repeat its id": lambda n: calls_of([piece("{", id="a", index=0)] * n),
    "a call in pieces that begin anew": lambda n: calls_of([piece('{"a":[', index=0), *[piece("{}", index=0)] * n]),
    "a call in pieces that look whole": lambda n: calls_of([piece("{b}", index=0)] * n),
    "a call in pieces with other ids": lambda n: calls_of([piece("{", id=f"c{i}", index=0) for i in range(n)]),
    "an escape in pieces": lambda n: calls_of([piece('{"a":"', index=0), *[piece("\\", index=0)] * n]),
    "calls without an index": lambda n: calls_of([piece("{}", id=f"c{i}") for i in range(n)]),
    "calls with one id": lambda n: calls_of([piece("{}", id="c", index=i) for i in range(n)]),
    "a call of the model's in pieces": lambda n: stream_of(["<|tool_call>call:f{", *["a" * 50] * n]),
    "a thought that began unseen": lambda n: stream_of(["thought\n", *["a" * 50] * n]),
    "blanks in front": lambda n: stream_of([" " * 20] * n),
    "marks in one piece": lambda n: stream_of(["<|turn>a" * n]),
    "marks in pieces": lambda n: stream_of(["<|turn>a<"] * n),
    "thoughts in one piece": lambda n: stream_of(["<|channel>thought\na<channel|>b" * n]),
    "thoughts that are cut": lambda n: stream_of(["<|channel>tho"] * n),
    "an unknown text in pieces": lambda n: unknown(["a" * 50] * n),
    "a fence": lambda n: unfenced("```json\n{" + " " * n + "}\n```" + " " * n + "`"),
    "a pattern": lambda n: fits("a" * n + "!", {"type": "string", "pattern": "^(a+)+$"}),
}


def lines(run: Callable[[], object]) -> int:
    """Lines of Python that are run."""
    count = 0

    def trace(_: FrameType, event: str, __: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
    return count


@contextmanager
def cpu(seconds: float) -> Generator[None, None, None]:
    """Raises TimeoutError when what is within takes more of the processor: loops within C can't be counted."""

    def over(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGVTALRM, over)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@pytest.mark.parametrize("name", GROWING)
def test_work_grows_with_the_input(name: str) -> None:
    """Each doubling of the input doubles the lines of Python that are run, at most."""
    parse = GROWING[name]
    parse(10)
    once, twice, four = (lines(lambda n=n: parse(n)) for n in (100, 200, 400))
    assert twice - once <= 1.1 * once + 50
    assert four - twice <= 2.1 * (twice - once) + 50


@pytest.mark.skipif(
    not hasattr(signal, "setitimer"), reason="Windows has no such timer: docs.python.org/3/library/signal.html"
)
@pytest.mark.parametrize("name", GROWING)
def test_nothing_within_c_grows_faster(name: str) -> None:
    """What takes a fraction of a second takes no ten of them: with a square in it, it would be many minutes."""
    with cpu(10), suppress(GemmaError):
        GROWING[name](LARGE.get(name, 30_000))


LARGE = {
    **dict.fromkeys(("blanks in an error", "blanks before an id that is none", "digits in an error"), 200_000),
    **dict.fromkeys(("marks in one piece", "thoughts in one piece"), 100_000),
    **dict.fromkeys(("a fence", "a pattern"), 500_000),
}
"""Sizes where the default would be too small to tell."""

HEAVY: dict[str, bytes] = {
    "objects": b"{}",
    "arrays": b"[]",
    "short objects": b'{"a":0}',
    "numbers": b"300",
    "texts": b'"abc"',
}


def peak(run: Callable[[], object]) -> float:
    """MiB that were in use at once."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1] / MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("value", HEAVY.values(), ids=HEAVY)
@pytest.mark.parametrize("place", ['{"choices":[%b]}', '{"choices":[{"message":{"content":"a","more":[%b]}}]}'])
def test_a_reply_of_many_values(place: str, value: bytes) -> None:
    """A reply is refused by what it would take in memory, not by its bytes alone."""
    many = value + (b"," + value) * (7 * MIB // (len(value) + 1))
    body = place.encode().replace(b"%b", many)
    request = HttpRequest("https://x.test", {}, b"", stream=False)

    reception = Reception.of_answer(request, 200, {"content-type": "application/json"}, now=0)

    def receive() -> None:
        list(reception.feed(body))
        with pytest.raises(ProtocolError):
            list(reception.close())

    assert peak(receive) < 4 * 8


ENDLESS: dict[str, Callable[[int], dict[str, Any]]] = {
    "choices": lambda n: {"index": n, "delta": {"content": "a"}},
    "an unknown text": lambda _: {"delta": {"more": "a" * 1_000}},
    "an unknown list": lambda _: {"delta": {"more": [{}] * 500}},
    "an unknown field that changes": lambda n: {"delta": {}, "more": [{}] * 500 + [n]},
    "unknown fields": lambda n: {"delta": {f"more{n}": "a" * 1_000}},
    "log probabilities": lambda _: {"delta": {"content": "a"}, "logprobs": {"content": [{}] * 500}},
    "token ids": lambda _: {"delta": {"content": "a"}, "token_ids": [300] * 500},
    "calls": lambda n: {"delta": {"tool_calls": [{"index": n, "function": {"name": "f"}}]}},
    "usage": lambda n: {"delta": {"content": "a"}, "usage": {"more": [{}] * 500 + [n]}},
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_stream_that_goes_on(name: str) -> None:
    """What a stream may add to an answer is capped, whatever it is, and what had arrived is in the error."""
    event = ENDLESS[name]
    stream = streaming(limit=16_384)

    def receive() -> None:
        with suppress(ResponseTooLarge):
            for n in range(20_000):
                list(stream.feed(sse([{"choices": [event(n)]}], done=False)))

    assert peak(receive) < 40
    assert stream.partial() is not None


def test_calls_are_counted() -> None:
    """So many calls, and no more."""
    with pytest.raises(ResponseTooLarge, match=str(CALLS)):
        calls_of([piece("{}", index=n) for n in range(CALLS + 1)])


def test_choices_that_nobody_asked_for() -> None:
    """A choice beyond those asked for is refused, in a stream and in one piece; those asked for are taken."""
    two = sse([text_chunk("a", "stop", 0), text_chunk("b", "stop", 1)])
    with pytest.raises(ResponseTooLarge, match="choices"):
        list(streaming().feed(two))
    assert len(list(streaming(choices=2).feed(two))) == 2
