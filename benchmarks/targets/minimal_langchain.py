"""The least chat model that LangChain allows on httpx.

Written by hand and with care, with the framework's public constructors: what it leaves out is everything that this
package is for. It knows one happy dialect, checks nothing, retries nothing, and has no errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import PrivateAttr
from pydantic_core import from_json, to_json
from typing_extensions import override

from benchmarks.scenarios import MODEL
from benchmarks.targets.langchain import LangChainClient
from benchmarks.targets.wire import Clients, Events, url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import Runnable

    from benchmarks.samples import Sample

ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "tool"}


class Minimal(LangChainClient):
    """Prepares its calls."""

    @override
    def make(self, root: str, sample: Sample) -> BaseChatModel:
        return MinimalChatModel(url=url(root), max_tokens=sample.max_tokens)


class MinimalChatModel(BaseChatModel):
    """The least chat model. Without `max_tokens` it streams on the wire, and aggregates."""

    url: str
    max_tokens: int | None = None
    _clients: Clients = PrivateAttr(default_factory=Clients)

    @property
    @override
    def _llm_type(self) -> str:
        return "minimal"

    @override
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if self.max_tokens is None:
            return generate_from_stream(self._stream(messages, stop, run_manager, **kwargs))
        response = self._clients.blocking.post(self.url, content=self._body(messages, kwargs))
        return _result(from_json(response.content)["result"])

    @override
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if self.max_tokens is None:
            chunks = [chunk async for chunk in self._astream(messages, stop, run_manager, **kwargs)]
            return generate_from_stream(iter(chunks))
        response = await self._clients.unblocking.post(self.url, content=self._body(messages, kwargs))
        return _result(from_json(response.content)["result"])

    @override
    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        body = self._body(messages, {**kwargs, "stream": True})
        events = Events()
        with self._clients.blocking.stream("POST", self.url, content=body) as response:
            for data in response.iter_raw():
                for event in events.feed(data):
                    if chunk := _chunk(event):
                        if run_manager:
                            run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                        yield chunk

    @override
    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        body = self._body(messages, {**kwargs, "stream": True})
        events = Events()
        async with self._clients.unblocking.stream("POST", self.url, content=body) as response:
            async for data in response.aiter_raw():
                for event in events.feed(data):
                    if chunk := _chunk(event):
                        if run_manager:
                            await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                        yield chunk

    @override
    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:  # type: ignore[override]
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _body(self, messages: list[BaseMessage], options: dict[str, Any]) -> bytes:
        body = {"model": MODEL, "messages": [_message(message) for message in messages], **options}
        if self.max_tokens:
            body["max_tokens"] = self.max_tokens
        return to_json(body)


def _message(message: BaseMessage) -> dict[str, Any]:
    content = message.content
    return {
        "role": ROLES[message.type],
        "content": content if isinstance(content, str) else [_part(part) for part in content],  # type: ignore[arg-type]
    }


def _part(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] != "image":
        return part
    return {"type": "image_url", "image_url": {"url": f"data:{part['mime_type']};base64,{part['base64']}"}}


def _chunk(event: dict[str, Any]) -> ChatGenerationChunk | None:
    choices = event.get("choices")
    if choices:
        choice = choices[0]
        delta = choice["delta"]
        if content := delta.get("content"):
            return ChatGenerationChunk(message=AIMessageChunk(content=content))
        if calls := delta.get("tool_calls"):
            return ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=_tool_calls(calls)))
        if finish := choice["finish_reason"]:
            return ChatGenerationChunk(message=AIMessageChunk(content="", response_metadata={"finish_reason": finish}))
    elif "response" in event:
        return ChatGenerationChunk(message=AIMessageChunk(content="", usage_metadata=_usage(event["usage"])))
    return None


def _tool_calls(calls: list[dict[str, Any]]) -> list[Any]:
    return [
        tool_call_chunk(
            name=call["function"]["name"], args=call["function"]["arguments"], id=call["id"], index=call["index"]
        )
        for call in calls
    ]


def _result(reply: dict[str, Any]) -> ChatResult:
    choice = reply["choices"][0]
    message = AIMessage(
        content=choice["message"]["content"],
        usage_metadata=_usage(reply["usage"]),
        response_metadata={"finish_reason": choice["finish_reason"]},
    )
    return ChatResult(generations=[ChatGeneration(message=message)])


def _usage(usage: dict[str, Any]) -> Any:
    return {
        "input_tokens": usage["prompt_tokens"],
        "output_tokens": usage["completion_tokens"],
        "total_tokens": usage["total_tokens"],
    }
