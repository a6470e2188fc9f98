"""Drives any function-calling LLM of LlamaIndex, and reads it as its users do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole, TextBlock
from pydantic_core import to_json

from benchmarks.picture import turns
from benchmarks.scenarios import TOOL, Answer

if TYPE_CHECKING:
    from llama_index.core.base.llms.types import ChatResponse
    from llama_index.core.llms.function_calling import FunctionCallingLLM

    from benchmarks.samples import Sample


class LlamaIndexClient:
    """Prepares calls of an LLM; one LLM for each root and limit."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._models: dict[Any, FunctionCallingLLM] = {}
        self._history: list[ChatMessage] = []

    def make(self, root: str, sample: Sample) -> FunctionCallingLLM:
        """The LLM, pointed at this root."""
        raise NotImplementedError

    def prepared(self, sample: Sample) -> LlamaIndexCall:
        """A call as the sample wants it."""
        key = sample.scenario, sample.max_tokens
        if key not in self._models:
            self._models[key] = self.make(f"{self._root}/{sample.scenario.path}", sample)
        options = {"tools": [TOOL]} if sample.scenario.kind == "tools" else {}
        return LlamaIndexCall(self._models[key], self._messages(sample), options)

    def _messages(self, sample: Sample) -> list[ChatMessage]:
        if sample.history == "question":
            return [ChatMessage("Why is the sky blue?")]
        if sample.history == "new picture" or not self._history:
            self._history = [_message(turn.role, turn.text, turn.picture) for turn in turns()]
        return self._history


class LlamaIndexCall:
    """One call."""

    def __init__(self, model: FunctionCallingLLM, messages: list[ChatMessage], options: dict[str, Any]) -> None:
        self._model = model
        self._messages = messages
        self._options = options

    def stream(self) -> Answer:
        """Reads the stream."""
        received = Received()
        for response in self._model.stream_chat(self._messages, **self._options):
            received.add(response)
        return received.answer(self._model)

    async def astream(self) -> Answer:
        """Reads the stream."""
        received = Received()
        async for response in await self._model.astream_chat(self._messages, **self._options):
            received.add(response)
        return received.answer(self._model)

    def call(self) -> Answer:
        """Gets the whole answer."""
        return Answer(1, self._model.chat(self._messages).message.content or "", [])

    async def acall(self) -> Answer:
        """Gets the whole answer."""
        return Answer(1, (await self._model.achat(self._messages)).message.content or "", [])

    def first(self) -> float:
        """Reads the stream; the seconds until its first text."""
        begun = time.perf_counter()
        first = 0.0
        for response in self._model.stream_chat(self._messages, **self._options):
            if not first and response.delta:
                first = time.perf_counter() - begun
        return first

    async def afirst(self) -> float:
        """Reads the stream; the seconds until its first text."""
        begun = time.perf_counter()
        first = 0.0
        async for response in await self._model.astream_chat(self._messages, **self._options):
            if not first and response.delta:
                first = time.perf_counter() - begun
        return first


class Received:
    """What came, out of responses; each repeats all that came before it."""

    def __init__(self) -> None:
        self._texts = 0
        self._others = 0
        self._last: ChatResponse | None = None

    def add(self, response: ChatResponse) -> None:
        """One response."""
        if response.delta:
            self._texts += 1
        else:
            self._others += 1
        self._last = response

    def answer(self, model: FunctionCallingLLM) -> Answer:
        """All of it."""
        if self._last is None:
            return Answer(0, "", [])
        calls = model.get_tool_calls_from_response(self._last, error_on_no_tool_call=False)
        arguments = [to_json(call.tool_kwargs).decode() for call in calls]
        return Answer(self._texts or self._others, self._last.message.content or "", arguments)


def _message(role: str, text: str, picture: bytes | None) -> ChatMessage:
    if picture is None:
        return ChatMessage(text, role=MessageRole(role))
    return ChatMessage(blocks=[TextBlock(text=text), ImageBlock(image=picture, image_mimetype="image/png")])
