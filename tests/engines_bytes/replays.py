"""Replays of real servers: the request that was sent, and the answer as the product reads it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cf_gemma.request.http_request import HttpRequest
from cf_gemma.response.reception import Reception

if TYPE_CHECKING:
    from cf_gemma.model.completion import Completion, Delta

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """One exchange with one server."""

    server: str
    name: str
    streamed: bool

    def __str__(self) -> str:
        return f"{self.server} {self.name} {'streamed' if self.streamed else 'whole'}"

    @property
    def path(self) -> Path:
        """The files' common beginning."""
        return HERE / self.server / self.name

    def file(self, ending: str) -> bytes:
        """One of the files."""
        return self.path.with_name(f"{self.path.name}.{ending}").read_bytes()

    @property
    def request(self) -> HttpRequest:
        """What was asked."""
        body: dict[str, Any] = json.loads(self.file("request.json"))
        functions = [tool["function"] for tool in body.get("tools", ())]
        return HttpRequest(
            "https://x.test",
            {},
            json.dumps(body).encode(),
            stream=self.streamed,
            limit=body.get("max_tokens"),
            tools={function["name"]: function["parameters"] for function in functions},
        )

    def read(self) -> tuple[list[Delta], Completion]:
        """The deltas and the whole answer."""
        kind = "text/event-stream" if self.streamed else "application/json"
        reception = Reception.of_answer(self.request, 200, {"content-type": kind}, now=0.0)
        deltas = list(reception.feed(self.file("stream.sse" if self.streamed else "json")))
        deltas += reception.close()
        return deltas, reception.result()


CASES = [
    Case(server, path.name.removesuffix(".request.json"), streamed)
    for server in ("vllm", "sglang")
    for path in sorted((HERE / server).glob("*.request.json"))
    for streamed in (False, True)
]
