"""The shell over a Worker's AI binding: `env.AI.run`, without sockets, threads and the HTTP library.

What the binding takes and gives is from its source (cloudflare/workerd, `ai-api`, 2026-11). It is asked for the raw
response, so status, headers and bytes are those of HTTP. Older ones, which don't know that option, give an object or a
stream, and throw refusals.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import from_json, to_json
from typing_extensions import override

from cf_gemma.errors import ConfigurationError, ConnectionFailed, GemmaError, RequestTimeout, UnsupportedContent
from cf_gemma.errors.codes import CODES
from cf_gemma.response.refusals import api_error, lenient
from cf_gemma.transport.call import AsyncCalls
from cf_gemma.transport.exchanges import AsyncExchange

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cf_gemma.settings.resolved import Settings
    from cf_gemma.transport.exchanges import Receive
    from cf_gemma.transport.flow import Send

_OF_THE_RUNTIME: Final = frozenset({"accept-encoding", "content-type"})
"""Headers that the runtime sets."""

_GATEWAY: Final[Mapping[str, str]] = {
    "cf-aig-gateway-id": "id",
    "cf-aig-cache-key": "cacheKey",
    "cf-aig-cache-ttl": "cacheTtl",
    "cf-aig-skip-cache": "skipCache",
    "cf-aig-metadata": "metadata",
    "cf-aig-collect-log": "collectLog",
    "cf-aig-event-id": "eventId",
    "cf-aig-request-timeout": "requestTimeoutMs",
}
"""AI Gateway's headers, and the names of its options in a binding (@cloudflare/workers-types, 2026-11)."""

_TEXTS: Final = frozenset({"id", "cacheKey", "eventId"})

_CODED: Final = re.compile(r"(?:\w+: )*?(\d{3,5}): (.*)", re.DOTALL)
_REFUSED: Final = frozenset({"InferenceUpstreamError", "AiError"})


class BindingTransport(AsyncCalls["BindingExchange"]):
    """Runs the model through a binding. Raises ConfigurationError outside a Worker."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        try:
            self._js: Any = import_module("js")
            self._exception: type[Exception] = import_module("pyodide.ffi").JsException
        except ImportError:
            raise ConfigurationError("a binding works in a Python Worker only: pass account_id and api_token") from None

    async def fetch(self, url: str) -> bytes:  # noqa: ARG002 - the twin's parameter
        """Raises UnsupportedContent."""
        raise UnsupportedContent("inline_image_urls: a Worker has no sockets to fetch images with; pass their bytes")

    async def aclose(self) -> None:
        """Has nothing sent again; connections are the runtime's."""
        self._end_session()

    @override
    async def _open(self, send: Send) -> BindingExchange:
        js = self._js
        model, _, query = send.request.url.rpartition("/run/")[2].partition("?")
        inputs = js.JSON.parse(send.request.body.decode())
        options = js.JSON.parse(to_json(run_options(send.request.headers, queued=bool(query))).decode())
        if more := getattr(inputs, "options", None):  # in the body of a request over HTTP, where a binding ignores them
            js.Object.assign(options, more)
            del inputs.options
        abort = js.AbortController.new()
        options.signal = abort.signal
        try:
            async with asyncio.timeout(self._settings.timeout):
                answer = await self._settings.binding.run(model, inputs, options)
        except self._exception as error:
            raise refused(str(error)) from error
        except TimeoutError as error:
            abort.abort()
            raise RequestTimeout(f"no answer within {self._settings.timeout:g} s (timeout)") from error
        except asyncio.CancelledError:
            abort.abort()
            raise
        return BindingExchange(send, self._settings, _response(js, answer), self._exception)


class BindingExchange(AsyncExchange):
    """A run of the model, and its response: JavaScript's."""

    def __init__(self, send: Send, settings: Settings, response: Any, exception: type[Exception]) -> None:
        super().__init__(send, settings)
        self._exception, self._lost = exception, (exception, TimeoutError)
        self._response = response
        self._reader = response.body.getReader() if response.body else None
        self._next = self._piece
        self._sent_at: float | None = None
        self._silent = False
        self._timer: asyncio.TimerHandle | None = None
        self._watch()

    @override
    async def close(self) -> None:
        """Tells the runtime that no more is wanted."""
        if self._timer is not None:
            self._timer.cancel()
        self._settle()
        await self._cancel()

    @override
    def _read(self, receive: Receive) -> None:
        # What a Worker is given is unpacked, whatever the header says.
        self._receive(receive, self._response.status, dict(self._response.headers.entries()), "")

    @override
    def _broken(self, error: Exception) -> None:
        reader = self._reading.reception.reader
        if reader.finished:
            return
        if isinstance(error, TimeoutError) and self._settings.timeout is not None:
            raise reader.silent(self._settings.timeout)
        raise reader.cut(str(error)) from error

    def _watch(self) -> None:
        """Gives up a body that says nothing for too long.

        One timer for all its reads, since Pyodide keeps those that are cancelled until their time.
        """
        limit = self._settings.timeout
        if limit is None or self._reader is None:
            return
        waited = 0.0 if self._sent_at is None else time.monotonic() - self._sent_at
        if waited < limit:
            self._timer = asyncio.get_running_loop().call_later(limit - waited, self._watch)
        else:
            self._silent = True
            self._cancelling = asyncio.ensure_future(self._cancel())

    async def _cancel(self) -> None:
        if self._reader is not None:
            with contextlib.suppress(self._exception):
                await self._reader.cancel()

    async def _piece(self) -> bytes:
        if self._reader is None:
            raise StopAsyncIteration
        self._sent_at = time.monotonic()
        piece = await self._reader.read()
        self._sent_at = None
        if self._silent:
            raise TimeoutError
        if piece.done:
            raise StopAsyncIteration
        return piece.value.to_bytes()


def run_options(headers: Mapping[str, str], *, queued: bool) -> dict[str, Any]:
    """The third argument of `run` that says what these headers of a request say over HTTP."""
    options: dict[str, Any] = {"returnRawResponse": True}
    extra = {name: value for name, value in headers.items() if name not in _OF_THE_RUNTIME}
    if "cf-aig-gateway-id" in extra:
        gateway = {_GATEWAY[name]: extra.pop(name) for name in list(extra) if name in _GATEWAY}
        options["gateway"] = {name: value if name in _TEXTS else _decoded(value) for name, value in gateway.items()}
    if extra:
        options["extraHeaders"] = extra
    if queued:
        options["queueRequest"] = True
    return options


def refused(text: str) -> GemmaError:
    """The error for what `run` threw: `Name: 3040: reason`, `Name: body`, or a failure that isn't the service's."""
    if coded := _CODED.match(text):
        code = int(coded[1])
        return api_error({"code": code, "message": coded[2]}, {}, CODES[code].status if code in CODES else None)
    name, _, body = text.partition(": ")
    if name in _REFUSED:
        return api_error(lenient(body.encode()), {})
    return ConnectionFailed(f"no answer came through the binding: {text}")


def _response(js: Any, answer: Any) -> Any:
    """JavaScript's Response, whatever the binding gave."""
    answer = getattr(answer, "js_object", answer)  # what Python Workers' own package makes of a Response
    if isinstance(getattr(answer, "status", None), int):
        return answer
    if isinstance(answer, dict):
        answer = to_json(answer).decode()
    elif not hasattr(answer, "getReader"):
        answer = js.JSON.stringify(answer)
    return js.Response.new(answer)


def _decoded(value: str) -> Any:
    try:
        return from_json(value)
    except ValueError:
        return value
