"""A chat model that talks to the emulator over a real socket."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import pytest
import pytest_asyncio

from cf_gemma.emulator import Emulator
from cf_gemma.model.facts import MODEL
from langchain_cf_gemma import ChatCloudflareGemma

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from cf_gemma.emulator import RecordedRequest


T = TypeVar("T")
OTHER_MODEL = "@cf/google/gemma-3-12b-it"
MODELS = (MODEL, OTHER_MODEL)
CANARY = "canary-5d41402abc"
VARIABLES = (
    "CLOUDFLARE_ACCOUNT_ID",
    "CF_ACCOUNT_ID",
    "CLOUDFLARE_API_TOKEN",
    "CLOUDFLARE_AUTH_TOKEN",
    "CF_AI_API_TOKEN",
)


class Emulated(NamedTuple):
    """The model, and the emulator that answers it."""

    model: ChatCloudflareGemma
    emulator: Emulator

    @property
    def requests(self) -> list[RecordedRequest]:
        """What was sent so far."""
        return list(self.emulator.requests)

    @property
    def body(self) -> dict[str, Any]:
        """The body of the last request."""
        return self.emulator.requests[-1].json


class Emulate(Protocol):
    """Starts an emulator with a script, and a model for it with these arguments."""

    def __call__(self, script: Any, /, *, tool_calls: str = "random", **arguments: Any) -> Emulated:
        """The model, and its emulator."""
        ...


async def watched(work: Coroutine[Any, Any, T]) -> tuple[T, float, float]:
    """What the work gives, the longest time for which it kept the event loop to itself, and how long it took."""
    task = asyncio.create_task(work)
    longest, begun = 0.0, time.perf_counter()
    before = begun
    while not task.done():
        await asyncio.sleep(0.001)
        now = time.perf_counter()
        longest, before = max(longest, now - before), now
    return await task, longest, before - begun


@pytest.fixture(params=["S", "V"])
def dialect(request: pytest.FixtureRequest) -> str:
    """The back-end that answers; `pytest.mark.parametrize` narrows it."""
    return request.param


@pytest.fixture
def endpoint() -> str:
    """The route that is used; `pytest.mark.parametrize` widens it."""
    return "run"


@pytest_asyncio.fixture
async def emulate(dialect: str, endpoint: str) -> AsyncIterator[Emulate]:
    """A factory of models with their emulators, all of which end with the test."""
    models: list[ChatCloudflareGemma] = []
    with ExitStack() as stack:

        def start(script: Any, /, *, tool_calls: str = "random", **arguments: Any) -> Emulated:
            emulator = stack.enter_context(Emulator(script, dialect=dialect, tool_calls=tool_calls, models=MODELS))
            reached = {
                "account_id": emulator.account_id,
                "api_token": emulator.api_token,
                "base_url": emulator.base_url,
                "endpoint": endpoint,
                "max_retries": 0,
            }
            model = ChatCloudflareGemma(**{**reached, **arguments})
            models.append(model)
            return Emulated(model, emulator)

        yield start
        for model in models:
            model.client.close()
            await model.async_client.aclose()


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's own configuration reaches these tests."""
    for name in (*VARIABLES, "CLOUDFLARE_BASE_URL", "LC_OUTPUT_VERSION"):
        monkeypatch.delenv(name, raising=False)


def gemma(**arguments: Any) -> ChatCloudflareGemma:
    """A model that is never called."""
    return ChatCloudflareGemma(**{"account_id": "acct", "api_token": CANARY, **arguments})
