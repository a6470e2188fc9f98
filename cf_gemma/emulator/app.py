"""The emulator as an ASGI app: Workers AI's paths."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Unpack

from starlette.applications import Starlette
from starlette.routing import Route

from cf_gemma.emulator.edge import catalogue
from cf_gemma.emulator.edge.service import Service
from cf_gemma.emulator.edge.settings import Options, Settings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine
    from typing import Any

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from cf_gemma.emulator.edge.call import RouteName
    from cf_gemma.emulator.edge.service import LookUp
    from cf_gemma.emulator.engines.protocol import Engine

    Endpoint = Callable[[Request], Coroutine[Any, Any, ASGIApp]]


def create_app(engine: Engine, **options: Unpack[Options]) -> Starlette:
    """Workers AI, answered by `engine`. `app.state.service` is the `Service` behind it; options: see `Settings`."""
    service = Service(engine, Settings.of(options))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        yield
        service.close()

    def chat(route: RouteName) -> Endpoint:
        return partial(service.answered, route=route, answer=service.chat)

    def looked_up(answer: LookUp) -> Endpoint:
        return partial(service.answered, route="run", answer=partial(service.look_up, answer=answer))

    embedded = partial(service.answered, route="run", answer=service.embed)
    account = "/client/v4/accounts/{account}"
    app = Starlette(
        routes=[
            Route(f"{account}/ai/run/@cf/baai/{{name}}", embedded, methods=["POST"]),
            Route(f"{account}/ai/run/{{model:path}}", chat("run"), methods=["POST"]),
            Route(f"{account}/ai/run", chat("universal"), methods=["POST"]),
            Route(f"{account}/ai/v1/chat/completions", chat("compat"), methods=["POST"]),
            Route("/v1/chat/completions", chat("openai"), methods=["POST"]),
            Route(f"{account}/ai/models/search", looked_up(catalogue.search)),
            Route(f"{account}/ai/models/schema", looked_up(catalogue.schema)),
            Route(f"{account}/tokens/verify", looked_up(catalogue.token)),
            Route("/client/v4/user/tokens/verify", looked_up(catalogue.token)),
            Route("/", service.about),
        ],
        exception_handlers={
            404: partial(service.misdirected, code=7000),
            405: partial(service.misdirected, code=10405),
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.service = service
    return app
