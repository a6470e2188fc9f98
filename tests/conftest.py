"""What holds for every test: no credentials and no proxies of the machine, no call out of it, no time limits.

And whatever the product sends to an emulator, which checks it against the published schema, the model can read.
"""

from __future__ import annotations

import gc
import os
import re
import signal
from typing import TYPE_CHECKING

import hypothesis
import pytest
from pytest_recording import network

from cf_gemma.emulator.edge.service import Service
from tests.request.template import flaws
from tests.transport.callers import AsyncCaller, Caller, SyncCaller

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from starlette.requests import Request

hypothesis.settings.register_profile("busy machine", deadline=None)
hypothesis.settings.load_profile("busy machine")

_OF_THE_MACHINE = re.compile(
    r".*_proxy|cloudflare_.*|cf_.*|langsmith_.*|langchain_tracing.*|lc_output_version", re.IGNORECASE
)
CREDENTIALS = {name: os.environ.get(name) for name in ("CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_API_TOKEN")}
"""What the environment held before it was cleared: recording against the service needs them."""


def pytest_configure() -> None:
    """Lets Ctrl-C reach the programs under test; what a shell starts in the background ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keeps the garbage collector from what is loaded for all tests, the frameworks above all: that stays."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _neutral_environment() -> None:
    for name in [name for name in os.environ if _OF_THE_MACHINE.fullmatch(name)]:
        del os.environ[name]


@pytest.fixture(scope="module", autouse=True)
def block_network(pytestconfig: pytest.Config) -> Iterator[None]:
    """Lets no call out: pytest-recording's own does so for each test, which only tests/recorded needs."""
    with network.blocking_context(pytestconfig.getoption("--allowed-hosts").split(",")):
        yield


@pytest.fixture(scope="session", autouse=True)
def vcr() -> None:
    """No cassette: those are replayed in tests/recorded only."""


@pytest.fixture(scope="session")
def _template() -> None:
    """Makes the template ready, which takes a while, before a test looks at the clock."""
    assert flaws({"messages": [{"role": "user", "content": "hi"}]}) == []


@pytest.fixture(autouse=True)
def _readable_requests(_template: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Google's template prints every request that the product sends to an emulator in this process."""
    unreadable: list[str] = []
    record = Service._record

    def judging(service: Service, request: Request, raw: bytes) -> object:
        payload = record(service, request, raw)
        if request.headers.get("user-agent", "").startswith("cf-gemma/") and isinstance(payload, dict):
            unreadable.extend(flaw for body in payload.get("requests", [payload]) for flaw in flaws(body))
        return payload

    monkeypatch.setattr(Service, "_record", judging)
    yield
    assert unreadable == []


@pytest.fixture(params=[SyncCaller, AsyncCaller], ids=["sync", "async"])
def caller(request: pytest.FixtureRequest) -> Iterator[Caller]:
    """Gemma and AsyncGemma in turn."""
    caller = request.param()
    yield caller
    caller.close()
