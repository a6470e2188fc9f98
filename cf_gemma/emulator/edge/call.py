"""One request on its way through the service."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from cf_gemma.emulator.delivery.answer import Rendered

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

    from cf_gemma.emulator.faults import Fault

RouteName = Literal["run", "universal", "compat", "openai"]
"""The native route with the model in the path, the same with it in the body, and the two of chat completions."""


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """A request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    """Names in lower case."""
    json: Any
    """The decoded body; None when there was none, or none that is JSON."""


class Call:
    """A request's ids and randomness, and the headers and errors that bear them."""

    def __init__(self, random: Random, route: RouteName) -> None:
        self.random = random
        self.route: RouteName = route
        self.ray = f"{random.getrandbits(64):016x}-AMS"
        self.request_id = str(uuid.UUID(int=random.getrandbits(128), version=4))
        self.neurons: float | None = None
        """What the answer cost, once it is whole."""

    @property
    def compat(self) -> bool:
        """Whether the answer is a bare chat completion."""
        return self.route in ("compat", "openai")

    def refuse(self, fault: Fault) -> Rendered:
        """The error response, in the shape of the route."""
        if self.route == "openai":
            fault = fault.in_openai_shape()
        content, content_type = fault.body(self.request_id)
        headers = {"content-type": content_type, "cf-ray": self.ray}
        if fault.reached_model:
            headers["cf-ai-req-id"] = self.request_id
        if fault.retry_after is not None:
            headers["retry-after"] = f"{fault.retry_after:g}"
        return Rendered(fault.status, headers, content, cut=fault.envelope == "cut")

    def headers(self, engine: str, dialect: str) -> Mapping[str, str]:
        """Those of a success; `cf-ai-neurons` is known for a whole answer only."""
        neurons = {} if self.neurons is None else {"cf-ai-neurons": f"{self.neurons:.2f}"}
        emulator = {"x-emulator-engine": engine, "x-emulator-dialect": dialect}
        return {"cf-ray": self.ray, "cf-ai-req-id": self.request_id, **neurons, **emulator}
