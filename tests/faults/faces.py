"""The six ways in which a user reaches the service, under one face: each row of the table goes through all of them."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from llama_index.core.llms import ChatMessage

from cf_gemma import AsyncGemma, Completion, Gemma
from cf_gemma.testing import no_waits
from langchain_cf_gemma import ChatCloudflareGemma
from llama_index_cf_gemma import CloudflareGemma

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable

CANARY: Final = "cf-canary"
"""What every secret begins with."""

TOKEN: Final = f"{CANARY}-token-0123456789"
ACCOUNT: Final = "ca9a41ca9a41ca9a41ca9a41ca9a4100"
PROMPT: Final = f"{CANARY}-prompt"
HEADERS: Final = {"cf-aig-authorization": f"Bearer {CANARY}-gateway", "x-api-key": f"{CANARY}-key"}
SETTINGS: Final = {"account_id": ACCOUNT, "api_token": TOKEN, "default_headers": HEADERS}

Prompt = str | list[Any]
"""A text, or chat-completions messages; for LlamaIndex also the blocks of one."""


@dataclass
class Said:
    """What an answer says, as far as every face can tell it."""

    text: str = ""
    reason: str | None = None
    """Its finish reason."""
    prompt_tokens: int | None = None
    calls: list[tuple[str, Any]] = field(default_factory=list)
    """Names and arguments of its valid tool calls."""
    invalid: int = 0
    """How many tool calls must not be executed."""
    reasoning: str = field(default="", compare=False)


class Face:
    """One of the six. Waits between attempts are noted, not waited."""

    kind: type

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.waits = self._stack.enter_context(no_waits())
        self.model: Any = None

    def begin(self, **settings: Any) -> Any:
        """Makes the model."""
        self.model = self.kind(**{**SETTINGS, **settings})
        return self.model

    def ask(self, *, stream: bool, pieces: list[str], prompt: Prompt = PROMPT, **options: Any) -> Said:
        """One call; `heard` takes the pieces of text that a stream hands out, also before an error."""
        return self._stream(prompt, pieces, options) if stream else self._chat(prompt, options)

    def close(self) -> None:
        """Gives the connections up."""
        self._stack.close()
        if self.model is not None:
            self.model.close()

    def _chat(self, prompt: Prompt, options: dict[str, Any]) -> Said:
        raise NotImplementedError

    def _stream(self, prompt: Prompt, pieces: list[str], options: dict[str, Any]) -> Said:
        raise NotImplementedError


class AsyncFace(Face):
    """One of the three that run in an event loop, here of their own."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()

    def close(self) -> None:
        """Ends the loop, and with it the connections."""
        self._stack.close()
        self._runner.close()


class Core(Face):
    """Gemma."""

    kind = Gemma

    def _chat(self, prompt: Prompt, options: dict[str, Any]) -> Said:
        return _completed(self.model.chat(prompt, **options))

    def _stream(self, prompt: Prompt, pieces: list[str], options: dict[str, Any]) -> Said:
        items = [_kept(item, pieces) for item in self.model.stream(prompt, **options)]
        return _completed(items[-1])


class AsyncCore(AsyncFace, Core):
    """AsyncGemma."""

    kind = AsyncGemma

    def _chat(self, prompt: Prompt, options: dict[str, Any]) -> Said:
        return _completed(self._runner.run(self.model.chat(prompt, **options)))

    def _stream(self, prompt: Prompt, pieces: list[str], options: dict[str, Any]) -> Said:
        async def collect() -> Any:
            return [_kept(item, pieces) async for item in self.model.stream(prompt, **options)]

        return _completed(self._runner.run(collect())[-1])


class LangChain(Face):
    """ChatCloudflareGemma."""

    kind = ChatCloudflareGemma

    def close(self) -> None:
        """Gives the connections up."""
        self._stack.close()
        if self.model is not None:
            self.model.client.close()

    def _chat(self, prompt: Prompt, options: dict[str, Any]) -> Said:
        return _message(self.model.invoke(prompt, **options))

    def _stream(self, prompt: Prompt, pieces: list[str], options: dict[str, Any]) -> Said:
        return _sum(_collected(self.model.stream(prompt, **options), pieces))


