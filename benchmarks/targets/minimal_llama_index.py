"""The least LLM that LlamaIndex allows on httpx.

Written by hand and with care, with the framework's public constructors and callbacks: what it leaves out is everything
that this package is for. It knows one happy dialect, checks nothing, retries nothing, and has no errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    LLMMetadata,
    MessageRole,
    TextBlock,
    ToolCallBlock,
)
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.llms.callbacks import llm_chat_callback
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from pydantic_core import from_json, to_json
from typing_extensions import override

from benchmarks.scenarios import MODEL
from benchmarks.targets.llama_index import LlamaIndexClient
from benchmarks.targets.wire import Clients, Events, url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llama_index.core.base.llms.types import ChatResponseAsyncGen, ChatResponseGen, ContentBlock

    from benchmarks.samples import Sample


class Minimal(LlamaIndexClient):
    """Prepares its calls."""

    @override
    def make(self, root: str, sample: Sample) -> FunctionCallingLLM:
        return MinimalLLM(url=url(root), max_tokens=sample.max_tokens)


class MinimalLLM(FunctionCallingLLM):
    """The least LLM. Without `max_tokens` it streams on the wire, and aggregates."""

    url: str
    max_tokens: int | None = None
    _clients: Clients = PrivateAttr(default_factory=Clients)

    @property
    @override
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(is_chat_model=True, is_function_calling_model=True, model_name=MODEL)

    @override
    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        if self.max_tokens is None:
            *_, last = self._responses(messages, kwargs)
            return last
        response = self._clients.blocking.post(self.url, content=self._body(messages, kwargs))
        return _response(from_json(response.content)["result"])

    @override
    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        if self.max_tokens is None:
            return [response async for response in self._aresponses(messages, kwargs)][-1]
        response = await self._clients.unblocking.post(self.url, content=self._body(messages, kwargs))
        return _response(from_json(response.content)["result"])

    @override
    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        return self._responses(messages, kwargs)

    @override
    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        return self._aresponses(messages, kwargs)

    def _responses(self, messages: Sequence[ChatMessage], options: dict[str, Any]) -> ChatResponseGen:
        body = self._body(messages, {**options, "stream": True})
        events, answer = Events(), Answer()
        with self._clients.blocking.stream("POST", self.url, content=body) as response:
            for data in response.iter_raw():
                for event in events.feed(data):
                    if (delta := answer.take(event)) is not None:
                        yield answer.response(delta, event)

    async def _aresponses(self, messages: Sequence[ChatMessage], options: dict[str, Any]) -> ChatResponseAsyncGen:
        body = self._body(messages, {**options, "stream": True})
        events, answer = Events(), Answer()
        async with self._clients.unblocking.stream("POST", self.url, content=body) as response:
            async for data in response.aiter_raw():
                for event in events.feed(data):
                    if (delta := answer.take(event)) is not None:
                        yield answer.response(delta, event)

    def _body(self, messages: Sequence[ChatMessage], options: dict[str, Any]) -> bytes:
        body = {"model": MODEL, "messages": [_message(message) for message in messages], **options}
        if self.max_tokens:
            body["max_tokens"] = self.max_tokens
        return to_json(body)

    @override
    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        blocks = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
        return [
            ToolSelection(
                tool_id=block.tool_call_id or "",
                tool_name=block.tool_name,
                tool_kwargs=from_json(block.tool_kwargs) if isinstance(block.tool_kwargs, str) else block.tool_kwargs,
            )
            for block in blocks
        ]

    @override
    def _prepare_chat_with_tools(self, tools: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        raise NotImplementedError

    @override
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        raise NotImplementedError

    @override
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        raise NotImplementedError

    @override
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        raise NotImplementedError

    @override
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        raise NotImplementedError


class Answer:
    """A streamed answer as far as it has come."""

    def __init__(self) -> None:
        self._text = ""
        self._calls: list[ToolCallBlock] = []
        self._facts: dict[str, Any] = {}

    def take(self, event: dict[str, Any]) -> str | None:
        """The text of an event; None where nothing is to be handed out."""
        choices = event.get("choices")
        if choices:
            delta = choices[0]["delta"]
            if content := delta.get("content"):
                self._text += content
                return content
            if calls := delta.get("tool_calls"):
                for call in calls:
                    self._call(call)
                return ""
        elif "response" in event:
            usage = event["usage"]
            names = ("prompt_tokens", "completion_tokens", "total_tokens")
            self._facts = {name: usage[name] for name in names}
            return ""
        return None

    def _call(self, call: dict[str, Any]) -> None:
        function = call["function"]
        if call["id"]:
            block = ToolCallBlock(tool_call_id=call["id"], tool_name=function["name"], tool_kwargs="")
            self._calls.append(block)
            return
        block = self._calls[call["index"]]
        self._calls[call["index"]] = ToolCallBlock(
            tool_call_id=block.tool_call_id,
            tool_name=block.tool_name,
            tool_kwargs=block.tool_kwargs + function["arguments"],  # type: ignore[operator]
        )

    def response(self, delta: str, event: dict[str, Any]) -> ChatResponse:
        """What has come, as the framework hands it out."""
        blocks: list[ContentBlock] = [*self._calls]
        if self._text:
            blocks.insert(0, TextBlock(text=self._text))
        message = ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks)
        return ChatResponse(message=message, delta=delta, raw=event, additional_kwargs=self._facts)


def _message(message: ChatMessage) -> dict[str, Any]:
    blocks = message.blocks
    if len(blocks) == 1 and isinstance(blocks[0], TextBlock):
        return {"role": message.role.value, "content": blocks[0].text}
    return {"role": message.role.value, "content": [_part(block) for block in blocks]}


def _part(block: Any) -> dict[str, Any]:
    if isinstance(block, TextBlock):
        return {"type": "text", "text": block.text}
    return {"type": "image_url", "image_url": {"url": f"data:{block.image_mimetype};base64,{block.image.decode()}"}}


def _response(reply: dict[str, Any]) -> ChatResponse:
    usage = reply["usage"]
    message = ChatMessage(
        role=MessageRole.ASSISTANT, blocks=[TextBlock(text=reply["choices"][0]["message"]["content"])]
    )
    facts = {name: usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    return ChatResponse(message=message, raw=reply, additional_kwargs=facts)
