"""Prompts made of a row's columns."""

from __future__ import annotations

import pytest

from cf_gemma.bulk import BulkError
from cf_gemma.bulk.template import Template
from cf_gemma.errors import InvalidRequest


def test_columns() -> None:
    """Each column goes to its place, as text; an empty one leaves nothing, and doubled braces stay braces."""
    template = Template("{a} and {b c}: {{x}} {a}{none}")
    assert template.fill({"a": 1, "b c": "{a}", "none": None}) == "1 and {a}: {x} 1"


@pytest.mark.parametrize("text", ["no column", "{", "{}", "{a.b}", "{a[0]}", "{a!r}", "{a:>9}"])
def test_what_is_no_template(text: str) -> None:
    """Nothing but names is allowed in braces, and there must be one."""
    with pytest.raises(BulkError, match="the template"):
        Template(text)


def test_a_column_that_is_not_there() -> None:
    """It is named, and so are those that are."""
    with pytest.raises(InvalidRequest, match="needs a column c; there are a, b"):
        Template("{c}").fill({"a": 1, "b": 2})
