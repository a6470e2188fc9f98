"""The loopback server: a process of its own that answers from prepared bytes, so that what costs is the client.

It writes its port on its output, and ends with its input.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
from functools import cache

from benchmarks.scenarios import Scenario

_REQUEST = re.compile(rb"POST /([^/ ]+)(/\S*)")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STREAMED = re.compile(rb'"stream": ?true')


@cache
def _response(path: str, *, native: bool, streamed: bool) -> tuple[bytes, float]:
    scenario = Scenario.of(path)
    render = scenario.stream if streamed else scenario.reply
    return render(native=native), scenario.delay / 1_000


class Connection(asyncio.Protocol):
    """Reads requests, and answers each with what its path names."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begins with nothing read."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP's are
        self._transport = transport
        self._received = bytearray()
        self._missing = 0

    def data_received(self, data: bytes) -> None:
        """Answers once the whole request has come."""
        self._received += data
        if self._missing > len(data):
            self._missing -= len(data)
            return
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head) if end else None
        self._missing = int(length[1]) - len(body) if length else 0
        if end and self._missing <= 0:
            self._answer(head, body)

    def _answer(self, head: bytearray, body: bytearray) -> None:
        self._received = bytearray()
        self._missing = 0
        request = _REQUEST.match(head)
        if request is None:
            self._transport.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            return
        native = not request[2].endswith(b"/chat/completions")
        response, delay = _response(request[1].decode(), native=native, streamed=_STREAMED.search(body) is not None)
        if delay:
            asyncio.get_running_loop().call_later(delay, self._transport.write, response)
        else:
            self._transport.write(response)


async def serve() -> None:
    """Serves until the process ends."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=1_024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    """Runs the server."""
    threading.Thread(target=_end_with_input, daemon=True).start()
    asyncio.run(serve())
