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
    from collections.abc import AsyncGenerator

    from cf_gemma.emulator.engines.protocol import Engine


def create_app(engine: Engine, **options: Unpack[Options]) -> Starlette:
    """Workers AI, answered by `engine`. `app.state.service` is the `Service` behind it; options: see `Settings`."""
    service = Service(engine, Settings.of(options))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        yield
        service.close()

    account = "/client/v4/accounts/{account}"
    app = Starlette(
        routes=[
            Route(f"{account}/ai/run/@cf/baai/{{name}}", service.embed, methods=["POST"]),
            Route(f"{account}/ai/run/{{model:path}}", partial(service.chat, route="run"), methods=["POST"]),
            Route(f"{account}/ai/run", partial(service.chat, route="universal"), methods=["POST"]),
            Route(f"{account}/ai/v1/chat/completions", partial(service.chat, route="compat"), methods=["POST"]),
            Route("/v1/chat/completions", partial(service.chat, route="openai"), methods=["POST"]),
            Route(f"{account}/ai/models/search", partial(service.look_up, answer=catalogue.search)),
            Route(f"{account}/ai/models/schema", partial(service.look_up, answer=catalogue.schema)),
            Route(f"{account}/tokens/verify", partial(service.look_up, answer=catalogue.token)),
            Route("/client/v4/user/tokens/verify", partial(service.look_up, answer=catalogue.token)),
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
