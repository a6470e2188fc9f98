"""What the LlamaIndex tests share: a scripted emulator, a model that talks to it, one way to call both halves."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from cf_gemma.emulator import Emulator
from llama_index_cf_gemma import CloudflareGemma

TOKEN = "canary-token-4711"  # the emulator accepts what it is told to accept

Emulate = Callable[..., Emulator]
Connect = Callable[..., CloudflareGemma]
Call = Callable[..., Any]


@pytest.fixture
def emulate() -> Iterator[Emulate]:
    """Starts emulators; closes them at the end."""
    with ExitStack() as stack:

        def start(script: Any, **options: Any) -> Emulator:
            return stack.enter_context(Emulator(script, api_token=TOKEN, **options))

        yield start


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes models that talk to an emulator; closes them at the end."""
    with ExitStack() as stack:

        def make(emulator: Emulator, **settings: Any) -> CloudflareGemma:
            settings = {
                "base_url": emulator.base_url,
                "account_id": emulator.account_id,
                "api_token": TOKEN,
                **settings,
            }
            return stack.enter_context(CloudflareGemma(**settings))

        yield make


@pytest.fixture(params=[("run", "S"), ("run", "V"), ("chat_completions", "S"), ("chat_completions", "V")], ids="-".join)
def wire(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Both endpoints, both back-ends."""
    return request.param


@pytest.fixture
def gemma(wire: tuple[str, str], emulate: Emulate, connect: Connect) -> Connect:
    """A model over one of the wires, with a script; `model.emulator` is what it talks to."""
    endpoint, dialect = wire

    def make(script: Any, **settings: Any) -> tuple[CloudflareGemma, Emulator]:
        emulator = emulate(script, dialect=dialect)
        return connect(emulator, endpoint=endpoint, **settings), emulator

    return make


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """Calls a method of a model or its asynchronous twin (in a loop of its own); a stream comes as a list."""
    return _sync if request.param == "sync" else _async


def _sync(model: CloudflareGemma, method: str, *args: Any, **kwargs: Any) -> Any:
    result = getattr(model, method)(*args, **kwargs)
    return list(result) if inspect.isgenerator(result) else result


def _async(model: CloudflareGemma, method: str, *args: Any, **kwargs: Any) -> Any:
    async def run() -> Any:
        result = await getattr(model, f"a{method}")(*args, **kwargs)
        return [item async for item in result] if inspect.isasyncgen(result) else result

    return asyncio.run(run())
