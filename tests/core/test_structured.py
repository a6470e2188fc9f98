"""Structured output: what asks for it, and the JSON in an answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_gemma.structured import response_format, unfenced


@pytest.mark.parametrize(
    ("text", "inner"),
    [
        ('{"a": 1}', '{"a": 1}'),
        ('```json\n{"a": 1}\n```', '{"a": 1}'),
        ("\n ```\n[1]\n```\n", "[1]"),
        ('```json {"a": 1}', '{"a": 1}'),
        ('```json\n"```"\n```', '"```"'),
        ("```python\nprint()\n```", "```python\nprint()\n```"),
        ("Here: ```json\n{}\n```", "Here: ```json\n{}\n```"),
        ("", ""),
    ],
)
def test_unfenced(text: str, inner: str) -> None:
    """A fence around the whole of a JSON text is taken off; any other text stays as it is."""
    assert unfenced(text) == inner


@given(st.text(alphabet='`json {}[]"\n a'), st.sampled_from(["", "json"]))
def test_any_object_in_a_fence(inside: str, language: str) -> None:
    """Whatever an object holds, taking its fence off leaves it."""
    value = f"{{{inside}}}"
    assert unfenced(f"```{language}\n{value}\n```\n") == value


def test_response_format() -> None:
    """A format is named by the caller, else by the schema's title."""
    assert response_format({"title": "person"})["json_schema"]["name"] == "person"
    assert response_format({"title": "person"}, "someone")["json_schema"]["name"] == "someone"
    assert response_format({})["json_schema"] == {"name": "answer", "schema": {}}
