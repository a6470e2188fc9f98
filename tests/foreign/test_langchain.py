"""langchain-openai at the chat-completions route, langchain-cloudflare at both."""

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

CALL = Reply(tool_calls=[ToolCallSpec("get_weather", {"city": "Lisbon"})])


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"Sunny in {city}"


def chat_openai(emulator: Emulator) -> Any:
    """ChatOpenAI, pointed at the emulator."""
    langchain_openai = pytest.importorskip(
        "langchain_openai", reason="github.com/langchain-ai/langchain (langchain-openai) is not installed"
    )
    return langchain_openai.ChatOpenAI(model=MODEL, base_url=chat_root(emulator), api_key=emulator.api_token)


def workers_ai(emulator: Emulator, endpoint: str) -> Any:
    """ChatCloudflareWorkersAI, pointed at the emulator."""
    langchain_cloudflare = pytest.importorskip(
        "langchain_cloudflare", reason="github.com/cloudflare/langchain-cloudflare is not installed"
    )
    return langchain_cloudflare.ChatCloudflareWorkersAI(
        model=MODEL,
        account_id=emulator.account_id,
        api_token=emulator.api_token,
        base_url=emulator.base_url,
        endpoint_format=endpoint,
    )


CLIENTS: dict[str, Callable[[Emulator], Any]] = {
    "ChatOpenAI": chat_openai,
    "ChatCloudflareWorkersAI, run": lambda emulator: workers_ai(emulator, "workers_ai"),
    "ChatCloudflareWorkersAI, chat": lambda emulator: workers_ai(emulator, "openai_compatible"),
}
PATHS = {
    "ChatOpenAI": "/ai/v1/",
    "ChatCloudflareWorkersAI, run": "/ai/run/",
    "ChatCloudflareWorkersAI, chat": "/ai/v1/",
}


@pytest.mark.parametrize("name", CLIENTS)
def test_invoke_and_stream(serve: Callable[[Any], Emulator], name: str) -> None:
    """Whole and streamed answers are read, at the route that the client is made for."""
    emulator = serve(["Hello there, you"] * 2)
    model = CLIENTS[name](emulator)
    assert model.invoke("Hi").text == "Hello there, you"
    assert "".join(chunk.text for chunk in model.stream("Hi")) == "Hello there, you"
    assert all(PATHS[name] in request.path for request in emulator.requests)


@pytest.mark.parametrize("name", CLIENTS)
def test_tools(serve: Callable[[Any], Emulator], name: str) -> None:
    """A tool call is read, and its result goes back in a form that the service takes."""
    from langchain_core.messages import HumanMessage, ToolMessage

    model = CLIENTS[name](serve([CALL, "It is sunny."])).bind_tools([get_weather])
    question = HumanMessage("Weather?")
    message = model.invoke([question])
    (call,) = message.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Lisbon"})
    result = ToolMessage("Sunny in Lisbon", tool_call_id=call["id"])
    assert model.invoke([question, message, result]).text == "It is sunny."


@pytest.mark.parametrize("name", CLIENTS)
def test_structured_output(serve: Callable[[Any], Emulator], name: str) -> None:
    """A schema is sent in a form that the service takes, and the answer parsed."""
    schema = {
        "title": "Person",
        "description": "A person.",
        "type": "object",
        "properties": {"name": {"type": "string"}},
        "required": ["name"],
        "additionalProperties": False,
    }
    model = CLIENTS[name](serve('{"name": "Maria"}')).with_structured_output(schema, method="json_schema")
    assert model.invoke("Maria is here.") == {"name": "Maria"}
