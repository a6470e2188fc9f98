"""What the emulator does with a request: the checks, in the service's order, and then the engine."""

from __future__ import annotations

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from secrets import compare_digest
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from cf_gemma.emulator.backends.rendering import Stamp, body, sse
from cf_gemma.emulator.delivery.answer import Answer, ConnectionCut, Rendered
from cf_gemma.emulator.edge.account import Account
from cf_gemma.emulator.edge.batches import Batches, read_items
from cf_gemma.emulator.edge.call import Call, RecordedRequest, RouteName
from cf_gemma.emulator.edge.gateway import Gateway, Visit
from cf_gemma.emulator.edge.injection import Injection, Injections
from cf_gemma.emulator.edge.prompt_cache import PromptCaches
from cf_gemma.emulator.edge.validation import check
from cf_gemma.emulator.engines.protocol import Step
from cf_gemma.emulator.envelope import dumps
from cf_gemma.emulator.faults import Fault, Refusal
from cf_gemma.jsonobject import as_object
from cf_gemma.model import CONTEXT_WINDOW

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from cf_gemma.emulator.chat import ChatRequest
    from cf_gemma.emulator.delivery.job import Job
    from cf_gemma.emulator.edge.settings import Settings
    from cf_gemma.emulator.engines.protocol import Engine, Event

    LookUp = Callable[[Mapping[str, str], Sequence[str]], dict[str, Any]]
    """From a query string and the models that exist to a body."""


