from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_gemma.errors import ResponseTooLarge
from cf_gemma.response.events import Event, EventDecoder


def decode(*chunks: bytes, limit: int = 1 << 20) -> list[Event]:
    """The events of a stream that comes in these chunks; an unfinished last one doesn't count."""
    decoder = EventDecoder(limit)
    return [event for chunk in chunks for event in decoder.feed(chunk)]


def data(*texts: str) -> list[Event]:
    """Events of type message."""
    return [(text.encode(), b"message") for text in texts]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        # The examples of WHATWG HTML, 9.2.6.
        ("data: YHOO\ndata: +2\ndata: 10\n\n", data("YHOO\n+2\n10")),
        (": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
         data("first event", "second event", " third event")),
        ("data\n\ndata\ndata\n\ndata:", data("", "\n")),
        ("data:test\n\ndata: test\n\n", data("test", "test")),
        ("event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n",
         [(b"73857293", b"add"), (b"2153", b"remove")]),
        # What else its grammar allows.
        ("event: lonely\n\ndata: a\n\n", data("a")),
        ("event: first\nevent: second\ndata: a\n\n", [(b"a", b"second")]),
        ("event: first\nevent:\ndata: a\n\n", data("a")),
        ("data: a\nretry: 10\nunknown: x\nlonely\n: comment\ndata: b\n\n", data("a\nb")),
        ("Data: a\n data: b\ndata : c\n\n", []),
        ("data: {\"a\": \"b: c\"}\n\n", data('{"a": "b: c"}')),
        ("\n\n\ndata: a\n\n\n\n\ndata: b\n\n", data("a", "b")),
        ("data: a\u2028b\u0085c\x0bd\x0ce\x1cf\n\n", data("a\u2028b\u0085c\x0bd\x0ce\x1cf")),
        ("\ufeffdata: a\n\n", data("a")),
        ("\ufeff\ufeffdata: a\n\ndata: b\n\n", data("b")),
        ("data: a\n\n\ufeffdata: b\n\n", data("a")),
        ("data: \ufeffa\n\n", data("\ufeffa")),
        ("data: cut", []),
        ("data: cut\n", []),
        ("", []),
    ],
)  # fmt: skip
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_grammar(stream: str, events: list[Event], end: str) -> None:
    """The events are those that WHATWG HTML gives, whole or byte by byte, whatever ends the lines."""
    wire = stream.replace("\n", end).encode()
    assert decode(wire) == events
    assert decode(*(bytes([byte]) for byte in wire)) == events


@pytest.mark.parametrize(
    ("stream", "rest"),
    [
        (b"data: a\n\ndata: b", (b"b", b"message")),
        (b"data: a\n\ndata: b\n", (b"b", b"message")),
        (b"data: a\n\nevent: error\ndata: b", (b"b", b"error")),
        (b"data: a\n\nda", None),
        (b"\xef\xbb", None),
        (b"", None),
    ],
)
def test_an_unfinished_last_event_is_given_at_the_end(stream: bytes, rest: Event | None) -> None:
    """What no blank line ended comes from close(), so that whoever knows the protocol can judge it."""
    decoder = EventDecoder()
    list(decoder.feed(stream))
    assert decoder.close() == rest
    assert decoder.close() is None


lines = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=8)
blocks = st.lists(
    st.one_of(
        lines.map("data: {}".format), lines.map("data:x{}".format), lines.map(": {}".format), st.just("event: e")
    ),
    min_size=1,
    max_size=4,
)


def expected(block: list[str]) -> list[Event]:
    """What a block stands for, read the slow and obvious way."""
    kind = "e" if "event: e" in block else "message"
    data = [line[5:].removeprefix(" ") for line in block if line.startswith("data:")]
    return [("\n".join(data).encode(), kind.encode())] if data else []


@given(st.data(), st.lists(blocks, max_size=5), st.booleans())
def test_any_split_of_any_line_ends_gives_the_same_events(
    draw: st.DataObject, stream: list[list[str]], bom: bool
) -> None:
    """The events depend neither on how the bytes are cut nor on which line ends are mixed, nor on a byte order mark."""
    ends = st.sampled_from(["\n", "\r\n", "\r"])
    text = "\ufeff" if bom else ""
    last = ""
    for line in (line for block in stream for line in [*block, ""]):
        # An empty line ended by LF after one ended by CR would be one line end, CRLF.
        last = draw.draw(ends if line or last != "\r" else st.sampled_from(["\r\n", "\r"]))
        text += line + last
    wire = text.encode()
    cuts = sorted(draw.draw(st.sets(st.integers(0, len(wire)), max_size=12)))
    pieces = [wire[start:end] for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert decode(*pieces) == [event for block in stream for event in expected(block)]


@pytest.mark.parametrize("size", [1, 100, 10_000])
def test_an_event_over_the_limit_is_refused(size: int) -> None:
    """An endless line is given up as soon as it is over the limit, in chunks of any size."""
    decoder = EventDecoder(limit=10_000)
    for _ in range(10_000 // size):
        assert list(decoder.feed(b"x" * size)) == []
    with pytest.raises(ResponseTooLarge, match="10000"):
        list(decoder.feed(b"x" * size))


def test_the_limit_is_for_one_event() -> None:
    """Many small events and comments pass, however long the stream."""
    ping = b": ping\n\n" * 500
    assert len(decode(*[ping + b"data: a\n\n"] * 50, limit=5_000)) == 50


@pytest.mark.parametrize("size", [1, 16])
def test_the_cost_grows_with_the_bytes(size: int) -> None:
    """A long line in small pieces takes linear time: four times the bytes, far less than sixteen times the time."""

    def seconds(length: int) -> float:
        decoder, start = EventDecoder(), time.process_time()
        for _ in range(0, length, size):
            list(decoder.feed(b"x" * size))
        return time.process_time() - start

    short, long = min(seconds(20_000 * size) for _ in range(3)), min(seconds(80_000 * size) for _ in range(3))
    assert long < 9 * short
