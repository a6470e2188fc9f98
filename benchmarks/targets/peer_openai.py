"""OpenAI's own client, without a framework."""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

import openai

from benchmarks.scenarios import MODEL, TOOL, Answer
from benchmarks.targets.raw import messages

if TYPE_CHECKING:
    from benchmarks.samples import Sample


class OpenAI:
    """Prepares its calls."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._clients: dict[str, Clients] = {}

    def prepared(self, sample: Sample) -> OpenAICall:
        """A call as the sample wants it."""
        root = f"{self._root}/{sample.scenario.path}"
        return OpenAICall(sample, self._clients.setdefault(root, Clients(root)))


class Clients:
    """One client each for blocking and asynchronous use, opened when first used."""

    def __init__(self, root: str) -> None:
        self._root = root

    @cached_property
    def blocking(self) -> openai.OpenAI:
        """For blocking calls."""
        return openai.OpenAI(base_url=self._root, api_key="token")

    @cached_property
    def unblocking(self) -> openai.AsyncOpenAI:
        """For asynchronous calls."""
        return openai.AsyncOpenAI(base_url=self._root, api_key="token")


class OpenAICall:
    """One call."""

    def __init__(self, sample: Sample, clients: Clients) -> None:
        self._clients = clients
        self._options: dict[str, Any] = {"model": MODEL, "messages": messages(sample)}
        if sample.max_tokens:
            self._options["max_tokens"] = sample.max_tokens
        if sample.scenario.kind == "tools":
            self._options["tools"] = [TOOL]
        self._streams = sample.max_tokens is None

    def stream(self) -> Answer:
        """Reads the stream."""
        received = Received()
        for chunk in self._clients.blocking.chat.completions.create(**self._options, stream=True):
            received.add(chunk)
        return received.answer()

    async def astream(self) -> Answer:
        """Reads the stream."""
        received = Received()
        async for chunk in await self._clients.unblocking.chat.completions.create(**self._options, stream=True):
            received.add(chunk)
        return received.answer()

    def call(self) -> Answer:
        """Gets the whole answer."""
        if self._streams:
            return self.stream()
        return _answer(self._clients.blocking.chat.completions.create(**self._options))

    async def acall(self) -> Answer:
        """Gets the whole answer."""
        if self._streams:
            return await self.astream()
        return _answer(await self._clients.unblocking.chat.completions.create(**self._options))

    def first(self) -> float:
        """Reads the stream; the seconds until its first text."""
        begun = time.perf_counter()
        first = 0.0
        received = Received()
        for chunk in self._clients.blocking.chat.completions.create(**self._options, stream=True):
            received.add(chunk)
            if received.texts and not first:
                first = time.perf_counter() - begun
        return first

    async def afirst(self) -> float:
        """Reads the stream; the seconds until its first text."""
        begun = time.perf_counter()
        first = 0.0
        received = Received()
        async for chunk in await self._clients.unblocking.chat.completions.create(**self._options, stream=True):
            received.add(chunk)
            if received.texts and not first:
                first = time.perf_counter() - begun
        return first


class Received:
    """What came, out of chunks."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._calls: dict[int, list[str]] = {}

    def add(self, chunk: Any) -> None:
        """One chunk."""
        if not chunk.choices:
            return
        delta = chunk.choices[0].delta
        if delta.content:
            self.texts.append(delta.content)
        for call in delta.tool_calls or ():
            if piece := call.function.arguments:
                self._calls.setdefault(call.index, []).append(piece)

    def answer(self) -> Answer:
        """All of it."""
        arguments = ["".join(pieces) for pieces in self._calls.values()]
        return Answer(len(self.texts) + sum(map(len, self._calls.values())), "".join(self.texts), arguments)


def _answer(reply: Any) -> Answer:
    return Answer(1, reply.choices[0].message.content, [])
