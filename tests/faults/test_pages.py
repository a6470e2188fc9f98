from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.faults.rows import WIRE

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "SECURITY.md").read_text("utf-8")


def test_every_threat_names_tests_that_exist() -> None:
    """Each line of the threat table names at least one test, and all that are named exist."""
    lines = [line for line in PAGE.splitlines() if line.startswith("|")][2:]
    assert len(lines) > 15
    for line in lines:
        nodes = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", line)
        assert nodes, line
        for path, name in nodes:
            assert f"def {name}(" in (ROOT / path).read_text("utf-8"), f"{path}::{name}"
            assert ast.parse((ROOT / path).read_text("utf-8"))


def test_every_row_that_is_named_is_in_the_table() -> None:
    """Row numbers on the page are of the table of fifty."""
    named = "".join(re.findall(r"rows? ([\d, \u2013]+)", PAGE))
    numbers = [int(number) for number in re.findall(r"\d+", named)]
    assert numbers
    assert all(1 <= number <= 50 for number in numbers)


def test_the_page_of_faults_says_what_the_rows_do() -> None:
    """Each of the fifty has its line, with the error and the number of requests that the test asks for."""
    page = (ROOT / "docs/faults.md").read_text("utf-8")
    lines = {int(line.split("|")[1]): line for line in page.splitlines() if re.match(r"\| \d", line)}
    assert [*lines] == list(range(1, 51))
    for row in WIRE:
        _, _, outcome, requests = lines[row.number].strip("| ").split(" | ")
        assert str(row.requests) in requests, row
        assert row.error is None or "class" in outcome or row.error.__name__ in outcome, row
