"""The table, in Markdown."""

from __future__ import annotations

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
        _pair(costs, ""),
        " / ".join(f"≤ {costs.row.goals[name]:g}" if name in costs.row.goals else "-" for name in OURS),
        *(_pair(costs, f"@{label}") for label in labels),
        " / ".join(_ratio(costs, name, "raw") for name in OURS),
        " / ".join(_ratio(costs, name, "raw") for name in PEERS),
    ]


def _pair(costs: Costs, suffix: str) -> str:
    return " / ".join(_figure(costs, f"{name}{suffix}", MINIMA[name]) for name in OURS)


def _figure(costs: Costs, name: str, base: str) -> str:
    if costs.row.figure == "ms over min":
        return _ratio(costs, name, base)
    if costs.row.figure == "over raw":
        growth = f" ({costs.memory[name]:.0f} MB)" if name in costs.memory else ""
        return _ratio(costs, name, "raw") + growth
    return _ratio(costs, name, base)


def _ratio(costs: Costs, name: str, base: str) -> str:
    if name in costs.lost:
        return "fails"
    if costs.row.figure == "ms over min":
        seconds = costs.difference(name, base)
        return "-" if seconds is None else f"{seconds * 1e3:.2f} ms"
    ratio = costs.ratio(name, base)
    return "-" if ratio is None else f"{ratio:.2f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
