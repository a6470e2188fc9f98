"""What the minima share: their URL, their headers, their HTTP clients, and events out of bytes."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import httpx
from pydantic_core import from_json

from benchmarks.scenarios import MODEL

HEADERS = {"authorization": "Bearer token", "content-type": "application/json"}
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=None)
TIMEOUT = 120.0


def url(root: str) -> str:
    """The service's native route."""
    return f"{root}/accounts/account/ai/run/{MODEL}"


class Clients:
    """One pool each for blocking and asynchronous use, opened when first used."""

    @cached_property
    def blocking(self) -> httpx.Client:
        """For blocking calls."""
        return httpx.Client(headers=HEADERS, limits=LIMITS, timeout=TIMEOUT)

    @cached_property
    def unblocking(self) -> httpx.AsyncClient:
        """For asynchronous calls."""
        return httpx.AsyncClient(headers=HEADERS, limits=LIMITS, timeout=TIMEOUT)


class Events:
    """The events of one stream, as dicts; `[DONE]` is none."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Those that are complete with these bytes."""
        *events, self._rest = (self._rest + data).split(b"\n\n")
        return [from_json(event[6:]) for event in events if event != b"data: [DONE]"]
