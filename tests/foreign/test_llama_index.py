"""LlamaIndex's OpenAILike at the chat-completions route."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cf_gemma.emulator import Emulator, Reply, ToolCallSpec
from cf_gemma.model.facts import MODEL

from .conftest import chat_root

if TYPE_CHECKING:
    from collections.abc import Callable

# These clients leave their connections to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"Sunny in {city}"


@pytest.fixture
def connect(serve: Callable[[Any], Emulator]) -> Callable[[Any], Any]:
    """OpenAILike, pointed at an emulator with a script."""
    openai_like = pytest.importorskip(
        "llama_index.llms.openai_like",
        reason="github.com/run-llama/llama_index (llama-index-llms-openai-like) is not installed",
    )

    def start(script: Any) -> Any:
        emulator = serve(script)
        return openai_like.OpenAILike(
            model=MODEL,
            api_base=chat_root(emulator),
            api_key=emulator.api_token,
            is_chat_model=True,
            is_function_calling_model=True,
            context_window=256_000,
        )

    return start


def test_chat_and_stream(connect: Callable[[Any], Any]) -> None:
    """Whole and streamed answers are read."""
    from llama_index.core.llms import ChatMessage

    llm = connect(["Hello there, you"] * 3)
    messages = [ChatMessage(role="user", content="Hi")]
    assert llm.chat(messages).message.content == "Hello there, you"
    assert list(llm.stream_chat(messages))[-1].message.content == "Hello there, you"
    assert llm.complete("Hi").text == "Hello there, you"


def test_tools(connect: Callable[[Any], Any]) -> None:
    """A tool is called with the arguments that the model gave."""
    from llama_index.core.tools import FunctionTool

    llm = connect(Reply(tool_calls=[ToolCallSpec("get_weather", {"city": "Lisbon"})]))
    called = llm.predict_and_call([FunctionTool.from_defaults(get_weather)], "Weather in Lisbon?")
    assert str(called) == "Sunny in Lisbon"
