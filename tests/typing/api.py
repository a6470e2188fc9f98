"""The public API as a type checker sees it. Checked, never run: each line says what a user's editor must know."""

# pyright: reportUnnecessaryTypeIgnoreComment=true
# What must not pass is ignored by its rule: where it passes after all, the comment is an error.

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING, Any, assert_type

import cf_gemma.errors as e
from cf_gemma import (
    AsyncGemma,
    Choice,
    Completion,
    Delta,
    Gemma,
    GemmaError,
    InvalidToolCall,
    Options,
    ReasoningDelta,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    __version__,
)
from cf_gemma.model.facts import CONTEXT_WINDOW, MODEL, PRICE
from cf_gemma.request.images import ImageInfo, image_part, sniff
from cf_gemma.settings.resolved import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx
    from pydantic import SecretStr


def making(token: SecretStr, client: httpx.Client, async_client: httpx.AsyncClient) -> None:
    """Models are made from nothing but the environment, or with every setting and every option."""
    Gemma()
    AsyncGemma()
    model = Gemma(
        "account",
        token,
        base_url="https://api.cloudflare.com/client/v4",
        endpoint="chat_completions",
        gateway="gate",
        session_affinity="session",
        timeout=(5, 120.0),
        max_retries=2,
        wire_streaming="auto",
        default_headers={"cf-aig-cache-ttl": "60"},
        http_client=client,
        temperature=1.0,
        stop=["\n"],
        thinking=False,
        reasoning_effort="low",
        extra_body={"top_k": 64},
    )
    assert_type(model.settings, Settings)
    AsyncGemma("account", "token", http_client=async_client, timeout=None, n=2)

    Gemma(endpoint="responses")  # pyright: ignore[reportArgumentType] - no such endpoint
    Gemma(temprature=1)  # pyright: ignore[reportCallIssue] - no such parameter
    Gemma(max_tokens="many")  # pyright: ignore[reportArgumentType] - not a number
    Gemma(http_client=async_client)  # pyright: ignore[reportArgumentType] - the other kind of client
    AsyncGemma(http_client=client)  # pyright: ignore[reportArgumentType] - the other kind of client


def chatting(model: Gemma, messages: list[dict[str, Any]], typed: list[Mapping[str, object]]) -> None:
    """A text, messages or a prompt become a Completion."""
    assert_type(model.chat("hi"), Completion)
    assert_type(model.chat(messages, max_tokens=5, tools=[{}], tool_choice="auto"), Completion)
    assert_type(model.chat(typed), Completion)
    assert_type(model.chat([{"role": "user", "content": "hi"}]), Completion)
    assert_type(model.chat(prompt="Once upon a time"), Completion)
    options: Options = {"temperature": 0.5, "seed": None}
    assert_type(model.chat("hi", **options), Completion)
    with model as same:
        assert_type(same, Gemma)
    model.chat(7)  # pyright: ignore[reportArgumentType] - no message
    model.chat("hi", stream=True)  # pyright: ignore[reportCallIssue] - that is another method


def streaming(model: Gemma) -> None:
    """A stream gives deltas and one Completion, which isinstance tells apart."""
    items = model.stream("hi", thinking=True)
    assert_type(items, Generator[Delta | Completion, None, None])
    for item in items:
        if isinstance(item, TextDelta | ReasoningDelta):
            assert_type(item.text, str)
        elif isinstance(item, ToolCallDelta):
            assert_type((item.index, item.id, item.name, item.arguments), tuple[int, str | None, str | None, str])
        else:
            assert_type(item, Completion)
    items.close()


async def asynchronously(model: AsyncGemma) -> None:
    """The same without waiting."""
    assert_type(await model.chat("hi"), Completion)
    items = model.stream("hi")
    assert_type(items, AsyncGenerator[Delta | Completion, None])
    async for item in items:
        assert_type(item, TextDelta | ReasoningDelta | ToolCallDelta | Completion)
    await items.aclose()
    async with model as same:
        assert_type(same, AsyncGemma)
    assert_type(await asyncio.gather(model.chat("a"), model.chat("b")), tuple[Completion, Completion])


def answering(completion: Completion) -> None:
    """An answer's parts."""
    assert_type(completion.text, str)
    assert_type(completion.reasoning, str)
    assert_type(completion.finish_reason, str | None)
    assert_type(completion.tool_calls, tuple[ToolCall, ...])
    assert_type(completion.invalid_tool_calls, tuple[InvalidToolCall, ...])
    assert_type(completion.choices, tuple[Choice, ...])
    assert_type(completion.usage, Usage | None)
    assert_type(completion.request_id, str | None)
    assert_type(completion.headers, dict[str, str])
    assert_type(completion.to_dict(), dict[str, Any])
    for call in completion.tool_calls:
        assert_type((call.id, call.name, call.arguments, call.args), tuple[str, str, str, dict[str, Any]])
    if completion.usage:
        assert_type(completion.usage.prompt_tokens, int)
        assert_type(completion.usage.cached_tokens, int | None)
        assert_type(completion.usage.neurons, float | None)
        assert_type(completion.usage.cost, float)
    completion.id = "b"  # pyright: ignore[reportAttributeAccessIssue] - an answer stays as it is


def failing(error: GemmaError) -> None:
    """What an error tells."""
    assert_type((error.message, error.attempts, error.retryable), tuple[str, int, bool])
    assert_type(error.status, int | None)
    assert_type(error.code, int | None)
    assert_type(error.request_id, str | None)
    assert_type(error.retry_after, float | None)
    assert_type(error.partial, Completion | None)
    timeout: TimeoutError = e.StreamTimeout("boom")
    lost: ConnectionError = e.StreamTruncated("boom")
    value: ValueError = e.UnsupportedContent("boom")
    parent: type[e.ApiError] = e.CapacityExceeded
    del timeout, lost, value, parent


def else_public(image: bytes) -> None:
    """Images, and facts of the model."""
    assert_type(image_part(image, detail="low"), dict[str, Any])
    assert_type(sniff(image), ImageInfo | None)
    assert_type(PRICE.cost(1, 2), float)
    facts: tuple[str, str, int] = MODEL, __version__, CONTEXT_WINDOW
    del facts
