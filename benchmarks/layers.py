"""Where the time goes, layer by layer, in microseconds of processor time for each event, and for each call.

    python -m benchmarks.layers [--rounds 20]

Each layer is what a path costs above the path below it, each at its best of all rounds: what a busy machine adds is in
the others.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from langchain_core.messages import HumanMessage
from llama_index.core.base.llms.types import ChatMessage
from pydantic_core import from_json, to_json

from benchmarks.processes import Server
from benchmarks.scenarios import MODEL, Scenario
from benchmarks.targets.minimal_langchain import MinimalChatModel
from benchmarks.targets.minimal_llama_index import MinimalLLM
from benchmarks.targets.observer import observing
from benchmarks.targets.wire import Clients, Events, url
from cf_gemma import Gemma
from langchain_cf_gemma import ChatCloudflareGemma
from llama_index_cf_gemma import CloudflareGemma

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Path = Callable[[], object]

QUESTION = "Why is the sky blue?"
STREAM = Scenario(events=1_000)
CALL = Scenario(events=200)
CALLS = 20

Layer = tuple[str, tuple[str, str] | None, tuple[str, str] | None, tuple[str, str] | None, tuple[str, str] | None]
"""Its name; for the least LangChain, ours, the least LlamaIndex and ours, the path that has it and the one below."""

EVENT_LAYERS: Sequence[Layer] = (
    ("transport (httpx, `iter_raw`)", *[("bytes", "")] * 4),
    ("events out of bytes, JSON", *[("events", "bytes")] * 4),
    ("decoding and checks", None, ("Gemma", "events"), None, ("Gemma", "events")),
    ("objects", ("lc-min objects", "events"), ("lc objects", "Gemma"), ("li-min objects", "events"), ("li", "Gemma")),
    ("framework", ("lc-min", "lc-min objects"), ("lc", "lc objects"), ("li-min", "li-min objects"), None),
    ("in all", ("lc-min", ""), ("lc", ""), ("li-min", ""), ("li", "")),
    ("an observer attached", None, None, ("li-min observed", "li-min"), ("li observed", "li")),
)
CALL_LAYERS: Sequence[Layer] = (
    ("transport (httpx, `post`)", *[("post", "")] * 4),
    ("request, decoding and checks", None, ("Gemma", "post"), None, ("Gemma", "post")),
    ("messages and objects", ("lc-min objects", "post"), ("lc objects", "Gemma"), None, None),
    ("framework", ("lc-min", "lc-min objects"), ("lc", "lc objects"), None, None),
    ("messages, objects and framework", None, None, ("li-min", "post"), ("li", "Gemma")),
    ("in all", ("lc-min", ""), ("lc", ""), ("li-min", ""), ("li", "")),
)


class Paths:
    """One client of each kind, all in this process, pointed at one scenario."""

    def __init__(self, root: str, *, max_tokens: int | None = None) -> None:
        ours: dict[str, Any] = {"account_id": "account", "api_token": "token", "base_url": root}
        self._url = url(root)
        self._max_tokens = max_tokens
        self._clients = Clients()
        self._gemma = Gemma(**ours, max_tokens=max_tokens)
        self._lc_min = MinimalChatModel(url=self._url, max_tokens=max_tokens)
        self._lc = ChatCloudflareGemma(**ours, max_tokens=max_tokens)
        self._li_min = MinimalLLM(url=self._url, max_tokens=max_tokens)
        self._li = CloudflareGemma(**ours, max_tokens=max_tokens)

    def streams(self) -> dict[str, Path]:
        """Ways to read a stream, from the lowest."""
        lc, li = [HumanMessage(QUESTION)], [ChatMessage(QUESTION)]
        return {
            "bytes": self._bytes,
            "events": self._events,
            "Gemma": lambda: _drain(self._gemma.stream(QUESTION)),
            "lc-min objects": lambda: _drain(self._lc_min._stream(lc)),
            "lc-min": lambda: _drain(self._lc_min.stream(lc)),
            "lc objects": lambda: _drain(self._lc._stream(lc)),
            "lc": lambda: _drain(self._lc.stream(lc)),
            "li-min objects": lambda: _drain(self._li_min._responses(li, {})),
            "li-min": lambda: _drain(self._li_min.stream_chat(li)),
            "li-min observed": lambda: _observed(self._li_min.stream_chat, li),
            "li": lambda: _drain(self._li.stream_chat(li)),
            "li observed": lambda: _observed(self._li.stream_chat, li),
        }

    def calls(self) -> dict[str, Path]:
        """Ways to get a whole answer, from the lowest."""
        lc, li = [HumanMessage(QUESTION)], [ChatMessage(QUESTION)]
        return {
            "post": self._post,
            "Gemma": lambda: self._gemma.chat(QUESTION),
            "lc-min objects": lambda: self._lc_min._generate(lc),
            "lc-min": lambda: self._lc_min.invoke(lc),
            "lc objects": lambda: self._lc._generate(lc),
            "lc": lambda: self._lc.invoke(lc),
            "li-min": lambda: self._li_min.chat(li),
            "li": lambda: self._li.chat(li),
        }

    def _body(self, **options: object) -> bytes:
        return to_json({"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], **options})

    def _bytes(self) -> None:
        with self._clients.blocking.stream("POST", self._url, content=self._body(stream=True)) as response:
            _drain(response.iter_raw())

    def _events(self) -> None:
        events = Events()
        with self._clients.blocking.stream("POST", self._url, content=self._body(stream=True)) as response:
            for data in response.iter_raw():
                _drain(events.feed(data))

    def _post(self) -> None:
        response = self._clients.blocking.post(self._url, content=self._body(max_tokens=self._max_tokens))
        from_json(response.content)


def _drain(items: Iterable[object]) -> None:
    deque(items, maxlen=0)


def _observed(stream_chat: Callable[[Any], Iterable[object]], messages: object) -> None:
    with observing():
        _drain(stream_chat(messages))


def costs(paths: dict[str, Path], repeat: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of processor time for each path, round by round."""
    found: dict[str, list[float]] = {name: [] for name in paths}
    for number in range(rounds + 1):
        for name, path in paths.items():
            gc.collect()
            begun = time.process_time()
            for _ in range(repeat):
                path()
            if number:  # the first round warms up
                found[name].append(time.process_time() - begun)
    return found


def layered(layers: Sequence[Layer], found: dict[str, list[float]], units: int) -> str:
    """The layers as a table in Markdown."""
    heads = ["layer", "least LangChain", "ChatCloudflareGemma", "least LlamaIndex", "CloudflareGemma"]
    rows = [[name, *(_above(found, pair, units) for pair in pairs)] for name, *pairs in layers]
    lines = ["| " + " | ".join(row) + " |" for row in (heads, *rows)]
    return "\n".join([lines[0], "|---|--:|--:|--:|--:|", *lines[1:]])


def _above(found: dict[str, list[float]], pair: tuple[str, str] | None, units: int) -> str:
    if pair is None:
        return ""
    above, below = min(found[pair[0]]), min(found.get(pair[1], [0.0]))
    return f"{(above - below) / units * 1e6:.1f}"


def main() -> None:
    """Measures, and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    with Server() as server:
        streams = costs(Paths(f"{server.root}/{STREAM.path}").streams(), 1, rounds)
        print("Microseconds an event:\n")
        print(layered(EVENT_LAYERS, streams, STREAM.units))
        calls = costs(Paths(f"{server.root}/{CALL.path}", max_tokens=1_024).calls(), CALLS, rounds)
        print("\nMicroseconds a call:\n")
        print(layered(CALL_LAYERS, calls, CALLS))


if __name__ == "__main__":
    main()
