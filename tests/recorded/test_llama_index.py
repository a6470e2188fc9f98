from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock, ThinkingBlock
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool

from cf_gemma.emulator import Reply, ToolCallSpec
from cf_gemma.errors import AuthenticationError
from llama_index_cf_gemma import CloudflareGemma
from tests.recorded.samples import COUNT, RED_SQUARE, TWO_CITIES, Person, get_weather

if TYPE_CHECKING:
    from collections.abc import Callable

    Service = Callable[..., dict[str, Any]]

pytestmark = pytest.mark.vcr
both_dialects = pytest.mark.parametrize("dialect", ["S", "V"])


@both_dialects
def test_plain(service: Service, dialect: str) -> None:
    """A completion that is not streamed has text, usage and a finish reason."""
    llm = CloudflareGemma(thinking=False, max_tokens=100, **service(["Hello, how can I help?"], dialect=dialect))
    response = llm.complete("Say hello.")
    assert response.text
    assert response.raw["usage"]["completion_tokens"] > 0
    assert response.additional_kwargs["finish_reason"] == "stop"


@both_dialects
def test_stream(service: Service, dialect: str) -> None:
    """The deltas of a stream add up to its last message, which has the usage."""
    llm = CloudflareGemma(thinking=False, max_tokens=100, **service(["One, two, three, four, five."], dialect=dialect))
    responses = list(llm.stream_chat([ChatMessage("Count to five in words.")]))
    assert sum(bool(response.delta) for response in responses) > 1
    assert "".join(response.delta or "" for response in responses) == responses[-1].message.content
    assert responses[-1].raw["usage"]["completion_tokens"] > 0


@both_dialects
async def test_reasoning(service: Service, dialect: str) -> None:
    """Reasoning comes as a thinking block in front of the text."""
    script = [Reply("The answer is 408.", reasoning="17 times 24 is 17 times 20 plus 17 times 4.")]
    llm = CloudflareGemma(thinking=True, **service(script, dialect=dialect))
    response = await llm.achat([ChatMessage("What is 17 times 24?")])
    assert [type(block) for block in response.message.blocks] == [ThinkingBlock, TextBlock]


@both_dialects
def test_tool_call(service: Service, dialect: str) -> None:
    """A required call is made with the arguments that the question gives."""
    script = [Reply(tool_calls=[ToolCallSpec("get_weather", {"city": "Lisbon"})])]
    llm = CloudflareGemma(thinking=False, **service(script, dialect=dialect))
    tools = [FunctionTool.from_defaults(get_weather)]
    response = llm.chat_with_tools(tools, "What is the weather in Lisbon?", tool_required=True)
    calls = llm.get_tool_calls_from_response(response)
    assert [(call.tool_name, list(call.tool_kwargs)) for call in calls] == [("get_weather", ["city"])]


@both_dialects
def test_structured(service: Service, dialect: str) -> None:
    """A structured prediction is an object of the class that was asked for."""
    llm = CloudflareGemma(**service(['{"name": "Maria", "age": 34}'], dialect=dialect))
    prompt = PromptTemplate("Maria is {age} years old.")
    assert llm.structured_predict(Person, prompt, age=34) == Person(name="Maria", age=34)


@both_dialects
def test_image(service: Service, dialect: str) -> None:
    """An image block goes along as a data URL and is answered."""
    llm = CloudflareGemma(thinking=False, max_tokens=100, **service(["Red."], dialect=dialect))
    question = ChatMessage(blocks=[TextBlock(text="Which colour? One word."), ImageBlock(image=RED_SQUARE)])
    response = llm.chat([question])
    assert "red" in (response.message.content or "").lower()


@both_dialects
async def test_streamed_tool_call(service: Service, dialect: str) -> None:
    """A call that comes in pieces, behind its reasoning, is whole in the last response."""
    call = ToolCallSpec("get_weather", {"city": "Lisbon"})
    script = [Reply(reasoning="The weather is asked for.", tool_calls=[call])]
    llm = CloudflareGemma(thinking=True, **service(script, dialect=dialect))
    stream = await llm.astream_chat_with_tools(
        [FunctionTool.from_defaults(get_weather)], "What is the weather in Lisbon?", tool_required=True
    )
    *_, last = [response async for response in stream]
    calls = llm.get_tool_calls_from_response(last)
    assert [(call.tool_name, list(call.tool_kwargs)) for call in calls] == [("get_weather", ["city"])]
    assert last.raw["usage"]["completion_tokens"] > 0


