"""The end of a body that is read by blocking calls: read out, given up, or abandoned to the garbage collector."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, ClassVar, Final, cast

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator

DRAIN: Final = 0.1
"""Seconds that the end of a body may take after the answer's end, so that its connection can be used again."""

CLOSE: Final = 0.2
"""Seconds that closing an abandoned body is waited for."""


class Body:
    """The body of one response, while it is read.

    A reader may be abandoned, and then the garbage collector ends it: at any moment, also while this very thread is
    inside the HTTP library and holds the lock of its connections, which closing needs. So the library's half-read
    iterators are kept reachable from here, and an abandoned body is closed by a thread of its own.
    """

    _open: ClassVar[set[Body]] = set()

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        # A body that was read before it came here (a mock, a recording) is unpacked already. The others are read
        # without `iter_raw`, which gives the connection back to its pool by itself.
        stream = cast("httpx.SyncByteStream", response.stream)
        self.chunks: Iterator[bytes] = response.iter_bytes() if response.is_stream_consumed else iter(stream)
        self._open.add(self)

    def drain(self) -> None:
        """Reads what is left, so that the connection can be used again, or shuts it when that takes too long.

        Another thread does the shutting, because a blocking read can't be given a new limit. Where no thread can be
        had, the connection is given up at once.
        """
        patience = Patience(self._response)
        if not watch.add(patience):
            return
        with contextlib.suppress(httpx.HTTPError):
            for _ in self.chunks:
                pass
        patience.end()

    def close(self) -> None:
        """Gives the connection back to its pool, which keeps it if the body was read to its end."""
        self._response.close()
        self._open.discard(self)

    def abandon(self) -> None:
        """Closes the body from another thread."""
        if sys.is_finalizing():  # no thread would run any more, and the operating system closes the connections
            return
        thread = threading.Thread(target=self.close, daemon=True)
        with contextlib.suppress(RuntimeError):  # no thread can be had: the connection stays, as the body does
            thread.start()
            thread.join(CLOSE)


class Patience:
    """The right to shut a body's connection once its time is over. It ends while the connection is still the body's.

    Afterwards the connection may be another call's.
    """

    __slots__ = ("_lock", "_socket", "due")

    def __init__(self, response: httpx.Response) -> None:
        self.due = time.monotonic() + DRAIN
        self._lock = threading.Lock()
        # A mock has no connection, and the streams of HTTP/2 share one.
        stream = response.extensions.get("network_stream") if response.http_version != "HTTP/2" else None
        self._socket: socket.socket | None = None if stream is None else stream.get_extra_info("socket")

    def end(self) -> None:
        """The body has ended in time."""
        with self._lock:
            self._socket = None

    def run_out(self) -> None:
        """Shuts the connection, unless the body has ended."""
        with self._lock:
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)


class DrainWatch:
    """Lets the patience with bodies run out, each in its time: one thread for all, which ends when it isn't needed."""

    IDLE: ClassVar = 5.0
    """Seconds for which the thread waits for more to do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: deque[Patience] = deque()
        self._wake = threading.Event()
        self._running = False

    def add(self, patience: Patience) -> bool:
        """Watches. False when it can't, because no thread can be had."""
        if sys.is_finalizing():
            return False
        self._queue.append(patience)
        with self._lock:
            if not self._running:
                try:
                    threading.Thread(target=self._run, name="cf-gemma-drain", daemon=True).start()
                except RuntimeError:
                    self._queue.clear()
                    return False
                self._running = True
        self._wake.set()
        return True

    def _run(self) -> None:
        while self._next():
            while self._queue:
                patience = self._queue.popleft()
                time.sleep(max(0.0, patience.due - time.monotonic()))
                patience.run_out()

    def _next(self) -> bool:
        """Waits until there is something in the queue. False when nothing came for a while."""
        self._wake.clear()
        if self._queue or self._wake.wait(self.IDLE):
            return True
        with self._lock:
            self._running = bool(self._queue)
            return self._running


watch = DrainWatch()


def _begin_anew() -> None:
    """In a forked child there is no thread, and a lock may be held by one of the parent's."""
    global watch
    watch = DrainWatch()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