class AsyncLangChain(AsyncFace, LangChain):
    """ChatCloudflareGemma's coroutines."""

    def _chat(self, prompt: Prompt, options: dict[str, Any]) -> Said:
        return _message(self._runner.run(self.model.ainvoke(prompt, **options)))

    def _stream(self, prompt: Prompt, pieces: list[str], options: dict[str, Any]) -> Said:
        return _sum(self._runner.run(_acollected(self.model.astream(prompt, **options), pieces)))


class LlamaIndex(Face):
    """CloudflareGemma."""

    kind = CloudflareGemma

    def _chat(self, prompt: Prompt, options: dict[str, Any]) -> Said:
        return _response(self.model.chat(_chat_messages(prompt), **options))

    def _stream(self, prompt: Prompt, pieces: list[str], options: dict[str, Any]) -> Said:
        responses = self.model.stream_chat(_chat_messages(prompt), **options)
        return _response([_delta(response, pieces) for response in responses][-1])


class AsyncLlamaIndex(AsyncFace, LlamaIndex):
    """CloudflareGemma's coroutines."""

    def _chat(self, prompt: Prompt, options: dict[str, Any]) -> Said:
        return _response(self._runner.run(self.model.achat(_chat_messages(prompt), **options)))

    def _stream(self, prompt: Prompt, pieces: list[str], options: dict[str, Any]) -> Said:
        async def collect() -> Any:
            responses = await self.model.astream_chat(_chat_messages(prompt), **options)
            return [_delta(response, pieces) async for response in responses][-1]

        return _response(self._runner.run(collect()))


FACES: Final = {
    "Gemma": Core,
    "AsyncGemma": AsyncCore,
    "LangChain": LangChain,
    "LangChain async": AsyncLangChain,
    "LlamaIndex": LlamaIndex,
    "LlamaIndex async": AsyncLlamaIndex,
}


def _kept(item: Any, pieces: list[str]) -> Any:
    if not isinstance(item, Completion) and (text := getattr(item, "text", "")):
        pieces.append(text)
    return item


def _collected(chunks: Iterable[Any], pieces: list[str]) -> list[Any]:
    return [_noted(chunk, pieces) for chunk in chunks]


async def _acollected(chunks: AsyncIterable[Any], pieces: list[str]) -> list[Any]:
    return [_noted(chunk, pieces) async for chunk in chunks]


def _noted(chunk: Any, pieces: list[str]) -> Any:
    if chunk.text:
        pieces.append(str(chunk.text))
    return chunk


def _delta(response: Any, pieces: list[str]) -> Any:
    if response.delta:
        pieces.append(response.delta)
    return response


def _completed(completion: Completion) -> Said:
    usage = completion.usage
    choice = completion.choices[0]
    calls = [(call.name, call.args) for call in completion.tool_calls]
    return Said(
        completion.text,
        completion.finish_reason,
        usage.prompt_tokens if usage else None,
        calls,
        len(choice.invalid_tool_calls),
        completion.reasoning,
    )


def _sum(chunks: list[Any]) -> Said:
    first, *rest = chunks
    for chunk in rest:
        first += chunk
    return _message(first)


def _message(message: Any) -> Said:
    usage = message.usage_metadata
    calls = [(call["name"], call["args"]) for call in message.tool_calls]
    reason = message.response_metadata.get("finish_reason")
    tokens = usage["input_tokens"] if usage else None
    reasoning = message.additional_kwargs.get("reasoning_content", "")
    return Said(str(message.text), reason, tokens, calls, len(message.invalid_tool_calls), reasoning)


def _response(response: Any) -> Said:
    facts, message = response.additional_kwargs, response.message
    calls = [(block.tool_name, block.tool_kwargs) for block in message.blocks if block.block_type == "tool_call"]
    invalid = len(message.additional_kwargs.get("invalid_tool_calls", []))
    reasoning = "".join(block.content for block in message.blocks if block.block_type == "thinking")
    reason, tokens = facts.get("finish_reason"), facts.get("prompt_tokens")
    return Said(message.content or "", reason, tokens, calls, invalid, reasoning)


def _chat_messages(prompt: Prompt) -> list[ChatMessage]:
    if isinstance(prompt, str) or not isinstance(prompt[0], dict):  # a text, or LlamaIndex's blocks
        return [ChatMessage(content=prompt)]
    kept = ("tool_calls", "tool_call_id")
    return [
        ChatMessage(
            role=message["role"],
            content=message["content"],
            additional_kwargs={name: message[name] for name in kept if name in message},
        )
        for message in prompt
    ]
