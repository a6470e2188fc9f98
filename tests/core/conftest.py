"""Both callers for the tests of the network; no time limits for Hypothesis on a busy machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.core.callers import AsyncCaller, Caller, SyncCaller

if TYPE_CHECKING:
    from collections.abc import Iterator

hypothesis.settings.register_profile("core", deadline=None)
hypothesis.settings.load_profile("core")


@pytest.fixture(params=[SyncCaller, AsyncCaller], ids=["sync", "async"])
def caller(request: pytest.FixtureRequest) -> Iterator[Caller]:
    """Gemma and AsyncGemma in turn."""
    caller = request.param()
    yield caller
    caller.close()
