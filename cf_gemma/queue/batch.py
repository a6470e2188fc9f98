"""Batches over Workers AI's asynchronous queue: many requests handed over at once, answered when there is room."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

from cf_gemma.errors import GemmaError, Resumable
from cf_gemma.model.facts import MODEL
from cf_gemma.queue.flow import Pause, PollPolicy, collect, poll, submit
from cf_gemma.queue.handle import BatchHandle, BatchPart, BatchResult, BatchStatus
from cf_gemma.queue.requests import Item, Part, items, parts
from cf_gemma.request.parameters import merged
from cf_gemma.settings.defaults import QUEUE_TIMEOUT
from cf_gemma.transport import waits
from cf_gemma.transport.flow import drive, now

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from typing import Unpack

    from cf_gemma.queue.flow import QueueFlow
    from cf_gemma.queue.requests import BatchRequest
    from cf_gemma.request.http_request import HttpRequest
    from cf_gemma.request.parameters import Options
    from cf_gemma.settings.resolved import Settings

    Messages = str | Sequence[Mapping[str, Any]] | None

__all__ = ["AsyncBatch", "Batch", "BatchHandle", "BatchPart", "BatchResult", "BatchStatus", "PollPolicy"]

T = TypeVar("T")


class _Queue:
    """What both kinds share: the requests that submit, poll and collect."""

    policy = PollPolicy()
    """How often `wait` asks."""

    def __init__(self, settings: Settings, options: Mapping[str, Any]) -> None:
        self._settings = settings
        self._options = options

    def _parts(self, batch: Sequence[Item], options: Mapping[str, Any]) -> list[Part]:
        return parts(self._settings, merged(self._options, options), batch)

    def _submission(self, cut: Sequence[Part], options: Mapping[str, Any]) -> QueueFlow[BatchHandle]:
        return submit(cut, self._model(options))

    def _question(self, batch: Resumable | str) -> QueueFlow[BatchStatus]:
        return poll(self._settings, BatchHandle.of(batch, self._model({})))

    def _collection(
        self, batch: Resumable | str, timeout: float | None, clock: Callable[[], float]
    ) -> QueueFlow[list[BatchResult]]:
        handle = BatchHandle.of(batch, self._model({}))
        return collect(self._settings, handle, timeout=timeout, policy=self.policy, clock=clock)

    def _model(self, options: Mapping[str, Any]) -> str:
        return options.get("model") or self._options.get("model", MODEL)


class Batch(_Queue):
    """The queue, blocking: `Gemma(...).batch`. Threads may share one.

    handle = gemma.batch.submit(["Why is the sky blue?", "Why is grass green?"], max_tokens=500)
    for result in gemma.batch.wait(handle):
        print(result.reference, result.error or result.completion.text)
    """

    def __init__(
        self,
        settings: Settings,
        options: Mapping[str, Any],
        post: Callable[[HttpRequest], dict[str, Any]],
        with_images: Callable[[Messages], Messages],
        *,
        sleep: Callable[[float], object] = waits.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(settings, options)
        self._post, self._with_images = post, with_images
        self._sleep, self._clock = sleep, clock

    def submit(self, requests: Sequence[BatchRequest], **options: Unpack[Options]) -> BatchHandle:
        """Hands requests over to be answered later.

        Args:
            requests: Of each a text, a list of messages, or a dict of `messages` (or `prompt`) with options of its own
                and an `external_reference`, which is its place in the list otherwise.
            **options: Parameters of every request.

        Returns:
            A handle, which stands for as many requests to the queue as the limit of 10 MB makes of it.

        Raises:
            InvalidRequest: One of them can't be sent; nothing was.
            BatchInterrupted: Only the first parts were taken, and `.handle` has them; or nobody knows whether a part
                was, because the connection was lost, or the time was up, after it had been sent. Such a part is not
                sent again: it might be paid for twice.
            GemmaError: Nothing was taken.
        """
        batch = [item._replace(messages=self._with_images(item.messages)) for item in items(requests)]
        return self._run(self._submission(self._parts(batch, options), options))

    def status(self, batch: Resumable | str) -> BatchStatus:
        """How far a batch is. `batch` is a handle, its JSON, or a request id."""
        return self._run(self._question(batch))

    def results(self, batch: Resumable | str) -> list[BatchResult]:
        """The result of every request, in their order. Raises RequestTimeout when they are not all there yet."""
        return self.wait(batch, timeout=0)

    def wait(self, batch: Resumable | str, *, timeout: float | None = QUEUE_TIMEOUT) -> list[BatchResult]:
        """The result of every request, in their order, as soon as they are all there.

        Args:
            batch: A handle, its JSON, or a request id.
            timeout: Seconds to wait, None for as long as it takes.

        Raises:
            RequestTimeout: They weren't in time. The batch goes on; wait for it again.
            GemmaError: The batch as a whole failed. What came of single requests is in their results.
        """
        return self._run(self._collection(batch, timeout, self._clock))

    def _run(self, flow: QueueFlow[T]) -> T:
        return now(drive(flow, self._perform))

    async def _perform(self, step: HttpRequest | Pause) -> dict[str, Any] | GemmaError | None:
        if isinstance(step, Pause):
            self._sleep(step.seconds)
            return None
        try:
            return self._post(step)
        except GemmaError as error:
            return error


class AsyncBatch(_Queue):
    """The same with `await`: `AsyncGemma(...).batch`."""

    def __init__(
        self,
        settings: Settings,
        options: Mapping[str, Any],
        post: Callable[[HttpRequest], Awaitable[dict[str, Any]]],
        with_images: Callable[[Messages], Awaitable[Messages]],
        *,
        sleep: Callable[[float], Awaitable[object]] = waits.sleep_async,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(settings, options)
        self._post, self._with_images = post, with_images
        self._sleep, self._clock = sleep, clock

    async def submit(self, requests: Sequence[BatchRequest], **options: Unpack[Options]) -> BatchHandle:
        """Hands requests over to be answered later; see `Batch.submit`."""
        batch = [item._replace(messages=await self._with_images(item.messages)) for item in items(requests)]
        # By another thread: ten megabytes of JSON, and images that may have to be scaled down.
        cut = await asyncio.to_thread(self._parts, batch, options)
        return await self._run(self._submission(cut, options))

    async def status(self, batch: Resumable | str) -> BatchStatus:
        """How far a batch is. `batch` is a handle, its JSON, or a request id."""
        return await self._run(self._question(batch))

    async def results(self, batch: Resumable | str) -> list[BatchResult]:
        """The result of every request, in their order. Raises RequestTimeout when they are not all there yet."""
        return await self.wait(batch, timeout=0)

    async def wait(self, batch: Resumable | str, *, timeout: float | None = QUEUE_TIMEOUT) -> list[BatchResult]:  # noqa: ASYNC109 - the twin's parameter
        """The result of every request, in their order, as soon as they are all there; see `Batch.wait`."""
        return await self._run(self._collection(batch, timeout, self._clock))

    async def _run(self, flow: QueueFlow[T]) -> T:
        return await drive(flow, self._perform)

    async def _perform(self, step: HttpRequest | Pause) -> dict[str, Any] | GemmaError | None:
        if isinstance(step, Pause):
            await self._sleep(step.seconds)
            return None
        try:
            return await self._post(step)
        except GemmaError as error:
            return error
