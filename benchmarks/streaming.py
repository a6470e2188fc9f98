"""What a streamed token costs the client: CPU time per chunk, as a ratio to bare httpx in the same run.

    python benchmarks/streaming.py [--chunks 2000] [--rounds 7]

A server on loopback sends the same pre-rendered stream to everybody, one event per HTTP chunk. The floor reads it with
httpx and json and builds nothing. Other packages take part where they are installed (openai, langchain-openai,
langchain-cloudflare, llama-index-llms-openai-like); what they lose on the way is not subtracted.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import socket
import statistics
import threading
import time
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MODEL = "@cf/google/gemma-4-26b-a4b-it"


class Server:
    """Answers every request on loopback with one prepared stream."""

    def __init__(self, chunks: int) -> None:
        self._stream = b"".join(_http_chunk(event) for event in _events(chunks)) + b"0\r\n\r\n"
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.root = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        with connection, connection.makefile("rb") as requests:
            while requests.readline():
                length = 0
                while (line := requests.readline()) != b"\r\n":
                    name, _, value = line.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                requests.read(length)
                connection.sendall(head + self._stream)


def _events(chunks: int) -> Iterator[bytes]:
    base = {
        "created": 1791402526,
        "id": "f962191d3d2f47418286b60056319eb5",
        "model": MODEL,
        "object": "chat.completion.chunk",
    }
    for number in range(chunks):
        choice = {"delta": {"content": f" word{number}"}, "finish_reason": None, "index": 0, "logprobs": None}
        usage = {"prompt_tokens": 0, "completion_tokens": 1, "total_tokens": 1}
        yield json.dumps({"choices": [choice], **base, "p": "nnvb131g3hod32avnlj9", "usage": usage}).encode()
    yield json.dumps(
        {"choices": [{"delta": {}, "finish_reason": "stop", "index": 0, "logprobs": None}], **base}
    ).encode()
    yield b"[DONE]"


def _http_chunk(event: bytes) -> bytes:
    data = b"data: " + event + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(data), data)


def targets(root: str) -> dict[str, Callable[[], int]]:
    """What is measured, by name; each reads one stream and says how many pieces it got."""
    found: dict[str, Callable[[], int]] = {"httpx, json": _floor(root), "cf_gemma.Gemma": _gemma(root)}
    for module, name, make in _ADAPTERS:
        try:
            available = importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:
            available = False
        if available:
            found[name] = make(root)
    return found


def _floor(root: str) -> Callable[[], int]:
    client = httpx.Client()

    def read() -> int:
        pieces = 0
        with client.stream("POST", root, json={"stream": True}) as response:
            for line in response.iter_lines():
                if line.startswith("data: {"):
                    pieces += bool(json.loads(line[6:])["choices"][0]["delta"])
        return pieces

    return read


def _gemma(root: str) -> Callable[[], int]:
    from cf_gemma import Gemma, TextDelta

    model = Gemma("account", "token", base_url=root)
    return lambda: sum(isinstance(item, TextDelta) for item in model.stream("x"))


def _langchain(root: str) -> Callable[[], int]:
    from langchain_cf_gemma import ChatCloudflareGemma

    model = ChatCloudflareGemma(account_id="account", api_token="token", base_url=root)
    return lambda: sum(bool(chunk.content) for chunk in model.stream("x"))


def _llama_index(root: str) -> Callable[[], int]:
    from llama_index.core.base.llms.types import ChatMessage

    from llama_index_cf_gemma import CloudflareGemma

    model = CloudflareGemma(account_id="account", api_token="token", base_url=root)
    return lambda: sum(bool(response.delta) for response in model.stream_chat([ChatMessage("x")]))


def _openai(root: str) -> Callable[[], int]:
    import openai

    client = openai.OpenAI(base_url=root, api_key="token")

    def read() -> int:
        stream = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}], stream=True)
        return sum(bool(chunk.choices[0].delta.content) for chunk in stream)

    return read


def _langchain_openai(root: str) -> Callable[[], int]:
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(base_url=root, api_key="token", model=MODEL)
    return lambda: sum(bool(chunk.content) for chunk in model.stream("x"))


def _langchain_cloudflare(root: str) -> Callable[[], int]:
    from langchain_cloudflare import ChatCloudflareWorkersAI

    model = ChatCloudflareWorkersAI(account_id="account", api_token="token", base_url=root, model=MODEL)
    return lambda: sum(bool(chunk.content) for chunk in model.stream("x"))


def _openai_like(root: str) -> Callable[[], int]:
    from llama_index.core.base.llms.types import ChatMessage
    from llama_index.llms.openai_like import OpenAILike

    model = OpenAILike(model=MODEL, api_base=root, api_key="token", is_chat_model=True)
    return lambda: sum(bool(response.delta) for response in model.stream_chat([ChatMessage("x")]))


_ADAPTERS = [
    ("langchain_core", "ChatCloudflareGemma", _langchain),
    ("llama_index.core", "CloudflareGemma", _llama_index),
    ("openai", "openai.OpenAI", _openai),
    ("langchain_openai", "ChatOpenAI", _langchain_openai),
    ("langchain_cloudflare", "ChatCloudflareWorkersAI", _langchain_cloudflare),
    ("llama_index.llms.openai_like", "OpenAILike", _openai_like),
]


def main() -> None:
    """Measures all in turn, round by round, so that a noisy machine is noisy for everybody."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    measured = targets(Server(arguments.chunks).root)
    times: dict[str, list[float]] = {name: [] for name in measured}
    for number in range(arguments.rounds + 1):
        for name, read in measured.items():
            begun = time.thread_time()
            pieces = read()
            spent = time.thread_time() - begun
            if pieces != arguments.chunks:
                raise SystemExit(f"{name} got {pieces} of {arguments.chunks} chunks")
            if number:  # the first round warms up
                times[name].append(spent / arguments.chunks * 1e6)
    floor = statistics.median(times["httpx, json"])
    print(f"{'':26}µs a chunk   ratio")
    for name, rounds in times.items():
        print(f"{name:26}{statistics.median(rounds):10.1f}{statistics.median(rounds) / floor:8.2f}")


if __name__ == "__main__":
    main()
