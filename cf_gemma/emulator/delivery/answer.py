"""The response to a request: a head and then the bytes of its body, however they are made."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from cf_gemma.emulator.delivery.job import Abandoned, Job

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator, Iterable, Mapping
    from concurrent.futures import Executor

    from starlette.types import Receive, Scope, Send


class Head(NamedTuple):
    """What comes before the body."""

    status: int
    headers: Mapping[str, str]


Part = Head | bytes
"""Of a response: first its head, then pieces of its body."""


class ConnectionCut(Exception):
    """Closes the connection in mid-answer: on purpose, or because the emulator ends."""


def whole(status: int, headers: Mapping[str, str], body: bytes, *, cut: bool = False) -> Generator[Part]:
    """A response whose length is known. Raises ConnectionCut in the middle of the body if it is to be cut."""
    yield Head(status, {**headers, "content-length": str(len(body))})
    if cut:
        yield body[: len(body) // 2]
        raise ConnectionCut
    yield body


class Response:
    """A response that is there at once. An ASGI application."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self._parts = parts

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        """Sends it."""
        for part in self._parts:
            await _send(send, [part])
        await _end(send)


class Answer:
    """A response that is made in a worker thread, which stops when the client leaves. An ASGI application.

    Args:
        make: yields the parts; it is handed the event that is set when nobody listens any more.
        executor: runs it.
        jobs: where it can be found, and cancelled, while it runs.
    """

    def __init__(
        self, make: Callable[[threading.Event], Generator[Part]], executor: Executor, jobs: set[Job[Any]]
    ) -> None:
        self._make, self._executor, self._jobs = make, executor, jobs

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Sends what is made, as it is made."""
        job = Job(self._make, self._executor)
        self._jobs.add(job)
        watch = asyncio.ensure_future(_cancel_when_gone(job, receive))
        try:
            while parts := await job.take():
                await _send(send, parts)
            await _end(send)
        except Abandoned:
            if not watch.done():
                raise ConnectionCut from None
        finally:
            watch.cancel()
            job.cancel()
            self._jobs.discard(job)


async def _send(send: Send, parts: list[Part]) -> None:
    if isinstance(parts[0], Head):
        head = parts[0]
        headers = [(name.encode(), value.encode()) for name, value in head.headers.items()]
        await send({"type": "http.response.start", "status": head.status, "headers": headers})
    body = b"".join(part for part in parts if isinstance(part, bytes))
    if body:
        await send({"type": "http.response.body", "body": body, "more_body": True})


async def _end(send: Send) -> None:
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _cancel_when_gone(job: Job[Any], receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    job.cancel()
