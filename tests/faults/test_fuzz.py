"""Three thousand mutated answers, other ones in each run, and those that once came to something else."""

from __future__ import annotations

import contextlib
import gzip
import secrets
import time

import pytest

from tests.faults import fuzz
from tests.response.wire import sse, text_chunk

INPUTS = 3_000

A, B = (sse([text_chunk(text)], done=False) for text in "ab")
HEADERS = {"content-type": "text/event-stream", "content-encoding": "gzip"}
FOUND = {
    "an error within a broken gzip stream had no partial": (
        fuzz.Input(True, 200, HEADERS, (gzip.compress(A), b"junk")),
        "ProtocolError",
        "a",
    ),
    "a second gzip member was lost": (
        fuzz.Input(True, 200, HEADERS, (gzip.compress(A) + gzip.compress(B),)),
        "StreamTruncated",
        "ab",
    ),
}


def test_mutated_answers() -> None:
    """Each comes to an answer or a typed error, in time; a failure names the seed and the number that make it again."""
    outcomes = fuzz.run(secrets.randbelow(10**9), lambda number: number == INPUTS)
    assert sum(outcomes.values()) == INPUTS
    assert {"Completion", "ProtocolError", "StreamTruncated", "CapacityExceeded"} <= outcomes.keys()


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found(name: str) -> None:
    """What once came to something else comes to the right error, with what had arrived."""
    example, kind, text = FOUND[name]
    came_to, (_, partial) = example.outcome()
    assert came_to == kind
    assert partial["choices"][0]["message"]["content"] == text


@pytest.mark.parametrize("limit", ["LIMIT", "PATIENCE"])
def test_a_hang_would_be_noticed(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch works: an input that works or waits for longer than its limit fails, whatever it would catch."""
    example = fuzz.made(1, 0)
    end = time.monotonic() + 5
    monkeypatch.setattr(fuzz, limit, 0.05)

    def stuck(_: fuzz.Input) -> None:
        while time.monotonic() < end:
            with contextlib.suppress(Exception):
                time.sleep(0.2 if limit == "PATIENCE" else 0)

    monkeypatch.setattr(fuzz.Input, "outcome", stuck)
    with fuzz.watched(), pytest.raises(fuzz.Hang):
        fuzz.check(example, twice=False)


def test_an_untyped_error_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything but a GemmaError fails, with the seed and the number."""

    def broken(_: fuzz.Input) -> None:
        raise KeyError("choices")

    monkeypatch.setattr(fuzz.Input, "outcome", broken)
    with pytest.raises(AssertionError, match=r"made\(7, 0\): KeyError"):
        fuzz.run(7, lambda number: number > 3)
