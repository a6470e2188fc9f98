"""One call, written once for all shells: coroutines that the blocking shell runs without an event loop."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from typing_extensions import override

from cf_gemma.errors import BAD_IMAGE, GemmaError
from cf_gemma.model.completion import Completion
from cf_gemma.response.reception import Reception
from cf_gemma.response.refusals import of_own_server
from cf_gemma.response.validity import is_unusable
from cf_gemma.transport import log, waits
from cf_gemma.transport.flow import Send, Session, Sleep, Unusable, attempts, drive
from cf_gemma.transport.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cf_gemma.request.http_request import HttpRequest
    from cf_gemma.settings.resolved import Settings
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
        self._session = Session()

    def _end_session(self) -> Session:
        """Has all that waits see that the model was closed. Calls that begin from now on don't."""
        session, self._session = self._session, Session()
        session.closed = True
        return session

    async def _completion(self, request: HttpRequest) -> Completion:
        with request.bill:
            return await self._drive(request, self._whole)

    async def _object(self, request: HttpRequest) -> dict[str, Any]:
        return await self._drive(request, self._plain)

    async def answer(self, request: HttpRequest) -> AnyExchange:
        """An answer that has begun; the caller closes it."""
        return await self._drive(request, self._begun)

    async def _open(self, send: Send) -> AnyExchange:
        """Sends the request. Raises GemmaError where no response comes."""
        raise NotImplementedError

    async def _wait(self, seconds: float, session: Session) -> None:
        raise NotImplementedError

    async def _drive(self, request: HttpRequest, perform: Callable[[Send], Awaitable[Outcome]]) -> Outcome:
        session = self._session

        async def carry_out(step: Send | Sleep) -> Outcome | GemmaError | None:
            if isinstance(step, Send):
                try:
                    return await perform(step)
                except GemmaError as error:
                    _explain(error, step.request)
                    if self._settings.own_server:
                        of_own_server(error)
                    return error
            log.retry(step)
            await self._wait(step.seconds, session)
            return None

        flow: Flow[Outcome] = attempts(request, RetryPolicy.of(self._settings), waits.jitter, time.monotonic, session)
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
        exchange = await self._open(send)
        try:
            await exchange.begin(receive)
        except BaseException:
            await exchange.close()
            raise
        return exchange


class AsyncCalls(Calls[AnyExchange]):
    """Calls in an event loop."""

    turn = staticmethod(waits.turn)

    async def complete(self, request: HttpRequest) -> Completion:
        """The whole answer. Nothing of it is handed out before its end, so all that can go wrong may be tried again."""
        return await self._completion(request)

    async def post(self, request: HttpRequest) -> dict[str, Any]:
        """The JSON object that comes back, where that is no answer of the model's."""
        return await self._object(request)

    @override
    async def _wait(self, seconds: float, session: Session) -> None:
        await waits.sleep_async(seconds, session)


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
