from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool

from cf_gemma import image_part
from cf_gemma.emulator import Reply, ToolCallSpec
from cf_gemma.errors import AuthenticationError, NotFound
from langchain_cf_gemma import ChatCloudflareGemma
from tests.recorded.samples import COUNT, RED_SQUARE, TWO_CITIES, Person, get_weather

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_core.messages import AIMessageChunk

    Service = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.vcr
both_dialects = pytest.mark.parametrize("dialect", ["S", "V"])


def sum_of(chunks: Iterator[AIMessageChunk]) -> AIMessageChunk:
    """The message that a stream's chunks add up to."""
    first, *rest = chunks
    return sum(rest, start=first)


@both_dialects
def test_plain(service: Service, dialect: str) -> None:
    """An answer that is not streamed has text, usage, finish reason and model."""
    llm = ChatCloudflareGemma(thinking=False, max_tokens=100, **service(["Hello, how can I help?"], dialect=dialect))
    message = llm.invoke("Say hello.")
    assert message.text
    assert message.usage_metadata is not None
    assert message.usage_metadata["output_tokens"] > 0
    assert message.response_metadata["finish_reason"] == "stop"
    assert "gemma-4" in message.response_metadata["model_name"]


@both_dialects
def test_stream(service: Service, dialect: str) -> None:
    """A streamed answer comes in several chunks, and its usage once, with the last."""
    llm = ChatCloudflareGemma(
        thinking=False, max_tokens=100, **service(["One, two, three, four, five."], dialect=dialect)
    )
    chunks = list(llm.stream("Count to five in words."))
    assert sum(bool(chunk.text) for chunk in chunks) > 1
    assert [chunk.usage_metadata is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


@both_dialects
def test_reasoning(service: Service, dialect: str) -> None:
    """Reasoning comes apart from the answer, in front of it."""
    script = [Reply("The answer is 408.", reasoning="17 times 24 is 17 times 20 plus 17 times 4.")]
    llm = ChatCloudflareGemma(thinking=True, **service(script, dialect=dialect))
    message = llm.invoke("What is 17 times 24?")
    assert message.additional_kwargs["reasoning_content"]
    assert [block["type"] for block in message.content_blocks] == ["reasoning", "text"]


@both_dialects
def test_tool_call(service: Service, dialect: str) -> None:
    """A forced call is made, its result goes back, and an answer in text follows."""
    script = [Reply(tool_calls=[ToolCallSpec("get_weather", {"city": "Lisbon"})]), "It is sunny in Lisbon."]
    weather = tool(get_weather)
    llm = ChatCloudflareGemma(thinking=False, **service(script, dialect=dialect))
    question = HumanMessage("What is the weather in Lisbon?")
    call = llm.bind_tools([weather], tool_choice="get_weather").invoke([question])
    assert isinstance(call, AIMessage)
    assert [one["name"] for one in call.tool_calls] == ["get_weather"]
    result = weather.invoke(dict(call.tool_calls[0], type="tool_call"))
    assert llm.bind_tools([weather]).invoke([question, call, result]).text


@both_dialects
def test_structured(service: Service, dialect: str) -> None:
    """Structured output is an object of the class that was asked for."""
    llm = ChatCloudflareGemma(**service(['{"name": "Maria", "age": 34}'], dialect=dialect))
    person = llm.with_structured_output(Person, method="json_schema").invoke("Maria is 34 years old.")
    assert person == Person(name="Maria", age=34)


@both_dialects
def test_image(service: Service, dialect: str) -> None:
    """An image goes along as a data URL and is answered."""
    llm = ChatCloudflareGemma(thinking=False, max_tokens=100, **service(["Red."], dialect=dialect))
    question = HumanMessage([{"type": "text", "text": "Which colour? One word."}, image_part(RED_SQUARE)])
    assert "red" in llm.invoke([question]).text.lower()


@both_dialects
async def test_streamed_tool_call(service: Service, dialect: str) -> None:
    """A call that comes in pieces, behind its reasoning, is whole in the merged message."""
    call = ToolCallSpec("get_weather", {"city": "Lisbon"})
    script = [Reply(reasoning="The weather is asked for.", tool_calls=[call])]
    llm = ChatCloudflareGemma(thinking=True, **service(script, dialect=dialect))
    bound = llm.bind_tools([tool(get_weather)], tool_choice="get_weather")
    first, *rest = [chunk async for chunk in bound.astream("What is the weather in Lisbon?")]
    message = sum(rest, start=first)
    assert [one["name"] for one in message.tool_calls] == ["get_weather"]
    assert message.tool_calls[0]["args"].keys() == {"city"}
    assert message.usage_metadata is not None


@both_dialects
def test_streamed_structure(service: Service, dialect: str) -> None:
    """A streamed object grows, and is whole at the end."""
    llm = ChatCloudflareGemma(**service(['{"name": "Maria", "age": 34}'], dialect=dialect))
    *_, last = llm.with_structured_output(Person, method="json_schema").stream("Maria is 34 years old.")
    assert last == Person(name="Maria", age=34)


@both_dialects
def test_chat_completions(service: Service, dialect: str) -> None:
    """The OpenAI-shaped route gives the same kind of answer."""
    script = [Reply("It is 408.", reasoning="17 times 20 is 340.")]
    llm = ChatCloudflareGemma(endpoint="chat_completions", thinking=True, **service(script, dialect=dialect))
    message = llm.invoke("What is 17 times 24?")
    assert message.additional_kwargs["reasoning_content"]
    assert message.text


@both_dialects
def test_chat_completions_at_once(service: Service, dialect: str) -> None:
    """A short answer of the OpenAI-shaped route comes as one JSON object."""
    connection = service(["Hello, how can I help?"], dialect=dialect)
    llm = ChatCloudflareGemma(endpoint="chat_completions", thinking=False, max_tokens=100, **connection)
    message = llm.invoke("Say hello.")
    assert message.text
    assert message.response_metadata["finish_reason"] == "stop"


@both_dialects
@pytest.mark.parametrize("streamed", [False, True])
def test_parallel_calls(service: Service, dialect: str, streamed: bool) -> None:
    """Two calls of one answer are two, with ids of their own."""
    script = [Reply(tool_calls=[ToolCallSpec("get_weather", {"city": city}) for city in ("Lisbon", "Oslo")])]
    llm = ChatCloudflareGemma(thinking=False, **service(script, dialect=dialect)).bind_tools([tool(get_weather)])
    message = sum_of(llm.stream(TWO_CITIES)) if streamed else llm.invoke(TWO_CITIES)
    assert [call["args"]["city"] for call in message.tool_calls] == ["Lisbon", "Oslo"]
    assert len({call["id"] for call in message.tool_calls}) == 2
    assert message.response_metadata["finish_reason"] == "tool_calls"


@both_dialects
def test_logprobs(service: Service, dialect: str) -> None:
    """The tokens come with their log probabilities, and with as many alternatives as were asked for."""
    llm = ChatCloudflareGemma(thinking=False, max_tokens=100, **service(["Hello!"], dialect=dialect))
    message = llm.invoke("Say hello.", logprobs=True, top_logprobs=2)
    tokens = message.response_metadata["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens).strip().startswith(message.text.strip()[:5])
    assert {len(token["top_logprobs"]) for token in tokens} == {2}


@both_dialects
def test_stop(service: Service, dialect: str) -> None:
    """The answer ends before the text at which it is to stop."""
    llm = ChatCloudflareGemma(thinking=False, max_tokens=100, **service(["One, two, three, four."], dialect=dialect))
    message = llm.invoke(COUNT, stop=["three"])
    assert "two" in message.text.lower()
    assert "three" not in message.text.lower()
    assert message.response_metadata["finish_reason"] == "stop"


@both_dialects
def test_cut_off(service: Service, dialect: str) -> None:
    """An answer that ran into `max_tokens` says so."""
    llm = ChatCloudflareGemma(thinking=False, max_tokens=3, **service(["One, two, three, four."], dialect=dialect))
    assert llm.invoke(COUNT).response_metadata["finish_reason"] == "length"


@both_dialects
def test_several_answers(service: Service, dialect: str) -> None:
    """`n` answers are as many generations, whose usage counts once."""
    llm = ChatCloudflareGemma(n=2, thinking=False, max_tokens=100, **service(["Hello!", "Hi!"], dialect=dialect))
    (generations,) = llm.generate([[HumanMessage("Say hello.")]]).generations
    assert all(generation.text for generation in generations)
    assert [generation.message.usage_metadata is not None for generation in generations] == [True, False]


def test_no_such_model(service: Service) -> None:
    """A model that isn't there is a NotFound, and isn't asked for again."""
    llm = ChatCloudflareGemma(model="@cf/google/no-such-model", max_tokens=100, **service([]))
    with pytest.raises(NotFound) as caught:
        llm.invoke("Say hello.")
    assert caught.value.attempts == 1


def test_queue(service: Service) -> None:
    """The asynchronous queue takes a batch and tells how far it is."""
    llm = ChatCloudflareGemma(thinking=False, max_tokens=100, **service(["One", "Two"]))
    handle = llm.client.batch.submit(["Say one.", "Say two."])
    assert handle.parts[0].references == ("0", "1")
    assert llm.client.batch.status(handle).states[0]


def test_error(service: Service) -> None:
    """A refused token is an AuthenticationError with Cloudflare's code."""
    llm = ChatCloudflareGemma(max_tokens=100, **{**service([]), "api_token": "not-a-token"})
    with pytest.raises(AuthenticationError) as caught:
        llm.invoke("Say hello.")
    assert (caught.value.status, caught.value.code, caught.value.attempts) == (401, 10000, 1)
