"""The body of an answer, and its end, however that comes about."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar
from weakref import WeakKeyDictionary

from cf_gemma.errors import GemmaError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Mapping
    from typing import Self

Item = TypeVar("Item")

DRAIN: Final = 0.1
"""Seconds that the end of a body may take after the answer's end, so that its connection can be used again."""

CLOSE: Final = 0.2
"""Seconds that closing an abandoned body is waited for."""


class Body:
    """A body while it is read by blocking calls. As a context manager, it is closed at the end.

    A reader may be abandoned, and then the garbage collector closes it: at any moment, also while this very thread
    is inside the HTTP library and holds the lock of its connections, which closing needs. So the library's half-read
    iterators are kept reachable from here, and an abandoned body is closed by a thread of its own.
    """

    _open: ClassVar[set[Body]] = set()

    def __init__(self, close: Callable[[], None], extensions: Mapping[str, Any]) -> None:
        """`close` gives the connection up; `extensions` are the response's, without a network stream in a mock."""
        stream = extensions.get("network_stream")
        self.chunks: Generator[bytes, None, None] | None = None
        self._give_up = close
        self._connection: socket.socket | None = None if stream is None else stream.get_extra_info("socket")
        self._open.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not GeneratorExit:
            self._close()
            return
        thread = threading.Thread(target=self._close, daemon=True)
        with contextlib.suppress(RuntimeError):  # no threads begin while the interpreter shuts down
            thread.start()
            thread.join(CLOSE)

    def drain(self) -> None:
        """Reads what is left, so that the connection can be used again, or shuts it when that takes too long.

        A timer does that, because a blocking read can't be told a new limit.
        """
        timer = threading.Timer(DRAIN, self._shut)
        timer.daemon = True
        timer.start()
        with contextlib.suppress(GemmaError):
            for _ in self.chunks or ():
                pass
        timer.cancel()

    def _shut(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)

    def _close(self) -> None:
        self._give_up()
        if self.chunks is not None:
            self.chunks.close()
        self._open.discard(self)


class Owned(Generic[Item]):
    """A generator that another one owns: it was begun with `begin`, and is closed at the end of this context.

    Of two generators, one within the other, the event loop may know the outer one only, or closing them at its shutdown
    gets them into each other's way. What it doesn't know the garbage collector would end at once, in whatever task is
    running. So an owned generator is kept reachable, until its owner, which the loop closes, closes it.
    """

    _open: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, set[object]]] = WeakKeyDictionary()

    def __init__(self, answer: AsyncGenerator[Item, None]) -> None:
        self._answer = answer
        self._kept = self._open.setdefault(asyncio.get_running_loop(), set())

    async def __aenter__(self) -> AsyncGenerator[Item, None]:
        self._kept.add(self._answer)
        return self._answer

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._answer.aclose()
        finally:
            self._kept.discard(self._answer)


def begin(answer: AsyncGenerator[Item, None]) -> Awaitable[Item]:
    """The first item of a generator that is to be `Owned`: the event loop doesn't get to know of it."""
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)
    try:
        return anext(answer)
    finally:
        sys.set_asyncgen_hooks(*hooks)


async def drain(chunks: AsyncIterator[bytes]) -> None:
    """Reads what is left, so that the connection can be used again, unless that takes too long."""
    with contextlib.suppress(GemmaError, TimeoutError):
        async with asyncio.timeout(DRAIN):
            async for _ in chunks:
                pass
