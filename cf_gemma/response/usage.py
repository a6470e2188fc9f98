"""Token counts, made exact from whatever a stream reports: increments, running totals, a closing tail, or nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, TypeGuard, cast

from cf_gemma.model.completion import Usage
from cf_gemma.model.json_object import as_object

_ABSURD: Final = 1e18
"""More than any count can be."""

_NUMBERS: Final = (int, float)

_KEPT: Final = 64
"""Reports that differ, and that are kept until they are read."""

_NAMES: Final = {
    **dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens", "neurons"), ""),
    "cached_tokens": "prompt_tokens_details",
    "reasoning_tokens": "completion_tokens_details",
}
"""Each count, and the group that it is in."""

_Counts = dict[str, float]


class UsageMeter:
    """Collects the `usage` objects of one answer.

    Workers AI reports per chunk (each chunk's own increment, captured 2026-10), older models report running totals
    (2026-04), and the native route closes with a total that counts above all.
    """

    def __init__(self) -> None:
        self._runs: list[_Run] = []
        self._reported = False
        self._added: _Counts = {}
        self._highest: _Counts = {}
        self._with_prompt = 0
        """Reports that count the prompt."""
        self._total: dict[str, Any] | None = None

    def add(self, report: dict[str, Any]) -> None:
        """Takes the usage of a chunk; what it means is found out at the end, off the per-token path."""
        runs = self._runs
        if runs and runs[-1].report == report:
            runs[-1].length += 1
            return
        if len(runs) == _KEPT:
            self._read()
        runs.append(_Run(report))

    def close(self, report: dict[str, Any], *, total: bool) -> None:
        """Takes the usage of a chunk without choices: a total, as one that counts the prompt is, or an increment."""
        if total or _counts(report).get("prompt_tokens"):
            self._total = report
        else:
            self.add(report)

    def usage(self) -> Usage | None:
        """The whole answer's usage so far; None when none was reported."""
        if self._total is None:
            return self._of_chunks()
        total = _usage(_counts(self._total))
        if total.neurons is None and (chunks := self._of_chunks()):
            return replace(total, neurons=chunks.neurons)
        return total

    def _of_chunks(self) -> Usage | None:
        """What the chunks with choices report together."""
        self._read()
        if not self._reported:
            return None
        # Increments count the prompt once, running totals again and again.
        return _usage(self._added if self._with_prompt <= 1 else self._highest)

    def _read(self) -> None:
        """Reads the reports that are kept."""
        for run in self._runs:
            self._reported = True
            for name, count in _counts(run.report).items():
                self._added[name] = self._added.get(name, 0) + count * run.length
                self._highest[name] = max(self._highest.get(name, 0), count)
                self._with_prompt += run.length if name == "prompt_tokens" and count else 0
        self._runs.clear()


class _Run:
    """Reports in a row that say the same, as those of single tokens do."""

    __slots__ = ("length", "report")

    def __init__(self, report: dict[str, Any]) -> None:
        self.report = report
        self.length = 1


def _counts(report: dict[str, Any]) -> _Counts:
    return {
        name: value
        for name, group in _NAMES.items()
        if _is_count(value := (as_object(report.get(group)) or {} if group else report).get(name))
    }


def _usage(counts: _Counts) -> Usage:
    prompt = int(counts.get("prompt_tokens", 0))
    completion = int(counts.get("completion_tokens", 0))
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=int(counts.get("total_tokens") or prompt + completion),
        cached_tokens=_whole(counts.get("cached_tokens")),
        reasoning_tokens=_whole(counts.get("reasoning_tokens")),
        neurons=counts.get("neurons"),
    )


def _is_count(value: object) -> TypeGuard[float]:
    # 1e999 decodes to infinity, which is no count; and `True` is none, though an int.
    return value.__class__ in _NUMBERS and 0 <= cast("float", value) < _ABSURD


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
