"""docs/fidelity.md against the tests and the probes that it names."""

from __future__ import annotations

import re
from pathlib import Path

from cf_gemma.cli.doctor.probes import PROBES
from cf_gemma.cli.doctor.survey import highest_cost

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "fidelity.md").read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if re.match(r"\| \d+ \|", line)
]
TITLES = {probe.title: probe.questions for probe in PROBES}


def test_all_questions_are_there() -> None:
    """The table has the 22 questions, in their order, and each has an answer."""
    assert [row[0] for row in ROWS] == [str(number) for number in range(1, 23)]
    assert all(len(row) == 5 and all(row) for row in ROWS)


def test_named_tests_exist() -> None:
    """Each question names at least one test, and all that are named exist."""
    for row in ROWS:
        nodes = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row[3])
        assert nodes, row[0]
        for path, name in nodes:
            assert f"def {name}(" in (ROOT / path).read_text("utf-8"), f"{path}::{name}"


def test_named_probes_exist() -> None:
    """Each question names a probe of the doctor's that is about it."""
    for row in ROWS:
        assert int(row[0]) in TITLES[row[4]], row[0]


def test_the_cost_is_as_told() -> None:
    """The page says how many requests there are, and less than half a cent is not less than the truth."""
    requests, cost = highest_cost(PROBES)
    assert f"{requests + 3} in all" in PAGE.replace("\n", " ")
    assert cost < 0.005
