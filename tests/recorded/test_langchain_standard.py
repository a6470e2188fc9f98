"""LangChain's standard integration tests, whole, with every toggle that is true of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests

from langchain_cf_gemma import ChatCloudflareGemma
from tests.recorded import oracle
from tests.recorded.samples import RED_SQUARE

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.vcr,
    # The stock benchmark is only timed when it is replayed.
    pytest.mark.filterwarnings("ignore:Benchmark fixture was not used"),
]


class TestStandard(ChatModelIntegrationTests):
    """All of them. The suite itself skips PDF and audio, which Gemma 4 26B doesn't take.

    See https://developers.cloudflare.com/workers-ai/models/gemma-4-26b-a4b-it/ for what it takes: text and images.
    """

    @pytest.fixture(autouse=True)
    def _connected(self, service: Callable[..., dict[str, Any]]) -> None:
        self._connection = service(oracle.answer, dialect="S")

    @pytest.fixture(autouse=True)
    def _picture_served_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two stock tests download a picture from GitHub to send it; the network is blocked."""
        picture = httpx.Response(200, content=RED_SQUARE)
        monkeypatch.setattr(httpx, "get", lambda url, **_: picture)

    @property
    def chat_model_class(self) -> type[ChatCloudflareGemma]:
        """What is tested."""
        return ChatCloudflareGemma

    @property
    def chat_model_params(self) -> dict[str, Any]:
        """Where it is tested."""
        return self._connection

    supports_json_mode = True
    supports_image_inputs = True
    supports_image_tool_message = True
    supports_anthropic_inputs = True
    enable_vcr_tests = True
    model_override_value = "@cf/google/gemma-4-26b-a4b-it"
