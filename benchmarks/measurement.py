"""Rounds in which everybody takes a turn, and the medians of what they show."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path  # noqa: TC003 - NamedTuple reads it
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.processes import ROOT, Failed, Lost, Worker
from benchmarks.targets import MINIMA, PEERS, installed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.rows import Row
    from benchmarks.samples import Sample

PEER_ROUNDS = 5
"""Other packages take part in each fifth round: they cost ten times as much, and stand far apart.

A run of fewer rounds leaves them out of the heavy rows and the imports."""


class Contestant(NamedTuple):
    """A client of a tree; in the table, `lc` or `lc@before`."""

    target: str
    tree: Path = ROOT
    label: str = ""

    @property
    def name(self) -> str:
        """As in the table."""
        return f"{self.target}@{self.label}" if self.label else self.target

    @property
    def base(self) -> str:
        """What it is measured against."""
        return MINIMA.get(self.target, "raw")


def contestants(trees: Mapping[str, Path]) -> list[Contestant]:
    """Everybody who can take part; ours once more for each further tree."""
    # Ours right after what it is measured against: the machine may be another one a second later.
    ours = [
        [Contestant(least), Contestant(name), *(Contestant(name, tree, label) for label, tree in trees.items())]
        for name, least in MINIMA.items()
        if installed(name)
    ]
    return [Contestant("raw"), *chain(*ours), *(Contestant(name) for name in PEERS if installed(name))]


@dataclass
class Costs:
    """What a row has shown: for each sample, for each contestant, seconds in each round."""

    row: Row
    rounds: dict[str, dict[str, dict[int, float]]] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    """The most that a contestant's process grew by, in MB."""
    lost: dict[str, str] = field(default_factory=dict)
    best: bool = False
    """Whether each one's best round is compared, in place of the two in the same round."""

    def add(self, sample: str, name: str, number: int, seconds: float) -> None:
        """One turn; those of the first round, 0, only warm up."""
        if number:
            self.rounds.setdefault(sample, {}).setdefault(name, {})[number] = seconds

    def ratio(self, name: str, base: str) -> float | None:
        """One over another, of the sample where that is highest: the median over the rounds, or best over best."""
        return self._compared(name, base, lambda one, other: one / other)

    def difference(self, name: str, base: str) -> float | None:
        """The same of one minus another, in seconds."""
        return self._compared(name, base, lambda one, other: one - other)

    def _compared(self, name: str, base: str, compare: Callable[[float, float], float]) -> float | None:
        figures = []
        for by_name in self.rounds.values():
            ones, others = by_name.get(name, {}), by_name.get(base, {})
            if both := ones.keys() & others.keys():
                in_rounds = [compare(ones[number], others[number]) for number in both]
                bests = min(ones.values()), min(others.values())
                figures.append(compare(*bests) if self.best else statistics.median(in_rounds))
        return max(figures, default=None)


class Crew:
    """The workers."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._workers: dict[str, Worker] = {}

    def start(self, contestants: Sequence[Contestant]) -> None:
        """Starts those that don't run yet, all at once."""
        for one in contestants:
            if one.name not in self._workers:
                self._workers[one.name] = Worker(one.target, self.root, one.tree)

    def worker(self, contestant: Contestant) -> Worker:
        """The worker of a contestant."""
        return self._workers[contestant.name]

    def close(self) -> None:
        """Ends all; those that are needed again begin anew."""
        while self._workers:
            self._workers.popitem()[1].close()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def measured(row: Row, crew: Crew, everybody: list[Contestant], rounds: int) -> Costs:
    """The costs of a row. A client of ours, or a minimum, that loses something is an error."""
    rounds, quick = (max(rounds // 5, 1), rounds < PEER_ROUNDS) if row.heavy else (rounds, False)
    left_out = PEERS if quick else ()
    taking_part = [one for one in everybody if one.target in row.targets and one.target not in left_out]
    if row.fresh:
        crew.close()
    crew.start(taking_part)
    costs = Costs(row)
    for number in range(rounds + 1):
        for sample in row.samples if number else map(_fewer, row.samples):
            for contestant in _order(taking_part, number):
                if contestant.name not in costs.lost:
                    _take_turn(costs, crew.worker(contestant), contestant, sample, number)
    return costs


def _fewer(sample: Sample) -> Sample:
    """For warming up, of streams at once some will do."""
    return replace(sample, at_once=min(sample.at_once, 64))


def _take_turn(costs: Costs, worker: Worker, contestant: Contestant, sample: Sample, number: int) -> None:
    try:
        cost = worker.cost(sample)
    except (Lost, Failed) as error:
        if contestant.target not in PEERS:
            raise Failed(f"{costs.row.name}, {sample.name}, {contestant.name}: {error}") from error
        costs.lost[contestant.name] = str(error)
        return
    # By the clock for a first text, else of the processor, for each unit.
    seconds = cost["wall"] if sample.action == "first" else cost["cpu"] / sample.units
    costs.add(sample.name, contestant.name, number, seconds)
    costs.memory[contestant.name] = max(cost["memory"], costs.memory.get(contestant.name, 0.0))


def _order(taking_part: list[Contestant], number: int) -> list[Contestant]:
    """Whose turn it is in a round, from a start that moves on, so that nobody has always the same forerunner."""
    peers_too = number == 0 or number % PEER_ROUNDS == 1
    present = [one for one in taking_part if peers_too or one.target not in PEERS]
    shift = number % len(present)
    return present[shift:] + present[:shift]
