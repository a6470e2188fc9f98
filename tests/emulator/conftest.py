"""What the emulator's tests share: an HTTP client that knows an emulator's paths."""

from __future__ import annotations

import json
import ssl
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from cf_gemma.emulator import Emulator
from cf_gemma.model.facts import MODEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients that speak to an emulator only, without TLS: reading certificates takes longer than a test."""

HELLO = {"messages": [{"role": "user", "content": "Hi"}]}


class Caller:
    """A foreign client of one emulator: plain HTTP, nothing of this package."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.ai = f"/client/v4/accounts/{emulator.account_id}/ai"
        self.http = httpx.Client(
            base_url=emulator.origin,
            headers={"authorization": f"Bearer {emulator.api_token}"},
            timeout=20,
            trust_env=False,
            verify=PLAIN,
        )

    def post(self, path: str, body: Any, **kwargs: Any) -> httpx.Response:
        return self.http.post(path, json=body, **kwargs)

    def run(self, headers: dict[str, str] | None = None, **options: Any) -> httpx.Response:
        return self.post(f"{self.ai}/run/{MODEL}", HELLO | options, headers=headers)

    def chat(self, headers: dict[str, str] | None = None, **options: Any) -> httpx.Response:
        return self.post(f"{self.ai}/v1/chat/completions", {"model": MODEL} | HELLO | options, headers=headers)

    def events(self, response: httpx.Response) -> list[Any]:
        """The data of a stream's events, decoded; `[DONE]` as it is."""
        data = [event.removeprefix("data: ") for event in response.text.split("\n\n") if event]
        return [datum if datum == "[DONE]" else json.loads(datum) for datum in data]


@pytest.fixture
def serve() -> Iterator[Callable[..., Caller]]:
    """Starts emulators, with whatever their constructor takes, and stops them all in the end."""
    callers: list[Caller] = []

    def start(*args: Any, **options: Any) -> Caller:
        callers.append(Caller(Emulator(*args, **options)))
        return callers[-1]

    yield start
    for caller in callers:
        caller.http.close()
        caller.emulator.close()
