"""How much work a token and a request are: counted, because a clock would lie on a busy machine.

Each bound is what today's code does, so that a step that is added to the path of every token shows here first. Whoever
adds one on purpose raises the bound, and says in docs/speed.md what it costs.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from langchain_core.messages import HumanMessage
from llama_index.core.base.llms.types import ChatMessage
from pydantic_core import from_json

import cf_gemma
import langchain_cf_gemma
import llama_index_cf_gemma
from cf_gemma import AsyncGemma, Gemma
from cf_gemma.response import stream
from langchain_cf_gemma import ChatCloudflareGemma
from llama_index_cf_gemma import CloudflareGemma
from tests.faultserver import END, FaultServer, chunk, json_reply, stream_head
from tests.response.wire import sse, text_chunk
from tests.transport.callers import ACCOUNT, TOKEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

OURS = tuple(str(Path(package.__file__).parent) for package in (cf_gemma, langchain_cf_gemma, llama_index_cf_gemma))
CREDENTIALS = {"account_id": ACCOUNT, "api_token": TOKEN}


class Events(httpx.SyncByteStream, httpx.AsyncByteStream):
    """So many events, each in a packet of its own."""

    def __init__(self, count: int) -> None:
        words = [sse([text_chunk(f" word{number}")], done=False) for number in range(count)]
        self._packets = [*words, sse([text_chunk("", "stop")])]

    def __iter__(self) -> Iterator[bytes]:
        yield from self._packets

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for packet in self._packets:
            yield packet


def answering(count: int) -> httpx.MockTransport:
    """A network that answers with so many events."""
    head = {"content-type": "text/event-stream"}
    return httpx.MockTransport(lambda _: httpx.Response(200, headers=head, stream=Events(count)))


def read(face: str, count: int) -> None:
    """Reads one stream of so many words through one of the six faces."""
    asyncio.run(_read_async(face, count)) if face.startswith("async") else _read(face, count)


def opened(face: str, client: httpx.Client) -> Iterator[Any]:
    """A stream through one of the three faces that block."""
    if face == "Gemma":
        return Gemma(**CREDENTIALS, http_client=client).stream("hi")
    if face == "LangChain":
        return ChatCloudflareGemma(**CREDENTIALS, http_client=client).stream([HumanMessage("hi")])
    return CloudflareGemma(**CREDENTIALS, http_client=client).stream_chat([ChatMessage("hi")])


def _read(face: str, count: int) -> None:
    with httpx.Client(transport=answering(count)) as client:
        assert sum(1 for _ in opened(face, client)) > count


async def _read_async(face: str, count: int) -> None:
    async with httpx.AsyncClient(transport=answering(count)) as client:
        if face == "async Gemma":
            pieces: Any = AsyncGemma(**CREDENTIALS, http_client=client).stream("hi")
        elif face == "async LangChain":
            pieces = ChatCloudflareGemma(**CREDENTIALS, http_async_client=client).astream([HumanMessage("hi")])
        else:
            pieces = await CloudflareGemma(**CREDENTIALS, async_http_client=client).astream_chat([ChatMessage("hi")])
        assert len([piece async for piece in pieces]) > count


def steps(face: str, count: int) -> Counter[str]:
    """How often frames of this package were entered or resumed, and what they called of others, for one stream."""
    seen: Counter[str] = Counter()

    def note(frame: Any, event: str, argument: Any) -> None:
        if event in ("call", "c_call") and frame.f_code.co_filename.startswith(OURS):
            seen[event] += 1

    gc.disable()
    sys.setprofile(note)
    try:
        read(face, count)
    finally:
        sys.setprofile(None)
        gc.enable()
    return seen


FACES = ("Gemma", "async Gemma", "LangChain", "async LangChain", "LlamaIndex", "async LlamaIndex")


@pytest.mark.parametrize(
    ("face", "frames", "calls"),
    [
        ("Gemma", 12, 29),
        ("async Gemma", 12, 28),
        ("LangChain", 17, 33),
        ("async LangChain", 17, 33),
        ("LlamaIndex", 17, 34),
        ("async LlamaIndex", 17, 34),
    ],
)
def test_steps_for_each_event(face: str, frames: int, calls: int) -> None:
    """Frames entered or resumed, and functions of C called, for each further event of a stream."""
    read(face, 10)
    few, many = steps(face, 200), steps(face, 1_200)
    assert (many["call"] - few["call"]) / 1_000 <= frames
    assert (many["c_call"] - few["c_call"]) / 1_000 <= calls


@pytest.mark.parametrize("face", FACES)
def test_an_event_is_parsed_once(face: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON is read once for each event, whichever framework it goes to."""
    parsed = 0

    def counted(data: bytes, **options: Any) -> Any:
        nonlocal parsed
        parsed += 1
        return from_json(data, **options)

    monkeypatch.setattr(stream, "from_json", counted)
    read(face, 100)
    assert parsed == 102  # the words, the finish reason, and [DONE], which is none


