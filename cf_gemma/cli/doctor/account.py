"""One account, asked through a client that keeps what goes over the wire; and the three checks of it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from cf_gemma import MODEL, PRICE, Gemma
from cf_gemma.cli.doctor.reading import outcome
from cf_gemma.cli.doctor.witness import Witness, objects
from cf_gemma.errors import GemmaError
from cf_gemma.transport.http import HttpError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cf_gemma.cli.doctor.witness import Exchange
    from cf_gemma.settings.defaults import Endpoint


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one."""

    name: str
    passed: bool
    detail: str


class Account:
    """An account of Workers AI.

    Args:
        arguments: Of the client.
        timeout: Seconds without a byte before a request is given up.
    """

    def __init__(self, arguments: Mapping[str, Any], timeout: float) -> None:
        self.witness = Witness()
        # Nothing is sent twice: a refusal is what is looked for.
        self._arguments: dict[str, Any] = {
            **arguments,
            "timeout": timeout,
            "http_client": self.witness,
            "max_retries": 0,
        }
        self.gemma = cache(self._gemma)
        self.settings = self.gemma("run").settings

    def checks(self) -> Iterator[Check]:
        """The token, the model, and a streamed answer."""
        yield self._token()
        yield self._model()
        yield self._answer()

    def send(self, method: str, path: str, body: Any = None) -> Exchange:
        """Sends a request as it is; an exchange that got no answer has no status."""
        with contextlib.suppress(HttpError):
            self.witness.request(
                method,
                f"{self.settings.base_url}{path}",
                json=body,
                headers=self.settings.headers,
                timeout=self.settings.timeout,
            )
        return self.witness.exchanges[-1]

    @property
    def path(self) -> str:
        """Of this account."""
        return f"/accounts/{self.settings.account_id}"

    @property
    def spent(self) -> float:
        """US dollars that the answers so far reported."""
        neurons = [exchange.usage.get("neurons") or 0 for exchange in self.witness.exchanges]
        return sum(neurons) * PRICE.neurons / 1_000

    @property
    def emulated(self) -> bool:
        """Whether an emulator has answered."""
        return any("x-emulator-engine" in exchange.headers for exchange in self.witness.exchanges)

    def _gemma(self, endpoint: Endpoint) -> Gemma:
        return Gemma(**self._arguments, endpoint=endpoint)

    def _token(self) -> Check:
        # A token is a user's or an account's; each has a route of its own.
        for path in ("/user/tokens/verify", f"{self.path}/tokens/verify"):
            exchange = self.send("GET", path)
            if exchange.taken:
                status = str(exchange.completion.get("status"))
                return Check("Token", status == "active", status)
        return Check("Token", False, outcome(exchange))

    def _model(self) -> Check:
        exchange = self.send("GET", f"{self.path}/ai/models/search?search=gemma-4-26b")
        if not exchange.taken:
            return Check("Model", False, outcome(exchange))
        listed = MODEL in [model.get("name") for model in objects(exchange.body.get("result"))]
        return Check("Model", listed, MODEL if listed else f"the account's list has no {MODEL}")

    def _answer(self) -> Check:
        try:
            list(self.gemma("run").stream("Say hello.", thinking=False, max_tokens=16))
        except GemmaError as error:
            return Check("Streamed answer", False, str(error))
        exchange = self.witness.exchanges[-1]
        seconds = f"first byte after {exchange.first_byte or 0:.2f} s, whole after {exchange.seconds:.2f} s"
        return Check("Streamed answer", True, seconds)

    def __enter__(self) -> Account:
        return self

    def __exit__(self, *exc: object) -> None:
        self.witness.close()
