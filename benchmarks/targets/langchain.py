"""Drives any chat model of LangChain, and reads it as its users do."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from benchmarks.picture import turns
from benchmarks.scenarios import TOOL, Answer

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessageChunk
    from langchain_core.runnables import Runnable

    from benchmarks.samples import Sample


class LangChainClient:
    """Prepares calls of a chat model; one model for each root and limit."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._models: dict[Any, Runnable[Any, Any]] = {}
        self._history: list[BaseMessage] = []

    def make(self, root: str, sample: Sample) -> BaseChatModel:
        """The model, pointed at this root."""
        raise NotImplementedError

    def prepared(self, sample: Sample) -> LangChainCall:
        """A call as the sample wants it."""
        key = sample.scenario, sample.max_tokens, sample.action
        if key not in self._models:
            model = self.make(f"{self._root}/{sample.scenario.path}", sample)
            self._models[key] = model.bind_tools([TOOL]) if sample.scenario.kind == "tools" else model
        return LangChainCall(self._models[key], self._messages(sample))

    def _messages(self, sample: Sample) -> list[BaseMessage]:
        if sample.history == "question":
            return [HumanMessage("Why is the sky blue?")]
        if sample.history == "new picture" or not self._history:
            self._history = [_message(turn.role, turn.text, turn.picture) for turn in turns()]
        return self._history


class LangChainCall:
    """One call."""

    def __init__(self, model: Runnable[Any, Any], messages: list[BaseMessage]) -> None:
        self._model = model
        self._messages = messages

    def stream(self) -> Answer:
        """Reads the stream."""
        received = Received()
        for chunk in self._model.stream(self._messages):
            received.add(chunk)
        return received.answer()

    async def astream(self) -> Answer:
        """Reads the stream."""
        received = Received()
        async for chunk in self._model.astream(self._messages):
            received.add(chunk)
        return received.answer()

    def call(self) -> Answer:
        """Gets the whole answer."""
        return Answer(1, self._model.invoke(self._messages).content, [])

    async def acall(self) -> Answer:
        """Gets the whole answer."""
        return Answer(1, (await self._model.ainvoke(self._messages)).content, [])

    def first(self) -> float:
        """Reads the stream; the seconds until its first text."""
        begun = time.perf_counter()
        first = 0.0
        for chunk in self._model.stream(self._messages):
            if not first and chunk.content:
                first = time.perf_counter() - begun
        return first

    async def afirst(self) -> float:
        """Reads the stream; the seconds until its first text."""
        begun = time.perf_counter()
        first = 0.0
        async for chunk in self._model.astream(self._messages):
            if not first and chunk.content:
                first = time.perf_counter() - begun
        return first


class Received:
    """What came, out of chunks."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._calls: dict[Any, list[str]] = {}

    def add(self, chunk: AIMessageChunk) -> None:
        """One chunk."""
        if chunk.content:
            self._texts.append(chunk.content)  # type: ignore[arg-type]
        elif chunk.tool_call_chunks:
            for call in chunk.tool_call_chunks:
                if piece := call["args"]:
                    self._calls.setdefault(call["index"], []).append(piece)

    def answer(self) -> Answer:
        """All of it."""
        arguments = ["".join(pieces) for pieces in self._calls.values()]
        return Answer(len(self._texts) + sum(map(len, self._calls.values())), "".join(self._texts), arguments)


def _message(role: str, text: str, picture: bytes | None) -> BaseMessage:
    if role == "assistant":
        return AIMessage(text)
    if picture is None:
        return HumanMessage(text)
    image = {"type": "image", "base64": base64.b64encode(picture).decode(), "mime_type": "image/png"}
    return HumanMessage([{"type": "text", "text": text}, image])
