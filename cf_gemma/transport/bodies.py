"""The end of a body that is read by blocking calls: read out, given up, or abandoned to the garbage collector."""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import httpx

from cf_gemma.transport.limits import limited, watch_response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DRAIN: Final = 0.1
"""Seconds that the end of a body may take after the answer's end, so that its connection can be used again."""

_LAYERS: Final = ("_stream", "_httpcore_stream", "_connection")

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
        # A body that was read before it came here (a mock, a recording) is unpacked already. `iter_raw` is for users:
        # its counting and its chunker are paid for with each chunk.
        stream = cast("httpx.SyncByteStream", response.stream)
        self.chunks: Iterator[bytes] = response.iter_bytes() if response.is_stream_consumed else iter(stream)
        self._open.add(self)

    def drain(self) -> None:
        """Reads what is left, so that the connection can be used again, unless that takes too long."""
        if self._response.http_version == "HTTP/2":  # a connection of many streams is kept anyway
            return
        # The limit is this thread's own, and the connection not given back yet: nobody else's read is touched.
        with contextlib.suppress(httpx.HTTPError), limited(DRAIN):
            for _ in self.chunks:
                pass

    def close(self) -> None:
        """Gives the connection back to its pool, which keeps it if the body was read to its end."""
        watch_response(self._response, None)
        expire_if_more_came(self._response)
        self._response.close()
        self._open.discard(self)

    def abandon(self) -> None:
        """Closes the body from another thread."""
        elsewhere(self.close)


def expire_if_more_came(response: httpx.Response) -> None:
    """Has the connection closed behind an answer that bytes came behind: they would pass for the next one's.

    httpcore keeps them with its parser, several layers down; what it hasn't read yet it notices by itself.
    """
    layer: Any = response.stream
    while layer is not None and not hasattr(layer, "_h11_state"):
        layer = next(filter(None, (getattr(layer, name, None) for name in _LAYERS)), None)
    if layer is not None and layer._h11_state.trailing_data[0]:
        layer._keepalive_expiry = -1.0


def elsewhere(close: Callable[[], object]) -> None:
    """Closes something in another thread, which is waited for a moment."""
    if sys.is_finalizing():  # no thread would run any more, and the operating system closes the connections
        return
    thread = threading.Thread(target=close, daemon=True)
    with contextlib.suppress(RuntimeError):  # no thread can be had: the connection stays
        thread.start()
        thread.join(CLOSE)
