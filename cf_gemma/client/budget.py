"""What calls may cost together: a limit that any number of models share, and the sums so far."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import override

from cf_gemma.errors import BudgetExceeded, ConfigurationError
from cf_gemma.model.facts import PRICE
from cf_gemma.request.bill import Bill

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping
    from typing import Never, Self, SupportsIndex

    from cf_gemma.model.completion import Usage


@dataclass(frozen=True, slots=True)
class Spent:
    """A sum of what calls have cost."""

    usd: float = 0.0
    tokens: int = 0
    """Prompts and answers together."""
    calls: int = 0
    """Requests that reported their usage: an attempt that was repeated counts, too."""

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.usd + other.usd, self.tokens + other.tokens, self.calls + other.calls)

    @override
    def __str__(self) -> str:
        return f"${self.usd:.6f}, {self.tokens:,} tokens, {self.calls:,} calls"


class Run:
    """Some calls of a budget, counted by themselves: those that were begun within `Budget.run`."""

    def __init__(self, name: str | None, thread: str | None) -> None:
        self.name, self.thread = name, thread
        self.spent = Spent()
        self.by_model: dict[str, Spent] = {}


class Budget:
    """A limit for what the calls of any number of models cost together. Threads and event loops may share it.

    A call whose price would pass the limit raises BudgetExceeded before anything is sent. That price is an estimate:
    the prompt's tokens (four bytes each), and `max_tokens` where the caller set one. Without one only the prompt
    counts, so that the last answer may go beyond the limit. What was spent is what the service reports, failed attempts
    and cut streams included; batches of the queue aren't counted.

    Args:
        usd: US dollars, above 0; None for no limit.
        tokens: Prompts and answers together, above 0; None for no limit.

    Raises:
        ConfigurationError: A limit is not a number above 0.
    """

    def __init__(self, *, usd: float | None = None, tokens: int | None = None) -> None:
        for name, limit in (("usd", usd), ("tokens", tokens)):
            if limit is not None and (isinstance(limit, bool) or not limit > 0):
                raise ConfigurationError(f"budget: {name} must be a number above 0, or None for no limit")
        self.usd, self.tokens = usd, tokens
        self._lock = threading.Lock()
        self._spent = self._reserved = Spent()
        self._by: dict[str, dict[str, Spent]] = {"model": {}, "run": {}, "thread": {}}

    @property
    def spent(self) -> Spent:
        """By all calls so far."""
        return self._spent

    @property
    def by_model(self) -> Mapping[str, Spent]:
        """By the calls of each model, by its id."""
        return dict(self._by["model"])

    @property
    def by_run(self) -> Mapping[str, Spent]:
        """By the calls within each named `run`."""
        return dict(self._by["run"])

    @property
    def by_thread(self) -> Mapping[str, Spent]:
        """By the calls within each `run` of a thread, which is a conversation that goes on over many runs."""
        return dict(self._by["thread"])

    @contextmanager
    def run(self, name: str | None = None, *, thread: str | None = None) -> Generator[Run]:
        """Counts the calls that begin in this context, those of an agent's tasks and threads included.

        Args:
            name: Under which `by_run` has the sum; None where the Run alone is to have it.
            thread: Under which `by_thread` adds up all runs, such as the `thread_id` of LangGraph.
        """
        run = Run(name, thread)
        token = _RUNS.set((*_RUNS.get(), run))
        try:
            yield run
        finally:
            _RUNS.reset(token)

    def bill(self, model: str, prompt_tokens: int, max_tokens: int | None) -> Bill:
        """For a call that is about to be made, to be entered while it is."""
        tokens = prompt_tokens + (max_tokens or 0)
        return _Bill(self, model, Spent(PRICE.cost(prompt_tokens, max_tokens or 0), tokens, 1))

    def reserve(self, price: Spent) -> None:
        """Sets what a call may cost aside. Raises BudgetExceeded when there is not so much left."""
        with self._lock:
            after = self._spent + self._reserved + price
            for limit, sum_, unit in ((self.usd, after.usd, "${:.6f}"), (self.tokens, after.tokens, "{:,} tokens")):
                if limit is not None and sum_ > limit:
                    raise BudgetExceeded(self._refusal(unit.format(limit), price))
            self._reserved += price

    def release(self, price: Spent) -> None:
        """Gives back what was set aside."""
        with self._lock:
            self._reserved += Spent(-price.usd, -price.tokens, -price.calls)

    def add(self, model: str, usage: Usage, runs: Iterable[Run] = ()) -> None:
        """Counts what a request has cost."""
        cost = Spent(usage.cost, usage.total_tokens, 1)
        with self._lock:
            self._spent += cost
            _count(self._by["model"], model, cost)
            for run in runs:
                run.spent += cost
                _count(run.by_model, model, cost)
                _count(self._by["run"], run.name, cost)
                _count(self._by["thread"], run.thread, cost)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    @override
    def __reduce_ex__(self, protocol: SupportsIndex) -> Never:
        raise TypeError("a Budget can't be pickled: it is shared within one process")

    @override
    def __repr__(self) -> str:
        limits = [f"{name}={limit}" for name, limit in (("usd", self.usd), ("tokens", self.tokens)) if limit]
        return f"Budget({', '.join(limits)}) with {self._spent} spent"

    def _refusal(self, limit: str, price: Spent) -> str:
        running = f", {self._reserved.tokens:,} tokens in calls that run" if self._reserved.calls else ""
        runs = "".join(f'; in run "{run.name}": {run.spent}' for run in _RUNS.get() if run.name)
        return (
            f"the budget of {limit} would be passed: {self._spent} spent{running}{runs}; this call may cost "
            f"${price.usd:.6f}, {price.tokens:,} tokens. Raise the budget, or set a lower max_tokens"
        )


class _Bill(Bill):
    counts = True

    def __init__(self, budget: Budget, model: str, price: Spent) -> None:
        self._budget, self._model, self._price = budget, model, price
        self._runs = _RUNS.get()

    @override
    def __enter__(self) -> None:
        self._budget.reserve(self._price)

    @override
    def __exit__(self, *exc: object) -> None:
        self._budget.release(self._price)

    @override
    def pay(self, usage: Usage) -> None:
        self._budget.add(self._model, usage, self._runs)


def _count(sums: dict[str, Spent], name: str | None, cost: Spent) -> None:
    if name is not None:
        sums[name] = sums.get(name, Spent()) + cost


_RUNS: Final[ContextVar[tuple[Run, ...]]] = ContextVar("runs", default=())
"""Those that a call made now belongs to."""
