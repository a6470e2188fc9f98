"""The response to a model call, whole or streamed."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NamedTuple

from cf_gemma.emulator.delivery.job import Abandoned, Job
from cf_gemma.emulator.faults import Fault, Refusal

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator, Mapping
    from concurrent.futures import Executor

    from starlette.types import Receive, Scope, Send

logger = logging.getLogger("cf_gemma.emulator")


class ConnectionCut(Exception):
    """Raised out of the app when a fault, or the emulator's end, closes the connection in mid-answer."""


class Rendered(NamedTuple):
    """A whole response. An ASGI application."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool = False
    """Whether the connection is closed in the middle of the body."""

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        """Sends it, as ASGI applications do. Raises ConnectionCut where it is cut."""
        await _start(send, self.status, {**self.headers, "content-length": str(len(self.body))})
        if self.cut:
            await send({"type": "http.response.body", "body": self.body[: len(self.body) // 2], "more_body": True})
            raise ConnectionCut
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


class Answer:
    """Runs an engine in a worker thread and sends what it makes; stops it when the client leaves. An ASGI application.

    Args:
        make: gives the pieces of the body: the only one of a whole answer, one for each event of a stream. A Refusal
            raised before the first becomes an error response.
        executor: what runs it.
        jobs: where it can be found, and cancelled, while it runs.
        refuse: renders a fault.
        headers: those of a success, asked for when the first piece is there.
    """

    def __init__(
        self,
        make: Callable[[threading.Event], Generator[bytes]],
        executor: Executor,
        jobs: set[Job[bytes]],
        *,
        refuse: Callable[[Fault], Rendered],
        headers: Callable[[], Mapping[str, str]],
        streamed: bool,
    ) -> None:
        self._make, self._executor, self._jobs = make, executor, jobs
        self._refuse, self._headers, self._streamed = refuse, headers, streamed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, as ASGI applications do."""
        job = Job(self._make, self._executor)
        self._jobs.add(job)
        watch = asyncio.ensure_future(_cancel_when_gone(job, receive))
        try:
            await self._respond(job, scope, receive, send)
        except Abandoned:
            if not watch.done():
                raise ConnectionCut from None
        finally:
            watch.cancel()
            job.cancel()
            self._jobs.discard(job)

    async def _respond(self, job: Job[bytes], scope: Scope, receive: Receive, send: Send) -> None:
        try:
            pieces = await job.take()
        except Abandoned:
            raise
        except Refusal as refusal:
            await self._refuse(refusal.fault)(scope, receive, send)
        except Exception:  # an engine is anybody's code; what it raises is logged, and a 500
            logger.exception("the engine failed")
            await self._refuse(Fault(500))(scope, receive, send)
        else:
            if self._streamed:
                await self._stream(pieces, job, send)
            else:
                headers = {"content-type": "application/json", **self._headers()}
                await Rendered(200, headers, b"".join(pieces))(scope, receive, send)

    async def _stream(self, pieces: list[bytes], job: Job[bytes], send: Send) -> None:
        await _start(send, 200, {"content-type": "text/event-stream", **self._headers()})
        while pieces:
            await send({"type": "http.response.body", "body": b"".join(pieces), "more_body": True})
            try:
                pieces = await job.take()
            except Refusal as cut:
                raise ConnectionCut from cut
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def _cancel_when_gone(job: Job[bytes], receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    job.cancel()
