"""JSON answers are freed of a Markdown fence, and nothing else is touched."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_gemma.structured import LONGEST_EDGE, FenceStripper, unfenced


@pytest.mark.parametrize(
    ("text", "freed"),
    [
        ('{"a": 1}', '{"a": 1}'),
        ('```json\n{"a": 1}\n```', '{"a": 1}'),
        ("\n```\n[1]\n```\n", "[1]"),
        ('```json {"a": 1}```', '{"a": 1}'),
        ('```json\n{"a": "```"}\n```', '{"a": "```"}'),
        ("```python\nprint()\n```", "```python\nprint()\n```"),
        ('Here: ```json\n{"a": 1}\n```', 'Here: ```json\n{"a": 1}\n```'),
        ("``", "``"),
        ("  ", "  "),
        ("", ""),
    ],
)
def test_table(text: str, freed: str) -> None:
    """A fence around the whole JSON goes; any other text stays to the letter."""
    assert unfenced(text) == freed


@given(
    text=st.text(alphabet='`{}[]"a \n', max_size=30)
    | st.text(alphabet="`a \n").map(lambda end: f'```json\n{{"a": 1}}{end}'),
    data=st.data(),
)
def test_pieces(text: str, data: st.DataObject) -> None:
    """However the text is cut into pieces, the result is the same."""
    stripper = FenceStripper()
    rest, given_back = text, ""
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        given_back += stripper.feed(rest[:size])
        rest = rest[size:]
    assert given_back + stripper.close() == unfenced(text)


def test_text_is_not_held_back() -> None:
    """Text that can't belong to a fence is given back at once."""
    stripper = FenceStripper()
    assert [stripper.feed(piece) for piece in ("Hel", "lo", " `")] == ["Hel", "lo", " `"]


@pytest.mark.parametrize("text", [" " * 3_000, "```json\n{}" + " " * 20_000, "```" + " " * 20_000 + "{}", "`" * 20_000])
def test_blanks_without_end(text: str) -> None:
    """However many blanks and backticks come, one by one, what may be a fence is looked at only so often."""
    stripper = FenceStripper()
    held = 0
    parts: list[str] = []
    for character in text:
        parts.append(stripper.feed(character))
        held = max(held, len(stripper._held))
    parts.append(stripper.close())
    assert held <= LONGEST_EDGE + 1
    assert "".join(parts).strip() in (text.strip(), "{}")
