from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ThinkingBlock, ToolCallBlock

from cf_gemma import AsyncGemma, Completion, Gemma
from cf_gemma.emulator import Emulator, Reply, ToolCallSpec
from cf_gemma.errors import ConfigurationError, InvalidRequest
from langchain_cf_gemma import ChatCloudflareGemma
from llama_index_cf_gemma import CloudflareGemma

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.messages import AIMessage

TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("add", "halve")
]
REPLY = Reply(
    "Two things at once.",
    reasoning="Both are needed.",
    tool_calls=[ToolCallSpec("add", {"a": 1, "b": 2}), ToolCallSpec("halve", {"of": "é"})],
)


class Told(NamedTuple):
    """What an answer says, whoever was asked."""

    text: str
    reasoning: str
    calls: list[tuple[str, Any]]
    usage: tuple[int, int, int]
    finish_reason: str | None


TRUTH = Told(
    "Two things at once.",
    "Both are needed.",
    [("add", {"a": 1, "b": 2}), ("halve", {"of": "é"})],
    usage=(0, 0, 0),
    finish_reason="tool_calls",
)


def _of_completion(completion: Completion) -> Told:
    assert completion.usage is not None
    return Told(
        completion.text,
        completion.reasoning,
        [(call.name, call.args) for call in completion.tool_calls],
        (completion.usage.prompt_tokens, completion.usage.completion_tokens, completion.usage.total_tokens),
        completion.finish_reason,
    )


def _of_message(message: AIMessage) -> Told:
    assert message.usage_metadata is not None
    usage = message.usage_metadata
    return Told(
        message.text,
        message.additional_kwargs["reasoning_content"],
        [(call["name"], call["args"]) for call in message.tool_calls],
        (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]),
        message.response_metadata["finish_reason"],
    )


def _of_response(response: ChatResponse, llm: CloudflareGemma) -> Told:
    blocks = response.message.blocks
    usage = response.raw["usage"]
    return Told(
        response.message.content or "",
        "".join(block.content or "" for block in blocks if isinstance(block, ThinkingBlock)),
        [
            (call.tool_name, call.tool_kwargs)
            for call in llm.get_tool_calls_from_response(response)
            if any(isinstance(block, ToolCallBlock) for block in blocks)
        ],
        (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]),
        response.additional_kwargs["finish_reason"],
    )


async def _gemma(where: dict[str, Any]) -> list[Told]:
    model = Gemma(**where, tools=TOOLS)
    *_, last = model.stream("x")
    assert isinstance(last, Completion)
    return [_of_completion(model.chat("x", max_tokens=500)), _of_completion(model.chat("x")), _of_completion(last)]


async def _async_gemma(where: dict[str, Any]) -> list[Told]:
    model = AsyncGemma(**where, tools=TOOLS)
    *_, last = [item async for item in model.stream("x")]
    assert isinstance(last, Completion)
    return [
        _of_completion(await model.chat("x", max_tokens=500)),
        _of_completion(await model.chat("x")),
        _of_completion(last),
    ]


async def _langchain(where: dict[str, Any]) -> list[Told]:
    model = ChatCloudflareGemma(**where).bind_tools(TOOLS)
    first, *rest = model.stream("x")
    async_first, *async_rest = [chunk async for chunk in model.astream("x")]
    return [
        _of_message(model.invoke("x", max_tokens=500)),
        _of_message(await model.ainvoke("x")),
        _of_message(sum(rest, start=first)),
        _of_message(sum(async_rest, start=async_first)),
    ]


async def _llama_index(where: dict[str, Any]) -> list[Told]:
    model = CloudflareGemma(**where)
    question = [ChatMessage("x")]
    *_, last = model.stream_chat(question, tools=TOOLS)
    *_, async_last = [response async for response in await model.astream_chat(question, tools=TOOLS)]
    responses = [
        model.chat(question, tools=TOOLS, max_tokens=500),
        await model.achat(question, tools=TOOLS),
        last,
        async_last,
    ]
    return [_of_response(response, model) for response in responses]


@pytest.mark.parametrize("dialect", ["S", "V"])
@pytest.mark.parametrize("endpoint", ["run", "chat_completions"])
@pytest.mark.parametrize("ask", [_gemma, _async_gemma, _langchain, _llama_index])
async def test_same_answer(dialect: str, endpoint: str, ask: Callable[[dict[str, Any]], Any]) -> None:
    """Text, reasoning, two parallel calls, usage and finish reason are the same, whoever asks, however it is sent."""
    with Emulator(lambda _: REPLY, dialect=dialect) as emulator:
        answers = await ask(
            {
                "account_id": emulator.account_id,
                "api_token": emulator.api_token,
                "base_url": emulator.base_url,
                "endpoint": endpoint,
            }
        )
    assert all(answer.usage[2] == sum(answer.usage[:2]) > 0 for answer in answers)
    assert len({answer.usage for answer in answers}) == 1
    assert [answer._replace(usage=TRUTH.usage) for answer in answers] == [TRUTH] * len(answers)


@pytest.mark.parametrize(
    ("mistake", "error"),
    [
        ({"temprature": 1}, ConfigurationError),
        ({"endpoint": "x"}, ConfigurationError),
        ({"account_id": "../x"}, ConfigurationError),
        ({"account_id": ["x"]}, ConfigurationError),
        ({"timeout": "soon"}, ConfigurationError),
        ({"max_retries": -1}, ConfigurationError),
        ({"temperature": 3}, InvalidRequest),
        ({"temperature": "hot"}, InvalidRequest),
        ({"stop": list("abcde")}, InvalidRequest),
        ({"top_logprobs": 50}, InvalidRequest),
    ],
)
def test_the_same_mistake_is_the_same_error(mistake: dict[str, Any], error: type[Exception]) -> None:
    """Whichever class is made with it, a mistake raises one kind of error, which names the argument."""
    good = {"account_id": "account", "api_token": "token"}
    for kind in (Gemma, AsyncGemma, ChatCloudflareGemma, CloudflareGemma):
        with pytest.raises(error, match=next(iter(mistake))):
            kind(**{**good, **mistake})


@pytest.mark.parametrize(
    "ask",
    [
        lambda **where: (model := Gemma(**where), lambda: model.chat("x")),
        lambda **where: (model := ChatCloudflareGemma(**where), lambda: model.invoke("x")),
        lambda **where: (model := CloudflareGemma(**where), lambda: model.complete("x")),
    ],
    ids=["Gemma", "LangChain", "LlamaIndex"],
)
def test_all_can_be_closed(ask: Callable[..., Any]) -> None:
    """`close` and `with` end the connections of each, and it can be used again."""
    with Emulator(["one"] * 2) as emulator:
        model, call = ask(**{name: getattr(emulator, name) for name in ("account_id", "api_token", "base_url")})
        with model:
            call()
        call()
        model.close()
        assert len(emulator.requests) == 2


@pytest.mark.parametrize("kind", [AsyncGemma, ChatCloudflareGemma, CloudflareGemma])
async def test_all_can_be_closed_asynchronously(kind: type[Any]) -> None:
    """`aclose` and `async with` likewise."""
    async with kind(account_id="account", api_token="token") as model:
        await model.aclose()