class Service:
    """The endpoints of one emulator, and what they share from request to request."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.engine, self.settings = engine, settings
        self.requests: list[RecordedRequest] = []
        """Every request that came, in order, refused or not."""
        self._numbers = itertools.count()
        self._injections = Injections()
        self._jobs: set[Job[bytes]] = set()
        self._executor = ThreadPoolExecutor(settings.capacity, "cf-gemma-emulator")
        self._account = Account(settings)
        self._gateway = Gateway(settings.gateway_cache_ttl, settings.clock)
        self._prompts = PromptCaches()
        self._batches = Batches(self._executor, settings.queue_polls)

    async def chat(self, request: Request, *, route: RouteName) -> ASGIApp:
        """Answers a chat request on any of the routes."""
        call = self._call(route)
        try:
            raw = await request.body()
        except ClientDisconnect:
            raise ConnectionCut from None
        payload = self._record(request, raw)
        try:
            self._admit(request, route)
            self._account.admit()
            settings = self.settings.heeding(request.headers)
            injection = self._injections.take(request.headers.get("x-emulator-fault"))
            if route == "run" and request.query_params.get("queueRequest") == "true":
                return _success(call, self._queue(call, request.path_params["model"], as_object(payload) or {}, raw))
            chat, model = self._read(request, route, payload, len(raw))
            self._account.check_allocation()
            self._check_room(chat)
        except Refusal as refusal:
            return call.refuse(refusal.fault)
        visit = self._gateway.visit(call, request.headers, request.url.path, model, raw)
        if visit.hit is not None:
            return visit.hit
        events = partial(self._events, chat, injection, request.headers.get("x-session-affinity"))
        return self._answer(call, chat, self._stamp(call, chat, model, settings), events, visit)

    async def look_up(self, request: Request, *, answer: LookUp) -> Rendered:
        """Answers a question about the account from its query string."""
        call = self._call("run")
        self._record(request, await request.body())
        try:
            self._admit(request, "run")
            found = answer(request.query_params, self.settings.models)
        except Refusal as refusal:
            return call.refuse(refusal.fault)
        return _success(call, found)

    async def about(self, _: Request) -> JSONResponse:
        """What this is, and what really answers here."""
        return JSONResponse({"emulator": "cf-gemma", "engine": self.engine.name, "models": self.settings.models})

    async def no_route(self, request: Request, _: Exception) -> Response:
        """7000, as the edge answers any path it doesn't know."""
        return await self._misdirected(request, Fault.of(7000))

    async def no_method(self, request: Request, _: Exception) -> Response:
        """10405, as the edge answers a known path with a wrong method."""
        return await self._misdirected(request, Fault.of(10405))

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
        return Call(self.settings.random(next(self._numbers)), route)

    async def _misdirected(self, request: Request, fault: Fault) -> Response:
        self._record(request, await request.body())
        refused = self._call("run").refuse(fault)
        return Response(refused.body, refused.status, refused.headers)

    def _record(self, request: Request, raw: bytes) -> Any:
        try:
            payload = json.loads(raw)
        except ValueError:
            payload = None
        query, headers = dict(request.query_params), dict(request.headers)
        self.requests.append(RecordedRequest(request.method, request.url.path, query, headers, payload))
        return payload

    def _admit(self, request: Request, route: RouteName) -> None:
        """Checks the token and the account."""
        given = request.headers.get("authorization")
        expected = f"Bearer {self.settings.api_token}"
        anonymous = given is None and route == "openai"
        if not anonymous and not compare_digest((given or "").encode(), expected.encode()):
            raise Refusal(Fault.of(10000))
        if request.path_params.get("account", self.settings.account_id) != self.settings.account_id:
            text = f"Could not route to {request.url.path}, perhaps your object identifier is invalid?"
            raise Refusal(Fault.of(7003, text))

    def _read(self, request: Request, route: RouteName, payload: Any, size: int) -> tuple[ChatRequest, str]:
        """The checked request, and the model it asks for."""
        if not size:
            raise Refusal(Fault.of(3003))
        fields = as_object(payload) or {}
        model = request.path_params.get("model") or str(fields.get("model", ""))
        if route != "openai" and model not in self.settings.models:
            raise Refusal(Fault.of(5007, f"No such model {model} or task"))
        chat = check(fields.get("input") if route == "universal" else payload)
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
            events = self._events(chat, None, None, cancelled)
            whole, _ = body(events, self._stamp(call, chat, model, self.settings))
            return whole["result"]

        return self._batches.submit(call, model, read_items(payload["requests"], len(raw)), answer)

    def _check_room(self, chat: ChatRequest) -> None:
        """Raises Refusal (3040) for a request that would have to wait and doesn't want to."""
        options = as_object(chat.body.get("options")) or {}
        if options.get("rejectIfBusy") is True and len(self._jobs) >= self.settings.capacity:
            raise Refusal(Fault.of(3040))

    def _stamp(self, call: Call, chat: ChatRequest, model: str, settings: Settings) -> Stamp:
        return Stamp(
            dialect=settings.draw_dialect(call.random),
            random=call.random,
            model=model,
            now=settings.clock(),
            compat=call.compat,
            compat_tail=settings.compat_tail,
            n=chat.n,
            tool_call_style=settings.draw_style(call.random),
            tool_names=tuple(tool["name"] for tool in chat.tools),
            request_id=call.request_id,
        )

    def _events(
        self, chat: ChatRequest, injection: Injection | None, session: str | None, cancelled: threading.Event
    ) -> Iterator[Event]:
        """What the engine says, as the service passes it on."""
        events = self._prompts.heeded(session, chat, iter(self.engine.generate(chat, cancelled)))
        return self._account.charged(_interrupted(events, injection))

    def _answer(
        self,
        call: Call,
        chat: ChatRequest,
        stamp: Stamp,
        events: Callable[[threading.Event], Iterator[Event]],
        visit: Visit,
    ) -> ASGIApp:
        def made(cancelled: threading.Event) -> Generator[bytes]:
            if chat.stream:
                yield from sse(events(cancelled), stamp)
            else:
                whole, call.neurons = body(events(cancelled), stamp)
                yield dumps(whole)

        return Answer(
            lambda cancelled: visit.passing(made(cancelled), streamed=chat.stream),
            self._executor,
            self._jobs,
            refuse=call.refuse,
            headers=lambda: {**call.headers(self.engine.name, stamp.dialect.name), **visit.headers},
            streamed=chat.stream,
        )


def _interrupted(events: Iterator[Event], injection: Injection | None) -> Iterator[Event]:
    """The events up to an injected fault."""
    left = injection.after if injection else 0
    for event in events:
        if injection and isinstance(event, Step):
            if not left:
                raise Refusal(injection.fault)
            left -= 1
        yield event


def _success(call: Call, found: dict[str, Any]) -> Rendered:
    return Rendered(200, {"content-type": "application/json", "cf-ray": call.ray}, dumps(found))
