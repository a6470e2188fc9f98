"""The survey: carries the probes out, one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cf_gemma import MODEL, PRICE
from cf_gemma.cli.doctor.probes import Ask, Get, Post, Probe, Queue, Step
from cf_gemma.cli.doctor.reading import outcome
from cf_gemma.errors import ApiError, GemmaError, RequestTimeout
from cf_gemma.errors.codes import error_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cf_gemma.cli.doctor.account import Account
    from cf_gemma.cli.doctor.witness import Exchange


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe brought."""

    probe: Probe
    exchanges: Sequence[Exchange]
    observation: str
    problem: str
    """What the client can't handle; "" for nothing."""


def examine(account: Account, probe: Probe, patience: float) -> Finding:
    """Carries a probe out. `patience`: seconds to wait for a batch."""
    before = len(account.witness.exchanges)
    problems = [_carry_out(account, step, patience) for step in probe.steps]
    exchanges = account.witness.exchanges[before if probe.steps else 0 :]
    observation = probe.read(exchanges) if exchanges else "nothing could be sent"
    return Finding(probe, exchanges if probe.steps else (), observation, "; ".join(filter(None, problems)))


def _carry_out(account: Account, step: Step, patience: float) -> str:
    """Sends what a step says. Returns what the client can't handle."""
    match step:
        case Ask() | Queue():
            return _ask(account, step, patience)
        case Post(body, query, other):
            path = f"/accounts/{other}" if other else account.path
            return _unclassified(account.send("POST", f"{path}/ai/run/{MODEL}{query}", dict(body)))
        case Get(path):
            return _unclassified(account.send("GET", f"{account.path}{path}"))


def _ask(account: Account, step: Ask | Queue, patience: float) -> str:
    try:
        if isinstance(step, Queue):
            queue = account.gemma("run").batch
            queue.wait(queue.submit([dict(request) for request in step.requests]), timeout=patience)
        elif step.stream:
            for _ in account.gemma(step.endpoint).stream(step.question, **step.options):
                pass
        else:
            account.gemma(step.endpoint).chat(step.question, **step.options)
    except GemmaError as error:
        refused = error.status is not None and type(error) is not ApiError
        late = isinstance(step, Queue) and isinstance(error, RequestTimeout)
        return "" if refused or late else f"{type(error).__name__}: {error}"
    return ""


def _unclassified(exchange: Exchange) -> str:
    """A refusal that the client would have no class for."""
    if exchange.taken or error_class(exchange.status, exchange.refusal.get("code")) is not ApiError:
        return ""
    return f"no class for: {outcome(exchange)}"


def highest_cost(probes: Sequence[Probe]) -> tuple[int, float]:
    """How many requests the probes are, and what they cost at most, in US dollars."""
    steps = [step for probe in probes for step in probe.steps]
    return len(steps), sum(map(_highest_cost, steps))


def _highest_cost(step: Step) -> float:
    match step:
        case Ask(question, options):
            return _price(f"{question}{options}", options["max_tokens"])
        case Post(body):
            return _price(body, body.get("max_tokens", _UNLIMITED), _IMAGES)
        case Queue(requests):
            return sum(_price(request, request["max_tokens"], _IMAGES) for request in requests)
        case Get():
            return 0.0


def _price(text: Any, tokens: int, more: int = 0) -> float:
    return PRICE.cost(len(str(text)) // 3 + more, tokens)


_IMAGES: Final = 6 * 280
_UNLIMITED: Final = 2_000
