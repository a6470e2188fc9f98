"""What the emulator does with a request: the checks, in the service's order, and then the engine."""

from __future__ import annotations

import itertools
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from secrets import compare_digest
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from cf_gemma.emulator.backends.rendering import Stamp, body, sse
from cf_gemma.emulator.delivery.answer import Answer, ConnectionCut, Head, Response, whole
from cf_gemma.emulator.edge.account import Account
from cf_gemma.emulator.edge.batches import Batches, read_items
from cf_gemma.emulator.edge.call import Call, RecordedRequest, RouteName
from cf_gemma.emulator.edge.embedding import embed
from cf_gemma.emulator.edge.gateway import Gateway
from cf_gemma.emulator.edge.injection import Injection, Injections
from cf_gemma.emulator.edge.validation import check
from cf_gemma.emulator.engines.protocol import Step
from cf_gemma.emulator.envelope import dumps
from cf_gemma.emulator.faults import Fault, Refusal
from cf_gemma.model.facts import CONTEXT_WINDOW
from cf_gemma.model.json_object import as_object

if TYPE_CHECKING:
    import threading
    from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping, Sequence

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from cf_gemma.emulator.chat import ChatRequest
    from cf_gemma.emulator.delivery.answer import Part
    from cf_gemma.emulator.delivery.job import Job
    from cf_gemma.emulator.edge.settings import Settings
    from cf_gemma.emulator.engines.protocol import Engine, Event

    LookUp = Callable[[Mapping[str, str], Sequence[str]], dict[str, Any]]
    """From a query string and the models that exist to a body."""

    Answering = Callable[[Call, Request], Awaitable[ASGIApp]]
    """A route's own part."""

BODY_LIMIT: Final = 32 * 1024 * 1024
"""Bytes that a request may have. Ours: the service's own limit is not published."""

STRANGERS_LIMIT: Final = 64 * 1024
"""Bytes that are kept of a request without the token."""

logger = logging.getLogger("cf_gemma.emulator")
requests = logging.getLogger("cf_gemma.emulator.requests")
"""One line, of level INFO, for each request."""


