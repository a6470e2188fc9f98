"""Limits on several reads or writes together. The HTTP library's own begin anew with every byte: a drip outlives them.

A reader also looks whether its model was closed. It does so itself: by the time that another shuts a socket, it may be
somebody else's.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from typing import TYPE_CHECKING, Any, Final, cast

import httpcore
import httpx
from typing_extensions import override

from cf_gemma.transport.waits import GLANCE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator

    from cf_gemma.transport.flow import Session

_LIMITED: Final = ("send_request_headers", "send_request_body", "receive_response_headers")
_CONNECTED: Final = ("connect_tcp.complete", "start_tls.complete")

_PIECE: Final = 128 * 1024
"""Bytes that are written under one limit, so that several of them are looked at between."""

_BEGINS, _ENDS = b"POST ", b"\r\n\r\n"
"""How the head of a request begins and ends. No frame of HTTP/2 begins so."""


class Closed(httpx.ReadError):
    """Nothing came any more, and the model was closed."""


class _Ends(threading.local):
    """When this thread has to be done with the network, in seconds of `time.monotonic`."""

    of_phase: float | None = None
    of_all: float | None = None


_ends = _Ends()


@contextlib.contextmanager
def limited(seconds: float | None) -> Generator[None, None, None]:
    """Within this context, in this thread, reading ends after so many seconds in all, with httpx.ReadTimeout."""
    before = _ends.of_all
    _ends.of_all = None if seconds is None else time.monotonic() + seconds
    try:
        yield
    finally:
        _ends.of_all = before


@contextlib.asynccontextmanager
async def limited_async(seconds: float | None) -> AsyncGenerator[asyncio.Timeout, None]:
    """The same for this task, and for all that it waits for."""
    scope = asyncio.timeout(seconds)
    try:
        async with scope:
            yield scope
    except TimeoutError:
        if not scope.expired():
            raise
        raise httpx.ReadTimeout("all of it took too long") from None


def phases_within(seconds: float | None) -> Callable[[str, dict[str, Any]], None]:
    """A trace of httpcore's, which limits how long sending a request may take, and then the headers of its response."""

    def trace(name: str, info: dict[str, Any]) -> None:
        phase, _, state = name.rpartition(".")
        if phase.endswith(_LIMITED):
            _ends.of_phase = time.monotonic() + seconds if seconds is not None and state == "started" else None
        elif name.endswith(_CONNECTED):
            watch(info["return_value"])

    return trace


def phases_within_async(scope: asyncio.Timeout, seconds: float) -> Callable[..., Coroutine[Any, Any, None]]:
    """The same for a task within this scope."""

    async def trace(name: str, _: dict[str, Any]) -> None:
        phase, _dot, state = name.rpartition(".")
        if phase.endswith(_LIMITED) and not scope.expired():
            loop = asyncio.get_running_loop()
            scope.reschedule(loop.time() + seconds if state == "started" else None)

    return trace


def watch_response(response: httpx.Response, session: Session | None) -> None:
    """Has whoever reads this response look whether the session was closed."""
    connection = response.extensions.get("network_stream")
    if isinstance(connection, httpcore.NetworkStream | httpcore.AsyncNetworkStream):
        # A connection of HTTP/2 is read by whichever of its streams waits first, for all of them.
        watch(connection, None if response.http_version == "HTTP/2" else session)


def watch(connection: httpcore.NetworkStream | httpcore.AsyncNetworkStream, session: Session | None = None) -> None:
    """Has a connection heed the limits, and its reader look whether the session was closed."""
    if not isinstance(connection, _Watched | _WatchedAsync):
        connection.__class__ = _watched(type(connection))  # in place: httpcore goes on with this very object
    cast("_Watched | _WatchedAsync", connection).session = session


class _Watched(httpcore.NetworkStream):
    session: Session | None = None
    head = b""

    @override
    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        for seconds in _glances(self.session, _left(timeout, httpx.ReadTimeout)):
            try:
                return super().read(max_bytes, seconds)
            except httpcore.ReadTimeout:
                pass
        raise httpx.ReadTimeout("nothing came")

    @override
    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if _is_head(buffer):
            self.head = buffer
            return
        head, self.head = self.head, b""
        super().write(head + buffer[:_PIECE], _left(timeout, httpx.WriteTimeout))
        for begin in range(_PIECE, len(buffer), _PIECE):
            super().write(buffer[begin : begin + _PIECE], _left(timeout, httpx.WriteTimeout))


class _WatchedAsync(httpcore.AsyncNetworkStream):
    session: Session | None = None
    head = b""

    @override
    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        for seconds in _glances(self.session, timeout):
            try:
                return await super().read(max_bytes, seconds)
            except httpcore.ReadTimeout:
                pass
        raise httpx.ReadTimeout("nothing came")

    @override
    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if _is_head(buffer):
            self.head = buffer
            return
        head, self.head = self.head, b""
        if head and len(buffer) > _PIECE:  # joining them would copy all of it
            await super().write(head, timeout)
            head = b""
        await super().write(head + buffer, timeout)


def _is_head(buffer: bytes) -> bool:
    """Whether this is a request's head. It waits for what follows at once, the body or its end: one packet less."""
    return buffer.startswith(_BEGINS) and buffer.endswith(_ENDS)


@functools.cache
def _watched(kind: type[object]) -> type:
    mine = _Watched if issubclass(kind, httpcore.NetworkStream) else _WatchedAsync
    return type(kind.__name__, (mine, kind), {})


def _glances(session: Session | None, timeout: float | None) -> Iterator[float | None]:
    """The seconds of a read, in parts. Raises Closed where the session was closed before the last part began."""
    closed = False
    if session is not None:
        end = None if timeout is None else time.monotonic() + timeout
        while timeout is None or timeout > GLANCE:
            if closed:
                raise Closed("the model was closed, and nothing more came")
            closed = session.closed
            yield GLANCE
            if end is not None and (timeout := end - time.monotonic()) <= 0:
                return
    yield timeout


def _left(timeout: float | None, late: type[httpx.TimeoutException]) -> float | None:
    """The timeout of a single read or write, or what the limits leave of it."""
    for end in (_ends.of_phase, _ends.of_all):
        if end is not None:
            left = end - time.monotonic()
            if left <= 0:
                raise late("all of it took too long")
            timeout = left if timeout is None else min(timeout, left)
    return timeout