@both_dialects
def test_streamed_structure(service: Service, dialect: str) -> None:
    """A streamed object grows, and is whole at the end."""
    llm = CloudflareGemma(**service(['{"name": "Maria", "age": 34}'], dialect=dialect))
    *_, last = llm.stream_structured_predict(Person, PromptTemplate("Maria is {age} years old."), age=34)
    assert last == Person(name="Maria", age=34)


@both_dialects
def test_chat_completions(service: Service, dialect: str) -> None:
    """The OpenAI-shaped route gives the same kind of answer."""
    script = [Reply("It is 408.", reasoning="17 times 20 is 340.")]
    llm = CloudflareGemma(endpoint="chat_completions", thinking=True, **service(script, dialect=dialect))
    response = llm.chat([ChatMessage("What is 17 times 24?")])
    assert [type(block) for block in response.message.blocks] == [ThinkingBlock, TextBlock]


@both_dialects
def test_chat_completions_at_once(service: Service, dialect: str) -> None:
    """A short answer of the OpenAI-shaped route comes as one JSON object."""
    connection = service(["Hello, how can I help?"], dialect=dialect)
    llm = CloudflareGemma(endpoint="chat_completions", thinking=False, max_tokens=100, **connection)
    response = llm.chat([ChatMessage("Say hello.")])
    assert response.message.content
    assert response.additional_kwargs["finish_reason"] == "stop"


@both_dialects
@pytest.mark.parametrize("streamed", [False, True])
def test_parallel_calls(service: Service, dialect: str, streamed: bool) -> None:
    """Two calls of one answer are two, with ids of their own."""
    script = [Reply(tool_calls=[ToolCallSpec("get_weather", {"city": city}) for city in ("Lisbon", "Oslo")])]
    llm = CloudflareGemma(thinking=False, **service(script, dialect=dialect))
    asked = {"tools": [FunctionTool.from_defaults(get_weather)], "allow_parallel_tool_calls": True}
    if streamed:
        *_, response = llm.stream_chat_with_tools(user_msg=TWO_CITIES, **asked)
    else:
        response = llm.chat_with_tools(user_msg=TWO_CITIES, **asked)
    calls = llm.get_tool_calls_from_response(response)
    assert [call.tool_kwargs["city"] for call in calls] == ["Lisbon", "Oslo"]
    assert len({call.tool_id for call in calls}) == 2


# Core's own deprecations.
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211")
@both_dialects
async def test_agent(service: Service, dialect: str) -> None:
    """An agent calls its tool, sends the result back and answers, streamed."""
    script = [Reply(tool_calls=[ToolCallSpec("get_weather", {"city": "Lisbon"})]), "It is sunny in Lisbon."]
    llm = CloudflareGemma(thinking=False, **service(script, dialect=dialect))
    agent = FunctionAgent(tools=[get_weather], llm=llm)
    result = await agent.run("What is the weather in Lisbon? Use the tool.")
    assert [call.tool_name for call in result.tool_calls] == ["get_weather"]
    assert "sunny" in str(result).lower()


@both_dialects
def test_logprobs(service: Service, dialect: str) -> None:
    """The tokens come with as many alternatives as were asked for."""
    llm = CloudflareGemma(thinking=False, max_tokens=100, **service(["Hello!"], dialect=dialect))
    response = llm.complete("Say hello.", logprobs=True, top_logprobs=2)
    assert {len(alternatives) for alternatives in response.logprobs} == {2}


@both_dialects
def test_stop(service: Service, dialect: str) -> None:
    """The answer ends before the text at which it is to stop, in a stream, too."""
    llm = CloudflareGemma(thinking=False, max_tokens=100, **service(["One, two, three, four."], dialect=dialect))
    *_, last = llm.stream_complete(COUNT, stop=["three"])
    assert "two" in last.text.lower()
    assert "three" not in last.text.lower()
    assert last.additional_kwargs["finish_reason"] == "stop"


def test_error(service: Service) -> None:
    """A refused token is an AuthenticationError with Cloudflare's code."""
    llm = CloudflareGemma(max_tokens=100, **{**service([]), "api_token": "not-a-token"})
    with pytest.raises(AuthenticationError) as caught:
        llm.chat([ChatMessage("Say hello.")])
    assert (caught.value.status, caught.value.code, caught.value.attempts) == (401, 10000, 1)
