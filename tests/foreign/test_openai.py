"""The openai SDK at the chat-completions route."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from cf_gemma.emulator import Emulator, Fault, Reply, ToolCallSpec
from cf_gemma.model.facts import MODEL

from .conftest import WEATHER, chat_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

openai = pytest.importorskip("openai", reason="github.com/openai/openai-python is not installed")
HI: Any = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def connect(serve: Callable[[Any], Emulator]) -> Iterator[Callable[[Any], Any]]:
    """Clients of emulators with a script."""
    clients: list[Any] = []

    def start(script: Any) -> Any:
        # A closing delta of nulls, which some of the service's models send, is beyond this SDK's stream helper.
        emulator = serve(script, tool_calls="fragments")
        clients.append(openai.OpenAI(base_url=chat_root(emulator), api_key=emulator.api_token, max_retries=1))
        return clients[-1]

    yield start
    for client in clients:
        client.close()


def test_plain(connect: Callable[[Any], Any]) -> None:
    """A whole answer, with its usage."""
    completion = connect("Hello!").chat.completions.create(model=MODEL, messages=HI)
    assert completion.choices[0].message.content == "Hello!"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens > 0


def test_stream(connect: Callable[[Any], Any]) -> None:
    """A stream is read to its end, and its last chunk has the usage and no choice."""
    client = connect(Reply("Hello there, you", reasoning="Be kind."))
    chunks = list(
        client.chat.completions.create(model=MODEL, messages=HI, stream=True, stream_options={"include_usage": True})
    )
    texts = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(texts) == "Hello there, you"
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], 6)


def test_tools(connect: Callable[[Any], Any]) -> None:
    """A call comes, whole and streamed, and its result is taken."""
    client = connect([Reply(tool_calls=[ToolCallSpec("get_weather", {"city": "Lisbon"})])] * 2 + [Reply("Sunny.")])
    options: Any = {"model": MODEL, "tools": [WEATHER], "tool_choice": "auto"}
    message = client.chat.completions.create(messages=HI, **options).choices[0].message
    assert json.loads(message.tool_calls[0].function.arguments) == {"city": "Lisbon"}
    with client.chat.completions.stream(messages=HI, **options) as stream:
        final = stream.get_final_completion().choices[0]
    assert (final.finish_reason, final.message.tool_calls[0].function.name) == ("tool_calls", "get_weather")
    result: Any = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"}
    # Without the nulls that back-end V spells out: the schema refuses them on the way back.
    turn = message.to_dict(exclude_none=True)
    answer = client.chat.completions.create(messages=[*HI, turn, result], **options)
    assert answer.choices[0].message.content == "Sunny."


def test_json_schema(connect: Callable[[Any], Any]) -> None:
    """A Pydantic class is sent as a schema, and the answer parsed into one."""
    from pydantic import BaseModel

    class Person(BaseModel):
        name: str
        age: int

    client = connect('{"name": "Maria", "age": 34}')
    completion = client.chat.completions.parse(model=MODEL, messages=HI, response_format=Person)
    assert completion.choices[0].message.parsed == Person(name="Maria", age=34)


def test_errors(connect: Callable[[Any], Any]) -> None:
    """A busy moment is waited out, and a refusal has its class."""
    client = connect([Fault(429, 3040, retry_after=0.01), "Hello!"])
    assert client.chat.completions.create(model=MODEL, messages=HI).choices[0].message.content == "Hello!"
    with pytest.raises(openai.BadRequestError, match="oneOf at '/' not met, 0 matches"):
        client.chat.completions.create(model=MODEL, messages=HI, temperature=3)
