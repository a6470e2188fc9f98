"""One request on its way through the service."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from cf_gemma.emulator.delivery.answer import whole
from cf_gemma.emulator.engines.protocol import Opening
from cf_gemma.emulator.faults import Refusal

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from random import Random

    from cf_gemma.emulator.delivery.answer import Part
    from cf_gemma.emulator.edge.settings import Settings
    from cf_gemma.emulator.engines.protocol import Event
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
    """A request's ids, randomness and back-end, and the refusals that bear them."""

    def __init__(self, random: Random, route: RouteName, settings: Settings) -> None:
        self.random = random
        self.route: RouteName = route
        self.ray = f"{random.getrandbits(64):016x}-AMS"
        self.request_id = str(uuid.UUID(int=random.getrandbits(128), version=4))
        self.manner = settings.draw(random)
        self._began = time.perf_counter()
        self._prompt_tokens = self._completion_tokens = 0
        self._fault: Fault | None = None

    @property
    def compat(self) -> bool:
        """Whether the answer is a bare chat completion."""
        return self.route in ("compat", "openai")

    def watched(self, events: Iterable[Event]) -> Iterator[Event]:
        """The same events, kept in mind for the summary."""
        try:
            for event in events:
                if isinstance(event, Opening):
                    self._prompt_tokens += event.prompt_tokens
                else:
                    self._completion_tokens += event.tokens
                yield event
        except Refusal as refusal:
            self._fault = refusal.fault
            raise

    def summary(self, path: str) -> str:
        """What has come of it, in a line: path, tokens of prompt and answer, seconds, fault."""
        tokens = f"{self._prompt_tokens:,} + {self._completion_tokens:,} tokens"
        line = f"{path}  {tokens}  {time.perf_counter() - self._began:.2f} s"
        fault = self._fault
        if fault is None:
            return line
        number = "" if fault.shape == "cut" else f"{fault.status} "
        code = "" if fault.code is None else f"({fault.code}) "
        return f"{line}  {number}{code}{fault.words}"

    def refuse(self, fault: Fault) -> Generator[Part]:
        """The error response, in the shape of the route."""
        if self.route == "openai":
            fault = fault.as_server(self.manner.dialect.name)
        self._fault = fault
        body, content_type = fault.body(self.request_id)
        headers = {"content-type": content_type, "cf-ray": self.ray}
        if fault.reached_model:
            headers["cf-ai-req-id"] = self.request_id
        if fault.retry_after is not None:
            headers["retry-after"] = f"{fault.retry_after:g}"
        return whole(fault.status, headers, body, cut=fault.shape == "cut")
