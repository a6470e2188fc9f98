"""One call, written once for both shells: coroutines that the blocking shell runs without an event loop."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import httpx

from cf_gemma.completion import Completion
from cf_gemma.errors import BAD_IMAGE, GemmaError
from cf_gemma.request.remote_images import RemoteImage
from cf_gemma.response.reception import Reception
from cf_gemma.response.refusals import of_own_server
from cf_gemma.response.validity import is_unusable
from cf_gemma.transport import log, waits
from cf_gemma.transport.failures import missing_if_unanswered, safe_cause, unanswered
from cf_gemma.transport.flow import Send, Sleep, Unusable, attempts, drive
from cf_gemma.transport.messages import Messages
from cf_gemma.transport.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cf_gemma.request.http_request import HttpRequest
    from cf_gemma.settings import Settings
    from cf_gemma.transport.exchanges import Receive
    from cf_gemma.transport.flow import Flow


class _Exchange(Protocol):
    """A request that was sent, and its response."""

    first: Any

    async def begin(self, receive: Receive) -> None: ...
    async def finish(self) -> Any: ...
    async def close(self) -> None: ...


AnyExchange = TypeVar("AnyExchange", bound=_Exchange)
Outcome = TypeVar("Outcome")


class Calls(Generic[AnyExchange]):
    """Sends a request until it is answered or given up, whichever way its bytes are moved."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._messages = Messages(settings)

    async def _completion(self, request: HttpRequest) -> Completion:
        return await self._drive(request, self._whole)

    async def _object(self, request: HttpRequest) -> dict[str, Any]:
        return await self._drive(request, self._plain)

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
        async def carry_out(step: Send | Sleep) -> Outcome | GemmaError | None:
            if isinstance(step, Send):
                try:
                    return await perform(step)
                except GemmaError as error:
                    _explain(error, step.request)
                    if self._settings.account_id is None:
                        of_own_server(error)
                    return error
            log.retry(step)
            await self._wait(step.seconds)
            return None

        flow: Flow[Outcome] = attempts(request, RetryPolicy.of(self._settings), waits.jitter, time.monotonic)
        return await drive(flow, carry_out)

    async def _begun(self, send: Send) -> AnyExchange:
        exchange = await self._received(send, partial(Reception.of_answer, send.request))
        if isinstance(exchange.first, Completion) and (lost := _lost(send, exchange.first)):
            await exchange.close()
            lost.answer = exchange
            raise lost
        return exchange

    async def _whole(self, send: Send) -> Completion:
        completion: Completion = await _finished(await self._received(send, partial(Reception.of_answer, send.request)))
        if lost := _lost(send, completion):
            lost.answer = completion
            raise lost
        return completion

    async def _plain(self, send: Send) -> dict[str, Any]:
        return await _finished(await self._received(send, Reception.of_object))

    async def _received(self, send: Send, receive: Receive) -> AnyExchange:
        try:
            exchange = await self._open(send)
        except httpx.HTTPError as error:
            raise unanswered(error, self._settings) from safe_cause(error)
        try:
            await exchange.begin(receive)
        except BaseException:
            await exchange.close()
            raise
        return exchange


def _explain(error: GemmaError, request: HttpRequest) -> None:
    """Says what a bad image may be where there is none: text that looks like one (cloudflare/ai#605)."""
    if error.code == BAD_IMAGE and b'"image_url"' not in request.body:
        error.message += " (the request has no image: text that contains data:image/ may be taken for one)"


def _lost(send: Send, completion: Completion) -> Unusable | None:
    """The error for an answer that is asked for once more; None for one that is taken as it is."""
    if not send.insists or not is_unusable(completion, send.request):
        return None
    return Unusable("nothing usable of the answer came", request_id=completion.request_id, partial=completion)


async def _finished(exchange: _Exchange) -> Any:
    try:
        return await exchange.finish()
    finally:
        await exchange.close()
