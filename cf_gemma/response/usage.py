"""Token counts, made exact from whatever a stream reports: increments, running totals, a closing tail, or nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

from cf_gemma.completion import Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    Combine = Callable[[list[tuple[float, int]]], float]

_ABSURD: Final = 1e18
"""More than any count can be."""


class UsageMeter:
    """Collects the `usage` objects of one answer.

    Workers AI reports per chunk (each chunk's own increment, captured 2026-10), older models report running totals
    (2026-04), and the native route closes with a total that counts above all.
    """

    def __init__(self) -> None:
        self._runs: list[_Run] = []
        self._total: dict[str, Any] | None = None

    def add(self, report: dict[str, Any]) -> None:
        """Takes the usage of a chunk; what it means is found out at the end, off the per-token path."""
        runs = self._runs
        if runs and runs[-1].report == report:
            runs[-1].length += 1
        else:
            runs.append(_Run(report))

    def close(self, report: dict[str, Any], *, total: bool) -> None:
        """Takes the usage of a chunk without choices: a total, as one that counts the prompt is, or an increment."""
        if total or _count(report, "prompt_tokens"):
            self._total = report
        else:
            self.add(report)

    def usage(self) -> Usage | None:
        """The whole answer's usage so far; None when none was reported."""
        if self._total is None:
            return _combined(self._runs, self._combine) if self._runs else None
        total = _combined([_Run(self._total)], _added_up)
        if total.neurons is None and self._runs:
            return replace(total, neurons=_over(self._runs, self._combine, "neurons"))
        return total

    @property
    def _combine(self) -> Combine:
        """How the reports of chunks with choices go together: increments count the prompt once, totals each time."""
        counted = sum(run.length for run in self._runs if _count(run.report, "prompt_tokens"))
        return _added_up if counted <= 1 else _highest


class _Run:
    """Reports in a row that say the same, as those of single tokens do."""

    __slots__ = ("length", "report")

    def __init__(self, report: dict[str, Any]) -> None:
        self.report = report
        self.length = 1


def _added_up(counts: list[tuple[float, int]]) -> float:
    return sum(count * length for count, length in counts)


def _highest(counts: list[tuple[float, int]]) -> float:
    return max(count for count, _ in counts)


def _combined(runs: list[_Run], combine: Combine) -> Usage:
    prompt = int(_over(runs, combine, "prompt_tokens") or 0)
    completion = int(_over(runs, combine, "completion_tokens") or 0)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=int(_over(runs, combine, "total_tokens") or prompt + completion),
        cached_tokens=_whole(_over(runs, combine, "cached_tokens", "prompt_tokens_details")),
        reasoning_tokens=_whole(_over(runs, combine, "reasoning_tokens", "completion_tokens_details")),
        neurons=_over(runs, combine, "neurons"),
    )


def _over(runs: list[_Run], combine: Combine, name: str, group: str = "") -> float | None:
    known = [(count, run.length) for run in runs if (count := _count(run.report, name, group)) is not None]
    return combine(known) if known else None


def _count(report: dict[str, Any], name: str, group: str = "") -> float | None:
    if group:
        details = report.get(group)
        report = cast("dict[str, Any]", details) if isinstance(details, dict) else {}
    value = report.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    # 1e999 decodes to infinity, which is no count.
    return value if 0 <= value < _ABSURD else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
