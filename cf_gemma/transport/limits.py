"""Limits on several reads together. The HTTP library's own begins anew with every byte, so a drip would outlive it."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final

import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator

_HEADERS: Final = "http11.receive_response_headers."
_CONNECTED: Final = ("connect_tcp.complete", "start_tls.complete")


class _Ends(threading.local):
    """When reading in this thread has to end, in seconds of `time.monotonic`."""

    of_headers: float | None = None
    of_all: float | None = None


_ends = _Ends()


@contextmanager
def limited(seconds: float | None) -> Generator[None, None, None]:
    """Within this context, in this thread, reading ends after so many seconds in all, with httpx.ReadTimeout."""
    before = _ends.of_all
    _ends.of_all = None if seconds is None else time.monotonic() + seconds
    try:
        yield
    finally:
        _ends.of_all = before


@asynccontextmanager
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


def headers_within(seconds: float | None) -> Callable[[str, dict[str, Any]], None]:
    """A trace of httpcore's, which limits how long the headers of a response may take once the request was sent."""

    def trace(name: str, info: dict[str, Any]) -> None:
        if name.startswith(_HEADERS):
            _ends.of_headers = None
            if seconds is not None and name.endswith("started"):
                _ends.of_headers = time.monotonic() + seconds
        elif name.endswith(_CONNECTED):
            watch(info["return_value"])

    return trace


def headers_within_async(scope: asyncio.Timeout, seconds: float) -> Callable[..., Coroutine[Any, Any, None]]:
    """The same for a task within this scope."""

    async def trace(name: str, _: dict[str, Any]) -> None:
        if name.startswith(_HEADERS) and not scope.expired():
            loop = asyncio.get_running_loop()
            scope.reschedule(loop.time() + seconds if name.endswith("started") else None)

    return trace


def watch(connection: Any) -> None:
    """Has a blocking connection of httpcore's heed the limits."""
    if not hasattr(connection, "heeds_limits"):
        connection.__class__ = _heeding(connection.__class__)  # in place: httpcore goes on with this very object


@functools.cache
def _heeding(kind: Any) -> Any:
    def read(connection: Any, max_bytes: int, timeout: float | None = None) -> bytes:
        return kind.read(connection, max_bytes, _left(timeout))

    return type(kind.__name__, (kind,), {"read": read, "heeds_limits": True})


def _left(timeout: float | None) -> float | None:
    """The timeout of a single read, or what the limits leave of it."""
    for end in (_ends.of_headers, _ends.of_all):
        if end is not None:
            left = end - time.monotonic()
            if left <= 0:
                raise httpx.ReadTimeout("all of it took too long")
            timeout = left if timeout is None else min(timeout, left)
    return timeout
