"""Other people's clients, as they are installed: each must take the emulator for the service."""

from __future__ import annotations

import gc
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from cf_gemma.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture(scope="module", autouse=True)
def _leftovers() -> Iterator[None]:
    """Some of these clients leave connections open: theirs are not to be found in other tests."""
    yield
    with warnings.catch_warnings(action="ignore"):
        gc.collect()


@pytest.fixture(params=["S", "V"])
def serve(request: pytest.FixtureRequest) -> Iterator[Callable[..., Emulator]]:
    """Starts an emulator with a script, once for each of the service's back-ends."""
    emulators: list[Emulator] = []

    def start(script: Any, **options: Any) -> Emulator:
        emulators.append(Emulator(script, dialect=request.param, **options))
        return emulators[-1]

    yield start
    for emulator in emulators:
        emulator.close()


def chat_root(emulator: Emulator) -> str:
    """What OpenAI's clients take for their base URL, as Cloudflare's documentation has it."""
    return f"{emulator.base_url}/accounts/{emulator.account_id}/ai/v1"
