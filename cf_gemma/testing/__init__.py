"""A pytest plugin: the fixture `workers_ai`, a local Workers AI for one test, which says what the test tells it to.

    pytest_plugins = ["cf_gemma.testing"]  # in the conftest.py beside your pytest configuration

    def test_greeting(workers_ai):
        workers_ai.says("Hello!")
        assert ChatCloudflareGemma().invoke("Hi").text == "Hello!"
        assert workers_ai.messages == [{"role": "user", "content": "Hi"}]

It isn't loaded by itself: a plugin that every pytest of an environment loads would start with each of them, wanted or
not. With `workers_ai_only = true` in pytest's configuration nothing of the run reaches the real service, and models
that are made when a module is imported reach the fixture. Needs the extra `testing`; docs/testing.md shows
a test of a RAG pipeline and one of an agent.

While the fixture is in use, no client waits before it tries again; `no_waits` does the same without the fixture.

PYTEST_DONT_REWRITE (there are no assertions here, and pytest would warn of a module that is imported already)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cf_gemma.emulator import CUT, Emulator, Fault, RecordedRequest, Reply, ToolCallSpec
from cf_gemma.testing.workers_ai import Unmet, WorkersAI
from cf_gemma.transport.waits import no_waits

if TYPE_CHECKING:
    from collections.abc import Generator

    from cf_gemma.emulator.edge.settings import Options

__all__ = ["CUT", "Fault", "RecordedRequest", "Reply", "ToolCallSpec", "WorkersAI", "no_waits"]

_FAILED = pytest.StashKey[bool]()
_PORT = pytest.StashKey[int]()


@pytest.fixture
def workers_ai_options() -> Options:
    """The settings of `workers_ai`'s emulator, see `cf_gemma.emulator.Settings`. Define your own to change them."""
    return {}


@pytest.fixture
def workers_ai(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, workers_ai_options: Options
) -> Generator[WorkersAI]:
    """A local Workers AI on a free port, to which the environment points as long as the test runs.

    Meanwhile clients don't wait before they try again: `workers_ai.waits` has the seconds that they would have waited.
    A test that passed fails in the end when a reply was left over, or when a request came that had none, unless
    `workers_ai.strict` is False.
    """
    stand_in = WorkersAI()
    if _PORT in request.config.stash:
        workers_ai_options = {**workers_ai_options, "port": request.config.stash[_PORT]}
    with Emulator(stand_in.reply, **workers_ai_options) as stand_in.emulator, no_waits() as stand_in.waits:
        for name, value in stand_in.environment.items():
            monkeypatch.setenv(name, value)
        yield stand_in
    if request.node.stash.get(_FAILED, False):
        return
    try:
        stand_in.check()
    except Unmet as unmet:
        pytest.fail(str(unmet), pytrace=False)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declares `workers_ai_only`."""
    about = "Point the environment at the place of workers_ai for the whole run, so that nothing reaches the service"
    parser.addini("workers_ai_only", about, type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """With `workers_ai_only`, picks the one port for every `workers_ai`, and points the environment at it."""
    if not config.getini("workers_ai_only"):
        return
    stand_in = WorkersAI()
    with Emulator(stand_in.reply) as stand_in.emulator:
        config.stash[_PORT] = stand_in.emulator.port
    environment = pytest.MonkeyPatch()
    config.add_cleanup(environment.undo)
    for name, value in stand_in.environment.items():
        environment.setenv(name, value)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remembers which tests failed by themselves: what they left over is no news."""
    report = yield
    if call.when == "call":
        item.stash[_FAILED] = not report.passed
    return report