def kept(pieces: Iterator[Any]) -> float:
    """Blocks of memory that each piece of a stream keeps, once it was handed out."""
    held = [next(pieces) for _ in range(100)]
    gc.collect()
    before = sys.getallocatedblocks()
    held += [next(pieces) for _ in range(500)]
    return (sys.getallocatedblocks() - before) / 500


@pytest.mark.parametrize(("face", "blocks"), [("Gemma", 2), ("LangChain", 17), ("LlamaIndex", 26)])
def test_what_a_piece_holds(face: str, blocks: float) -> None:
    """Objects behind each piece that a user keeps, the framework's own included; other threads may add to a count."""
    with httpx.Client(transport=answering(700)) as client:
        assert min(kept(opened(face, client)) for _ in range(3)) <= blocks


def test_one_stream_after_the_other_opens_one_connection() -> None:
    """Through all faces that block, of any number of models: host and token are the same."""
    with FaultServer([stream_head(), chunk(sse([text_chunk("a", "stop")])), END]) as server:
        here = {**CREDENTIALS, "base_url": server.url}
        for _ in range(3):
            list(Gemma(**here).stream("hi"))
            list(ChatCloudflareGemma(**here).stream("hi"))
            list(CloudflareGemma(**here).stream_complete("hi"))
        assert (server.connections, len(server.requests)) == (1, 9)


class Environment(dict[str, str]):
    """An environment that counts how often it is read."""

    reads = 0

    def __iter__(self) -> Iterator[str]:
        self.reads += 1
        return super().__iter__()

    def items(self) -> Any:
        self.reads += 1
        return super().items()

    def get(self, *wanted: Any) -> Any:
        self.reads += 1
        return super().get(*wanted)


ANSWER = {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}


def test_the_environment_is_not_read_for_each_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model looks at its first call for what shapes its connections, and never again."""
    with FaultServer([json_reply(ANSWER)]) as server, Gemma(**CREDENTIALS, base_url=server.url) as model:
        model.chat("hi", max_tokens=5)
        environment = Environment(os.environ)
        monkeypatch.setattr(os, "environ", environment)
        for _ in range(3):
            model.chat("hi", max_tokens=5)
        assert len(server.requests) == 4
        assert environment.reads == 0


class Sends:
    """Counts what this thread sends over sockets, while it is open."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Sends:
        sys.setprofile(self._note)
        return self

    def __exit__(self, *exc: object) -> None:
        sys.setprofile(None)

    def _note(self, frame: Any, event: str, argument: Any) -> None:
        sending = event == "c_call" and argument.__name__ in ("send", "sendmsg")
        self.count += sending and isinstance(argument.__self__, socket.socket)


def test_a_request_is_one_packet() -> None:
    """Its head and its body go out together, where the body is small; a large one isn't copied for it."""
    with FaultServer([json_reply(ANSWER)]) as server, Gemma(**CREDENTIALS, base_url=server.url) as model:
        model.chat("hi", max_tokens=5)
        for text, packets in (("hi", 1), ("word " * 30_000, 2)):
            with Sends() as sends:
                model.chat(text, max_tokens=5)
            assert sends.count == packets
            assert from_json(server.requests[-1].body)["messages"] == [{"role": "user", "content": text}]


def test_an_asynchronous_request_is_one_packet() -> None:
    """The same in an event loop, over a connection that has served before."""

    async def ask(url: str) -> list[int]:
        counts: list[int] = []
        async with AsyncGemma(**CREDENTIALS, base_url=url) as model:
            for text in ("hi", "hi", "word " * 30_000):
                with Sends() as sends:
                    await model.chat(text, max_tokens=5)
                counts.append(sends.count)
        return counts

    with FaultServer([json_reply(ANSWER)]) as server:
        assert asyncio.run(ask(server.url))[1:] == [1, 2]
        assert [len(request.body) > 8_000 for request in server.requests] == [False, False, True]


def test_a_large_request_is_not_copied_about() -> None:
    """Four megabytes of text cost a small multiple of their size at the most, from messages to socket."""
    text = "word " * 800_000
    with FaultServer([json_reply(ANSWER)]) as server, Gemma(**CREDENTIALS, base_url=server.url) as model:
        model.chat("hi", max_tokens=5)
        tracemalloc.start()
        model.chat(text, max_tokens=5)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # The server in this process holds three copies of its own: as it comes, whole, and its body.
        assert peak < 7 * len(text)
