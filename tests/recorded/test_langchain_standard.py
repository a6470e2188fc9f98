"""LangChain's standard integration tests, whole, with every toggle that is true of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import httpx
import pytest
from langchain_tests.integration_tests import ChatModelIntegrationTests

from cf_gemma.model.facts import MODEL
from langchain_cf_gemma import ChatCloudflareGemma
from tests.recorded import oracle
from tests.recorded.samples import RED_SQUARE

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.messages import AIMessage

pytestmark = [
    pytest.mark.vcr,
    # The stock benchmark is only timed when it is replayed.
    pytest.mark.filterwarnings("ignore:Benchmark fixture was not used"),
]


OTHER_MODEL = "@cf/meta/llama-3.3-70b-instruct-fp8-fast"
"""A chat model of Workers AI's that isn't Gemma."""


class TestStandard(ChatModelIntegrationTests):
    """All of them. The suite itself skips PDF and audio, which Gemma 4 26B doesn't take.

    See https://developers.cloudflare.com/workers-ai/models/gemma-4-26b-a4b-it/ for what it takes: text and images.
    """

    @pytest.fixture(autouse=True)
    def _connected(self, service: Callable[..., dict[str, Any]]) -> None:
        self._connection = service(oracle.answer, models=(MODEL, OTHER_MODEL), dialect=self.dialect)

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

    dialect = "S"
    """Which of the service's two back-ends the emulator is, when it is recorded."""

    supports_json_mode = True
    supports_image_inputs = True
    supports_image_tool_message = True
    supports_anthropic_inputs = True
    enable_vcr_tests = True
    model_override_value = OTHER_MODEL
    supported_usage_metadata_details: ClassVar[dict[str, list[str]]] = {
        # Workers AI counts reasoning as output and never says how much of it there was.
        "invoke": ["cache_read_input"],
        "stream": ["cache_read_input"],
    }

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> AIMessage:
        """An answer whose usage tells how much of the prompt was cached, which the service says every time."""
        model = ChatCloudflareGemma(**self._connection)
        if not stream:
            return model.invoke("Hello")
        first, *rest = model.stream("Hello")
        return first + rest


class TestStandardFunctionCalling(TestStandard):
    """The same, with structured output as the arguments of a forced call."""

    structured_output_kwargs: ClassVar[dict[str, str]] = {"method": "function_calling"}
    dialect = "V"


class TestStandardJsonSchema(TestStandard):
    """The same, with structured output as constrained text: the default, so it has no cassettes of its own."""

    structured_output_kwargs: ClassVar[dict[str, str]] = {"method": "json_schema"}
