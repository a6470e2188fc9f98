"""A request that was sent, and its answer, read piece by piece. Knows no library that moves bytes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from cf_gemma.errors import GemmaError
from cf_gemma.transport.reading import Reading, begun

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Self

    from cf_gemma.response.reception import Reception
    from cf_gemma.settings.resolved import Settings
    from cf_gemma.transport.flow import Send
    from cf_gemma.transport.reading import Items

    Leave = Callable[[], Awaitable[None]]


class Receive(Protocol):
    """`Reception.of_answer`, or another way to receive a response."""

    def __call__(
        self, status: int, headers: Mapping[str, str], *, encoding: str | None = None, now: float
    ) -> Reception[Any]:
        """Receives a response that begins so."""
        ...


class Exchange:
    """What all kinds share."""

    _reading: Reading

    def __init__(self, send: Send, settings: Settings) -> None:
        self._send, self._settings = send, settings
        self._first: Items = ()
        self._settled = False
        self.first: Any = None
        """The first thing that the answer says."""

    def _receive(self, receive: Receive, status: int, headers: Mapping[str, str], encoding: str | None) -> None:
        """Makes ready for the body. Raises ProtocolError for one that can't be read."""
        reception = receive(status, headers, encoding=encoding, now=time.time())
        self._reading = Reading(reception, self._settings.timeout, time.monotonic)

    def _settle(self) -> None:
        """Counts what was paid for the answer, once."""
        bill = self._send.request.bill
        if bill.counts and not self._settled and hasattr(self, "_reading"):
            self._settled = True
            if (usage := self._reading.usage()) is not None:
                bill.pay(usage)

    def _count(self, error: BaseException | None) -> None:
        if isinstance(error, GemmaError):
            error.attempts = self._send.attempt


class AsyncExchange(Exchange):
    """An exchange that is waited for asynchronously, whoever moves its bytes. As a context, it is closed at the end."""

    _next: Callable[[], Awaitable[bytes]]
    """The next bytes of the body; raises StopAsyncIteration at its end, and `_lost` where it breaks off."""
    _lost: type[Exception] | tuple[type[Exception], ...]

    async def begin(self, receive: Receive) -> None:
        """Reads up to the first thing that the answer says."""
        self._read(receive)
        while not self._first:
            self.first, self._first = begun(await self.more())

    async def finish(self) -> Any:
        """Reads to the end. Returns the result."""
        last: object = None
        while items := await self.more():
            for last in items:  # noqa: B007 - what is said before the end may be an error
                pass
        return last

    async def more(self) -> Items:
        """What the answer says next; nothing at its end."""
        if self._first:
            items, self._first = self._first, ()
            return items
        reading = self._reading
        if reading.ended:
            return ()
        try:
            while not reading.over():
                if items := reading.feed(await self._next()):
                    return items
        except StopAsyncIteration:
            pass
        except self._lost as error:
            self._broken(error)
        if reading.reception.reader.done:
            await self._drain()
        return reading.end()

    async def close(self) -> None:
        """Gives the connection up, or back."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._count(error)
        await self.close()

    def _read(self, receive: Receive) -> None:
        """Makes ready for the body."""
        raise NotImplementedError

    def _broken(self, error: Any) -> None:
        """Raises what a broken connection means, unless the answer is whole all the same."""
        raise NotImplementedError

    async def _drain(self) -> None:
        """Reads what is left, if that is of use."""
