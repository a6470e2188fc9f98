"""What the emulator does with a request: the checks, in the service's order, and then the engine."""

from __future__ import annotations

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from secrets import compare_digest
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from cf_gemma.emulator.answer import Answer, Rendered
from cf_gemma.emulator.call import Call, RecordedRequest, RouteName
from cf_gemma.emulator.engines import Step
from cf_gemma.emulator.envelope import dumps
from cf_gemma.emulator.faults import Fault, Refusal
from cf_gemma.emulator.injection import Injection, Injections
from cf_gemma.emulator.rendering import Stamp, body, sse
from cf_gemma.emulator.validation import check
from cf_gemma.jsonobject import as_object
from cf_gemma.model import CONTEXT_WINDOW

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from cf_gemma.emulator.chat import ChatRequest
    from cf_gemma.emulator.engines import Engine, Event
    from cf_gemma.emulator.job import Job
    from cf_gemma.emulator.settings import Settings

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
        self._executor = ThreadPoolExecutor(_WORKERS, "cf-gemma-emulator")

    async def chat(self, request: Request, *, route: RouteName) -> ASGIApp:
        """Answers a chat request on any of the routes."""
        call = self._call(route)
        raw = await request.body()
        payload = self._record(request, raw)
        try:
            self._admit(request, route)
            injection = self._injections.take(request.headers.get("x-emulator-fault"))
            chat, model = self._read(request, route, payload, len(raw))
        except Refusal as refusal:
            return _response(call.refuse(refusal.fault))
        return self._answer(call, chat, model, injection)

    async def look_up(self, request: Request, *, answer: LookUp) -> Response:
        """Answers a question about the account from its query string."""
        call = self._call("run")
        self._record(request, await request.body())
        try:
            self._admit(request, "run")
            found = answer(request.query_params, self.settings.models)
        except Refusal as refusal:
            return _response(call.refuse(refusal.fault))
        return _response(Rendered(200, {"content-type": "application/json", "cf-ray": call.ray}, dumps(found)))

    async def about(self, _: Request) -> Response:
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

    def close(self) -> None:
        """Ends every answer and waits for its worker."""
        self.cancel()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _call(self, route: RouteName) -> Call:
        return Call(self.settings.random(next(self._numbers)), route)

    async def _misdirected(self, request: Request, fault: Fault) -> Response:
        self._record(request, await request.body())
        return _response(self._call("run").refuse(fault))

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

    def _answer(self, call: Call, chat: ChatRequest, model: str, injection: Injection | None) -> ASGIApp:
        stamp = Stamp(
            dialect=self.settings.draw_dialect(call.random),
            random=call.random,
            model=model,
            now=self.settings.clock(),
            compat=call.compat,
            compat_tail=self.settings.compat_tail,
            n=chat.n,
            tool_call_style=self.settings.draw_style(call.random),
            tool_names=tuple(tool["name"] for tool in chat.tools),
            request_id=call.request_id,
        )

        def pieces(cancelled: threading.Event) -> Generator[bytes]:
            events = _interrupted(self.engine.generate(chat, cancelled), injection)
            if chat.stream:
                yield from sse(events, stamp)
            else:
                whole, call.neurons = body(events, stamp)
                yield dumps(whole)

        return Answer(
            pieces,
            self._executor,
            self._jobs,
            refuse=call.refuse,
            headers=lambda: call.headers(self.engine.name, stamp.dialect.name),
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


def _response(rendered: Rendered) -> Response:
    return Response(rendered.body, rendered.status, rendered.headers)


_WORKERS = 64
"""Answers that can be under way at once; more wait their turn."""
