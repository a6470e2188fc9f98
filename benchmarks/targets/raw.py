"""Raw httpx: bytes, `split`, `from_json`, and dicts; what no client on httpx can be faster than."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json, to_json

from benchmarks.picture import turns
from benchmarks.scenarios import MODEL, TOOL, Answer
from benchmarks.targets.wire import Clients, Events, url

if TYPE_CHECKING:
    from benchmarks.samples import Sample


class Raw:
    """Prepares calls of raw httpx."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._clients = Clients()

    def prepared(self, sample: Sample) -> RawCall:
        """A call as the sample wants it."""
        return RawCall(sample, f"{self._root}/{sample.scenario.path}", self._clients)


class RawCall:
    """One call."""

    def __init__(self, sample: Sample, root: str, clients: Clients) -> None:
        self._url = url(root)
        self._clients = clients
        self._sample = sample
        self._messages = messages(sample)

    def _body(self, *, stream: bool) -> bytes:
        body: dict[str, Any] = {"messages": self._messages, "model": MODEL}
        if stream:
            body["stream"] = True
        if self._sample.max_tokens:
            body["max_tokens"] = self._sample.max_tokens
        if self._sample.scenario.kind == "tools":
            body["tools"] = [TOOL]
        return to_json(body)

    def stream(self) -> Answer:
        """Reads the stream."""
        events, received = Events(), Received()
        with self._clients.blocking.stream("POST", self._url, content=self._body(stream=True)) as response:
            for data in response.iter_raw():
                for event in events.feed(data):
                    received.add(event)
        return received.answer()

    async def astream(self) -> Answer:
        """Reads the stream."""
        events, received = Events(), Received()
        async with self._clients.unblocking.stream("POST", self._url, content=self._body(stream=True)) as response:
            async for data in response.aiter_raw():
                for event in events.feed(data):
                    received.add(event)
        return received.answer()

    def call(self) -> Answer:
        """Gets the whole answer."""
        if self._sample.max_tokens is None:
            return self.stream()
        response = self._clients.blocking.post(self._url, content=self._body(stream=False))
        return Answer(1, from_json(response.content)["result"]["choices"][0]["message"]["content"], [])

    async def acall(self) -> Answer:
        """Gets the whole answer."""
        if self._sample.max_tokens is None:
            return await self.astream()
        response = await self._clients.unblocking.post(self._url, content=self._body(stream=False))
        return Answer(1, from_json(response.content)["result"]["choices"][0]["message"]["content"], [])

    def first(self) -> float:
        """Reads the stream; the seconds until its first text."""
        begun = time.perf_counter()
        first = 0.0
        events, received = Events(), Received()
        with self._clients.blocking.stream("POST", self._url, content=self._body(stream=True)) as response:
            for data in response.iter_raw():
                for event in events.feed(data):
                    received.add(event)
                    if received.texts and not first:
                        first = time.perf_counter() - begun
        return first

    async def afirst(self) -> float:
        """Reads the stream; the seconds until its first text."""
        begun = time.perf_counter()
        first = 0.0
        events, received = Events(), Received()
        async with self._clients.unblocking.stream("POST", self._url, content=self._body(stream=True)) as response:
            async for data in response.aiter_raw():
                for event in events.feed(data):
                    received.add(event)
                    if received.texts and not first:
                        first = time.perf_counter() - begun
        return first


class Received:
    """What came, out of events."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._calls: dict[int, list[str]] = {}

    def add(self, event: dict[str, Any]) -> None:
        """One event."""
        if not (choices := event.get("choices")):
            return
        delta = choices[0]["delta"]
        if text := delta.get("content"):
            self.texts.append(text)
        elif calls := delta.get("tool_calls"):
            for call in calls:
                if piece := call["function"]["arguments"]:
                    self._calls.setdefault(call["index"], []).append(piece)

    def answer(self) -> Answer:
        """All of it."""
        arguments = ["".join(pieces) for pieces in self._calls.values()]
        return Answer(len(self.texts) + sum(map(len, self._calls.values())), "".join(self.texts), arguments)


def messages(sample: Sample) -> list[dict[str, Any]]:
    """What is sent, as chat completions have it."""
    if sample.history == "question":
        return [{"role": "user", "content": "Why is the sky blue?"}]
    return [_message(turn.role, turn.text, turn.picture) for turn in turns()]


def _message(role: str, text: str, picture: bytes | None) -> dict[str, Any]:
    if picture is None:
        return {"role": role, "content": text}
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{base64.b64encode(picture).decode()}"}}
    return {"role": role, "content": [{"type": "text", "text": text}, image]}
