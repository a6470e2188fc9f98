"""One call, written once for both shells: coroutines that the blocking shell runs without an event loop."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import httpx

from cf_gemma import log
from cf_gemma.errors import GemmaError
from cf_gemma.flow import Send, Sleep, attempts, drive
from cf_gemma.remote_images import RemoteImage
from cf_gemma.retry import RetryPolicy
from cf_gemma.transport.failures import missing_if_unanswered, safe_cause, unanswered
from cf_gemma.transport.messages import Messages

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cf_gemma.completion import Completion
    from cf_gemma.flow import Flow
    from cf_gemma.request import HttpRequest
    from cf_gemma.settings import Settings


class _Exchange(Protocol):
    """A request that was sent, and its response."""

    async def begin(self) -> None: ...
    async def finish(self) -> Completion: ...
    async def close(self) -> None: ...


AnyExchange = TypeVar("AnyExchange", bound=_Exchange)
Outcome = TypeVar("Outcome")


class Calls(Generic[AnyExchange]):
    """Sends a request until it is answered or given up, whichever way its bytes are moved."""

    def __init__(self, settings: Settings, dice: Callable[[], float] = random.random) -> None:
        self._settings = settings
        self._messages = Messages(settings)
        self._dice = dice

    async def _completion(self, request: HttpRequest) -> Completion:
        """The whole answer. Nothing of it is handed out before its end, so all that can go wrong may be tried again."""
        return await self._drive(request, self._whole)

    async def answer(self, request: HttpRequest) -> AnyExchange:
        """An answer that has begun; the caller closes it."""
        return await self._drive(request, self._begun)

    async def _image(self, url: str) -> bytes:
        """An image on the web."""
        image = RemoteImage.at(url, time.monotonic())
        with missing_if_unanswered(image):
            await self._download(image, self._messages.get(image, await self._resolve(image)))
        return bytes(image.data)

    async def _open(self, send: Send) -> AnyExchange:
        """Sends the request."""
        raise NotImplementedError

    async def _wait(self, seconds: float) -> None:
        raise NotImplementedError

    async def _resolve(self, image: RemoteImage) -> list[Any]:
        """The addresses of the image's host, as getaddrinfo gives them."""
        raise NotImplementedError

    async def _download(self, image: RemoteImage, message: httpx.Request) -> None:
        raise NotImplementedError

    async def _drive(self, request: HttpRequest, perform: Callable[[Send], Awaitable[Outcome]]) -> Outcome:
        async def step(step: Send | Sleep) -> Outcome | GemmaError | None:
            if isinstance(step, Send):
                try:
                    return await perform(step)
                except GemmaError as error:
                    return error
            log.retry(step)
            await self._wait(step.seconds)
            return None

        flow: Flow[Outcome] = attempts(request, RetryPolicy.of(self._settings), self._dice, time.monotonic)
        return await drive(flow, step)

    async def _begun(self, send: Send) -> AnyExchange:
        try:
            exchange = await self._open(send)
        except httpx.HTTPError as error:
            raise unanswered(error, self._settings) from safe_cause(error)
        try:
            await exchange.begin()
        except BaseException:
            await exchange.close()
            raise
        return exchange

    async def _whole(self, send: Send) -> Completion:
        exchange = await self._begun(send)
        try:
            return await exchange.finish()
        finally:
            await exchange.close()
