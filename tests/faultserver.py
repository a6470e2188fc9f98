"""A server that does on the wire exactly what it is told, faults included, and notes what it was sent.

A scenario is a short list of actions, one scenario per request; the last one serves every further request:

    with FaultServer([json_reply(answer)], [stream_head(), chunk(event), RST]) as server: ...

What is left of a connection after a scenario without FIN or RST waits for the next request.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Self

FIN: Final = "fin"
"""Close the connection in good order."""

RST: Final = "rst"
"""Reset the connection."""

HOLD: Final = "hold"
"""Say nothing until the client goes, for ten seconds at most."""


@dataclass(frozen=True)
class Wait:
    """Say nothing for so many seconds, or until the client goes."""

    seconds: float

    def act(self, connection: socket.socket) -> bool:
        """Does it; False when that was the connection's end."""
        return not _client_goes(connection, self.seconds)


@dataclass(frozen=True)
class Bytewise:
    """Send each byte in a TCP segment of its own."""

    data: bytes

    def act(self, connection: socket.socket) -> bool:
        """Does it; False when that was the connection's end."""
        for byte in self.data:
            connection.sendall(bytes([byte]))
        return True


@dataclass(frozen=True)
class Repeat:
    """Send the same bytes again and again, so many times or until the client goes."""

    data: bytes
    every: float = 0.0
    times: int = 1_000_000_000

    def act(self, connection: socket.socket) -> bool:
        """Does it; False when that was the connection's end."""
        for _ in range(self.times):
            connection.sendall(self.data)
            if self.every and _client_goes(connection, self.every):
                return False
        return True


@dataclass(frozen=True)
class Sip:
    """Read so many bytes, again and again."""

    size: int
    every: float

    def act(self, connection: socket.socket) -> bool:
        """Does it; False when that was the connection's end."""
        while connection.recv(self.size):
            time.sleep(self.every)
        return False


Action = bytes | Wait | Bytewise | Repeat | Sip | Literal["fin", "rst", "hold"]


@dataclass(frozen=True)
class Request:
    """What came in."""

    connection: int
    """Which TCP connection it came on, from 0."""
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body, decoded."""
        return json.loads(self.body)


class FaultServer:
    """Serves its scenarios on a loopback port of its own, each connection in a thread of its own."""

    def __init__(self, *scenarios: Sequence[Action], reads: bool = True) -> None:
        """`reads=False` acts on each connection at once, without waiting for a request."""
        self.requests: list[Request] = []
        self.connections = 0
        """How many TCP connections have been made."""
        self.open = 0
        """How many of them neither side has closed."""
        self._scenarios = scenarios
        self._served = 0
        self._reads = reads
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._stopping = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.port}"

    def wait_until_closed(self, seconds: float = 3.0) -> bool:
        """Whether every connection is closed within so many seconds."""
        return self._wait(lambda: self.open == 0, seconds)

    def wait_for_requests(self, count: int, seconds: float = 10.0) -> bool:
        """Whether so many requests have come within so many seconds."""
        return self._wait(lambda: len(self.requests) >= count, seconds)

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopping = True
        socket.create_connection(("127.0.0.1", self.port)).close()
        with self._changed:
            for connection in self._sockets:
                _shut(connection)
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive(), "a thread of the fault server hangs"

    def _wait(self, happened: Callable[[], bool], seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(happened, seconds)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with self._listener:
            while True:
                connection, _ = self._listener.accept()
                if self._stopping:
                    connection.close()
                    return
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._changed:
                    number = self.connections
                    self.connections += 1
                    self.open += 1
                    self._sockets.append(connection)
                self._start(self._serve, connection, number)

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            while self._converse(connection, number):
                pass
        except OSError:
            pass  # The client has gone, or the test has ended.
        finally:
            with self._changed:
                self._sockets.remove(connection)
                connection.close()
                self.open -= 1
                self._changed.notify_all()

    def _converse(self, connection: socket.socket, number: int) -> bool:
        """One request and its answer; False when the connection is at its end."""
        if self._reads:
            request = _read_request(connection, number)
            if request is None:
                return False
            with self._changed:
                self.requests.append(request)
                self._changed.notify_all()
        return all(_act(connection, action) for action in self._next())

    def _next(self) -> Sequence[Action]:
        with self._changed:
            place = min(self._served, len(self._scenarios) - 1)
            self._served += 1
        return self._scenarios[place]


def head(status: int = 200, headers: Mapping[str, str] | None = None) -> bytes:
    """A status line and headers."""
    lines = [f"HTTP/1.1 {status} -", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def reply(body: bytes | str, status: int = 200, content_type: str | None = "application/json", **headers: str) -> bytes:
    """A whole response; `retry_after="1"` is the header `retry-after`."""
    data = body.encode() if isinstance(body, str) else body
    fields = {"content-length": str(len(data))} | ({"content-type": content_type} if content_type else {})
    return head(status, fields | {name.replace("_", "-"): value for name, value in headers.items()}) + data


def json_reply(payload: object, status: int = 200, **headers: str) -> bytes:
    """A whole response of JSON."""
    return reply(json.dumps(payload), status, **headers)


def error_reply(status: int, code: int | None = None, message: str = "no", **headers: str) -> bytes:
    """An error in Cloudflare's envelope."""
    error = {"message": message} | ({} if code is None else {"code": code})
    return json_reply({"errors": [error], "success": False, "result": {}, "messages": []}, status, **headers)


def stream_head(**headers: str) -> bytes:
    """The beginning of a chunked event stream."""
    fields = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
    return head(200, fields | {name.replace("_", "-"): value for name, value in headers.items()})


def chunk(data: bytes | str) -> bytes:
    """One chunk of a chunked body."""
    data = data.encode() if isinstance(data, str) else data
    return b"%x\r\n%s\r\n" % (len(data), data)


END: Final = b"0\r\n\r\n"
"""The end of a chunked body."""


def _read_request(connection: socket.socket, number: int) -> Request | None:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return None
        data += piece
    beginning, _, body = data.partition(b"\r\n\r\n")
    first, *lines = beginning.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", 0))
    while len(body) < length:
        body += connection.recv(65536) or b"\0" * length
    return Request(number, method, path, headers, body)


def _act(connection: socket.socket, action: Action) -> bool:
    """Does it; False when that was the connection's end."""
    if isinstance(action, bytes):
        connection.sendall(action)
        return True
    if isinstance(action, str):
        return _leave(connection, action)
    return action.act(connection)


def _leave(connection: socket.socket, how: Literal["fin", "rst", "hold"]) -> bool:
    if how == HOLD:
        return not _client_goes(connection, 10)
    if how == RST:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def _client_goes(connection: socket.socket, seconds: float) -> bool:
    """Whether the client closes the connection within so many seconds."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if select.select([connection], [], [], left)[0]:
            if not connection.recv(1, socket.MSG_PEEK):
                return True
            # The next request, sent early: it is read when its turn comes.
            time.sleep(min(0.01, max(0.0, left)))
    return False


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # Closed already.
        connection.shutdown(socket.SHUT_RDWR)
