"""The table, in Markdown."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmarks.targets import MINIMA, OURS, PEERS, TARGETS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.measurement import Costs


def table(results: Sequence[Costs], labels: Sequence[str]) -> str:
    """All rows."""
    heads = [
        "figure",
        "LangChain / LlamaIndex",
        "goal",
        *(f"at {label}" for label in labels),
        "over raw httpx",
        " / ".join(TARGETS[name].title for name in PEERS) + ", over raw httpx",
    ]
    lines = [_line(heads), "|---|" + "--:|" * (len(heads) - 1)]
    lines += [_line(_cells(costs, labels)) for costs in results]
    return "\n".join(lines)


def _cells(costs: Costs, labels: Sequence[str]) -> list[str]:
    return [
        costs.row.title,
        _ours(costs, ""),
        _goals(costs),
        *(_ours(costs, f"@{label}") for label in labels),
        " / ".join(_figure(costs, name, "raw") for name in OURS),
        " / ".join(_figure(costs, name, _peers_base(costs, name)) for name in PEERS),
    ]


def _peers_base(costs: Costs, name: str) -> str:
    """An import is compared with that of the framework."""
    return MINIMA.get(name[:2], "raw") if costs.row.measure == "imports" else "raw"


def _goals(costs: Costs) -> str:
    if costs.row.figure == "rows a second":
        return "never falls"
    return " / ".join(f"≤ {costs.row.goals[name]:g}" if name in costs.row.goals else "-" for name in OURS)


def _ours(costs: Costs, suffix: str) -> str:
    if costs.row.figure == "rows a second":
        seconds = [by_name.get(f"lc{suffix}") for by_name in costs.rounds.values()]
        middle = min if costs.best else statistics.median
        return " / ".join(f"{1 / middle(by_round.values()):.0f}" for by_round in seconds if by_round)
    base = "raw" if costs.row.figure == "over raw" else ""
    return " / ".join(
        _figure(costs, f"{name}{suffix}", base or MINIMA[name]) + _growth(costs, f"{name}{suffix}") for name in OURS
    )


def _growth(costs: Costs, name: str) -> str:
    return f", {costs.memory[name]:.0f} MB" if costs.row.figure == "over raw" and name in costs.memory else ""


def _figure(costs: Costs, name: str, base: str) -> str:
    if name in costs.lost:
        return "fails"
    if costs.row.figure == "ms over min":
        seconds = costs.difference(name, base)
        return "-" if seconds is None else f"{seconds * 1e3:.2f} ms"
    ratio = costs.ratio(name, base)
    return "-" if ratio is None else f"{ratio:.2f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