class Service:
    """The endpoints of one emulator, and what they share from request to request."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine, self.settings = engine, settings
        self.requests: list[RecordedRequest] = []
        """Every request that came, in order, refused or not."""
        self._numbers = itertools.count()
        self._injections = Injections()
        self._jobs: set[Job[Any]] = set()
        self._executor = ThreadPoolExecutor(settings.capacity, "cf-gemma-emulator")
        self._account = Account(settings)
        self._gateway = Gateway(settings.gateway_cache_ttl, settings.clock)
        self._batches = Batches(self._executor, settings.queue_polls)

    async def answered(self, request: Request, *, route: RouteName, answer: Answering) -> ASGIApp:
        """What a route answers, or the refusal in its place: never anything that the service wouldn't say."""
        call = self._call(route)
        return self._logged(await self._outcome(call, request, answer), call, request)

    async def _outcome(self, call: Call, request: Request, answer: Answering) -> ASGIApp:
        try:
            return await answer(call, request)
        except Refusal as refusal:
            return Response(call.refuse(refusal.fault))
        except RecursionError:
            return Response(call.refuse(Fault.of(5006, "the request is nested too deep")))
        except ConnectionCut:
            raise
        except Exception:  # this code's own: it is logged, and the client gets what it can read
            logger.exception("the emulator failed")
            return Response(call.refuse(Fault(500)))

    async def chat(self, call: Call, request: Request) -> ASGIApp:
        """Answers a chat request on any of the routes."""
        payload, raw = await self._taken(request, call.route)
        self._account.admit()
        self._override(call, request)
        injection = self._injections.take(request.headers.get("x-emulator-fault"))
        if call.route == "run" and request.query_params.get("queueRequest") == "true":
            return _success(call, self._queue(call, request.path_params["model"], as_object(payload) or {}, raw))
        chat, model = self._read(request, call, payload, len(raw))
        self._account.check_allocation()
        self._check_room(chat)
        visit = self._gateway.visit(call, request.headers, request.url.path, model, raw)
        if visit.hit is not None:
            return Response(visit.hit)
        stamp = self._stamp(call, chat, model)
        session = request.headers.get("x-session-affinity")

        def make(cancelled: threading.Event) -> Generator[Part]:
            events = self._events(call, chat, cancelled, injection, session)
            return _answered(call, visit.caching(self._parts(call, stamp, visit.headers, events)))

        return Answer(make, self._executor, self._jobs)

    async def embed(self, call: Call, request: Request) -> ASGIApp:
        """Answers for an embedding model."""
        payload, _ = await self._taken(request, "run")
        self._account.admit()
        return _success(call, embed(f"@cf/baai/{request.path_params['name']}", payload))

    async def look_up(self, call: Call, request: Request, *, answer: LookUp) -> ASGIApp:
        """Answers a question about the account from its query string."""
        await self._taken(request, "run")
        return _success(call, answer(request.query_params, self.settings.models))

    async def about(self, _: Request) -> JSONResponse:
        """What this is, and what really answers here."""
        return JSONResponse({"emulator": "cf-gemma", "engine": self.engine.name, "models": self.settings.models})

    async def misdirected(self, request: Request, _: Exception, *, code: int) -> Any:
        """What the edge answers to a path that it doesn't know, or a method that isn't for it."""
        self._record(request, await _body(request, keeps=False))
        fault = Fault.of(code)
        if request.url.path.startswith("/v1/"):
            fault = Fault(fault.status, envelope="bare")
        call = self._call("run")
        return self._logged(Response(call.refuse(fault)), call, request)

    def cancel(self) -> None:
        """Ends every answer that is under way. Call it in the event loop."""
        for job in list(self._jobs):
            job.cancel()
        self._batches.cancel()

    def close(self) -> None:
        """Ends every answer and waits for its worker."""
        self.cancel()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _call(self, route: RouteName) -> Call:
        return Call(self.settings.random(next(self._numbers)), route, self.settings)

    def _logged(self, app: ASGIApp, call: Call, request: Request) -> ASGIApp:
        async def logged(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await app(scope, receive, send)
            finally:
                path = request.url.path
                requests.info(call.summary(path.partition(self.settings.account_id)[2] or path))

        return logged

    def _override(self, call: Call, request: Request) -> None:
        """Answers in the manner that the request asks for. Raises Refusal for one that there isn't."""
        settings = self.settings.with_overrides(request.headers)
        if settings != self.settings:
            call.manner = settings.draw(call.random)

    def _record(self, request: Request, raw: bytes) -> Any:
        try:
            payload = json.loads(raw)
        except (ValueError, RecursionError):
            payload = None
        query, headers = dict(request.query_params), dict(request.headers)
        self.requests.append(RecordedRequest(request.method, request.url.path, query, headers, payload))
        return payload

    async def _taken(self, request: Request, route: RouteName) -> tuple[Any, bytes]:
        """The payload of an admitted request, and its bytes. Of another's, whatever its size, nothing is kept."""
        refusal: Refusal | None = None
        try:
            self._admit(request, route)
        except Refusal as reason:
            refusal = reason
        raw = await _body(request, keeps=refusal is None)
        payload = self._record(request, raw)
        if refusal is not None:
            raise refusal
        return payload, raw

    def _admit(self, request: Request, route: RouteName) -> None:
        """Checks the token and the account."""
        authorization = request.headers.get("authorization")
        expected = f"Bearer {self.settings.api_token}"
        own = route == "openai"
        anonymous = authorization is None and own
        if not anonymous and not compare_digest((authorization or "").encode(), expected.encode()):
            raise Refusal(Fault(401, message="Unauthorized", envelope="bare") if own else Fault.of(10000))
        if request.path_params.get("account", self.settings.account_id) != self.settings.account_id:
            text = f"Could not route to {request.url.path}, perhaps your object identifier is invalid?"
            raise Refusal(Fault.of(7003, text))

    def _read(self, request: Request, call: Call, payload: Any, size: int) -> tuple[ChatRequest, str]:
        """The checked request, and the model that it names."""
        if not size:
            raise Refusal(Fault.of(3003))
        fields = as_object(payload) or {}
        model = request.path_params.get("model") or str(fields.get("model", ""))
        if call.route != "openai" and model not in self.settings.models:
            raise Refusal(Fault.of(5007, f"No such model {model} or task"))
        strict = "history" in call.manner.quirks
        chat = check(
            fields.get("input") if call.route == "universal" else payload, call.manner.dialect if strict else None
        )
        if size // 4 + chat.max_tokens > CONTEXT_WINDOW:
            raise Refusal(Fault.overflow(size // 4 + chat.max_tokens, CONTEXT_WINDOW))
        return chat, model

    def _queue(self, call: Call, model: str, payload: dict[str, Any], raw: bytes) -> dict[str, Any]:
        """Takes a batch in, or says what has become of one."""
        if model not in self.settings.models:
            raise Refusal(Fault.of(5007, f"No such model {model} or task"))
        if "requests" not in payload:
            return self._batches.poll(payload.get("request_id"))

        def answer(chat: ChatRequest, cancelled: threading.Event) -> dict[str, Any]:
            completion, _ = body(self._events(call, chat, cancelled), self._stamp(call, chat, model))
            return completion["result"]

        return self._batches.submit(call, model, read_items(payload["requests"], len(raw)), answer)

    def _check_room(self, chat: ChatRequest) -> None:
        """Raises Refusal (3040) for a request that would have to wait and doesn't want to."""
        options = as_object(chat.body.get("options")) or {}
        if options.get("rejectIfBusy") is True and len(self._jobs) >= self.settings.capacity:
            raise Refusal(Fault.of(3040))

    def _stamp(self, call: Call, chat: ChatRequest, model: str) -> Stamp:
        return Stamp(
            dialect=call.manner.dialect,
            chat=chat,
            random=call.random,
            model=model,
            now=self.settings.clock(),
            compat=call.compat,
            compat_tail=self.settings.compat_tail,
            tool_calls=call.manner.tool_calls,
            quirks=call.manner.quirks,
            request_id=call.request_id,
        )

    def _events(
        self,
        call: Call,
        chat: ChatRequest,
        cancelled: threading.Event,
        injection: Injection | None = None,
        session: str | None = None,
    ) -> Iterator[Event]:
        """What the engine says, as the service passes it on."""
        events = self._account.metered(iter(self.engine.generate(chat, cancelled)), session)
        return call.watched(events if injection is None else _interrupted(events, injection))

    def _parts(self, call: Call, stamp: Stamp, added: Mapping[str, str], events: Iterable[Event]) -> Generator[Part]:
        """A good answer, whole or streamed."""
        emulator = {"x-emulator-engine": self.engine.name, "x-emulator-dialect": stamp.dialect.name}
        headers = {"cf-ray": call.ray, "cf-ai-req-id": call.request_id, **emulator, **added}
        if stamp.chat.stream:
            pieces = sse(events, stamp)
            first = next(pieces)  # before the head: what an engine refuses at once has a status of its own
            yield Head(200, {"content-type": "text/event-stream", **headers})
            yield first
            yield from pieces
        else:
            completion, neurons = body(events, stamp)
            headers |= {"content-type": "application/json", "cf-ai-neurons": f"{neurons:.2f}"}
            yield from whole(200, headers, dumps(completion))


async def _body(request: Request, *, keeps: bool) -> bytes:
    """A request's body, read to its end. Raises Refusal for one that is too large, ConnectionCut for half of one."""
    body, size, limit = bytearray(), 0, BODY_LIMIT if keeps else STRANGERS_LIMIT
    try:
        async for piece in request.stream():
            size += len(piece)
            if size <= limit:
                body += piece
            elif keeps or size > BODY_LIMIT:
                raise Refusal(Fault.of(3006))
    except ClientDisconnect:
        raise ConnectionCut from None
    return bytes(body) if size <= limit else b""


def _answered(call: Call, parts: Iterable[Part]) -> Generator[Part]:
    """The parts, or a refusal in their place. Raises ConnectionCut where something goes wrong behind the head."""
    begun = False
    try:
        for part in parts:
            begun = True
            yield part
    except Refusal as refusal:
        if begun:
            raise ConnectionCut from refusal
        yield from call.refuse(refusal.fault)
    except Exception as error:  # an engine is anybody's code; what it raises is logged, and a 500
        logger.exception("the engine failed")
        if begun:
            raise ConnectionCut from error
        yield from call.refuse(Fault(500))


def _interrupted(events: Iterator[Event], injection: Injection) -> Iterator[Event]:
    """The events up to an injected fault."""
    left = injection.after
    for event in events:
        if isinstance(event, Step):
            if not left:
                raise Refusal(injection.fault)
            left -= 1
        yield event


def _success(call: Call, completion: dict[str, Any]) -> Response:
    return Response(whole(200, {"content-type": "application/json", "cf-ray": call.ray}, dumps(completion)))
