"""Carries the probes out, one after the other."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from cf_gemma.cli.doctor import reading
from cf_gemma.cli.doctor.probes import Ask, Get, Post, Probe, Queue, Step
from cf_gemma.cli.doctor.witness import objects
from cf_gemma.client import Gemma
from cf_gemma.codes import error_class
from cf_gemma.completion import Completion
from cf_gemma.errors import ApiError, GemmaError, RequestTimeout
from cf_gemma.model import MODEL, PRICE
from cf_gemma.transport import HttpError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cf_gemma.cli.doctor.witness import Exchange, Witness
    from cf_gemma.settings import Endpoint


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe brought."""

    probe: Probe
    exchanges: Sequence[Exchange]
    seen: str
    trouble: str
    """Where the client doesn't cope; "" when it does."""


class Examination:
    """One account, looked at through a client that keeps what it sees."""

    def __init__(self, witness: Witness, arguments: Mapping[str, Any], patience: float) -> None:
        self.witness = witness
        self._arguments, self._patience = arguments, patience
        self.gemma = cache(self._gemma)
        self.settings = self.gemma("run").settings

    def check(self) -> list[tuple[str, bool, str]]:
        """The token, the account with its model, and how long an answer takes: name, whether it is well, what is."""
        return [self._token(), self._model(), self._latency()]

    def probe(self, probe: Probe) -> Finding:
        """Carries one out."""
        before = len(self.witness.exchanges)
        troubles = [self._carried_out(step) for step in probe.steps]
        exchanges = self.witness.exchanges[before:] if probe.steps else list(self.witness.exchanges)
        if probe.steps and not exchanges:
            return Finding(probe, exchanges, "nothing could be sent", "; ".join(filter(None, troubles)))
        return Finding(probe, exchanges, probe.read(exchanges), "; ".join(filter(None, troubles)))

    def spent(self) -> float:
        """US dollars that the answers so far reported."""
        neurons = [exchange.usage.get("neurons") or 0 for exchange in self.witness.exchanges]
        return sum(neurons) * PRICE.neurons / 1_000

    def _gemma(self, endpoint: Endpoint) -> Gemma:
        # Nothing is sent twice: what was refused is what the report is about.
        return Gemma(**self._arguments, endpoint=endpoint, http_client=self.witness, max_retries=0)

    def _token(self) -> tuple[str, bool, str]:
        for path in ("/user/tokens/verify", f"/accounts/{self.settings.account_id}/tokens/verify"):
            answer = self._send("GET", f"{self.settings.base_url}{path}")
            if answer.taken:
                state = str(answer.completion.get("status"))
                return "Token", state == "active", state
        return "Token", False, reading.outcome(answer)

    def _model(self) -> tuple[str, bool, str]:
        answer = self._send("GET", f"{self._account}/ai/models/search?search=gemma-4-26b")
        found = MODEL in [model.get("name") for model in objects(answer.body.get("result"))]
        told = ("found" if found else "not found") if answer.taken else reading.outcome(answer)
        return "Account and model", found, told

    def _latency(self) -> tuple[str, bool, str]:
        try:
            list(self.gemma("run").stream("Say hello.", thinking=False, max_tokens=16))
        except GemmaError as error:
            return "Latency", False, str(error)
        answer = self.witness.exchanges[-1]
        return "Latency", True, f"{answer.first_byte or 0:.2f} s to the first byte, {answer.seconds:.2f} s to the last"

    def _carried_out(self, step: Step) -> str:
        """Sends what a step says; where the client didn't cope."""
        match step:
            case Ask() | Queue():
                return self._asked(step)
            case Post(body, query, account):
                root = f"{self.settings.base_url}/accounts/{account}" if account else self._account
                url = f"{root}/ai/run/{MODEL}{query}"
                return _unclassified(self._send("POST", url, dict(body)))
            case Get(path):
                return _unclassified(self._send("GET", f"{self._account}{path}"))

    def _asked(self, step: Ask | Queue) -> str:
        try:
            if isinstance(step, Queue):
                queue = self.gemma("run").batch
                queue.wait(queue.submit([dict(request) for request in step.requests]), timeout=self._patience)
            elif step.stream:
                *_, last = self.gemma(step.endpoint).stream(step.said, **step.options)
                assert isinstance(last, Completion)  # noqa: S101 - what stream() promises
            else:
                self.gemma(step.endpoint).chat(step.said, **step.options)
        except GemmaError as error:
            refused = error.status is not None and type(error) is not ApiError
            late = isinstance(step, Queue) and isinstance(error, RequestTimeout)
            return "" if refused or late else f"{type(error).__name__}: {error}"
        return ""

    def _send(self, method: str, url: str, body: Any = None) -> Exchange:
        with contextlib.suppress(HttpError):  # an exchange without a status says it
            self.witness.request(method, url, json=body, headers=self.settings.headers, timeout=self.settings.timeout)
        return self.witness.exchanges[-1]

    @property
    def _account(self) -> str:
        return f"{self.settings.base_url}/accounts/{self.settings.account_id}"


def most_cost(probes: Sequence[Probe]) -> tuple[int, float]:
    """How many requests the probes are, and what they cost at most, in US dollars."""
    steps = [step for probe in probes for step in probe.steps]
    return len(steps), sum(map(_most_of, steps))


def _most_of(step: Step) -> float:
    match step:
        case Ask(said, options):
            return PRICE.cost(len(f"{said}{options}") // 3, options["max_tokens"])
        case Post(body):
            return PRICE.cost(len(str(body)) // 3 + _IMAGES, body.get("max_tokens", _UNLIMITED))
        case Queue(requests):
            return sum(PRICE.cost(len(str(one)) // 3 + _IMAGES, one["max_tokens"]) for one in requests)
        case Get():
            return 0.0


def _unclassified(exchange: Exchange) -> str:
    """A refusal that the client would have no class for."""
    if exchange.taken or error_class(exchange.status, exchange.refusal.get("code")) is not ApiError:
        return ""
    return f"no class for: {reading.outcome(exchange)}"


_IMAGES: Final = 6 * 280
_UNLIMITED: Final = 2_000
