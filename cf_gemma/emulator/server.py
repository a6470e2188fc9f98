"""The emulator on a socket: uvicorn in a background thread."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import threading
from typing import TYPE_CHECKING, Self, Unpack

import uvicorn
from typing_extensions import override

from cf_gemma.emulator.app import create_app
from cf_gemma.emulator.delivery.answer import ConnectionCut
from cf_gemma.emulator.engines.protocol import Engine
from cf_gemma.emulator.engines.scripted import ScriptedEngine

if TYPE_CHECKING:
    from collections.abc import Generator

    from cf_gemma.emulator.edge.call import RecordedRequest
    from cf_gemma.emulator.edge.service import Service
    from cf_gemma.emulator.edge.settings import Options
    from cf_gemma.emulator.engines.reply import Replies


class Emulator:
    """A local Workers AI, for as long as it is open.

        with Emulator(["Hello!"]) as emulator:
            model = Gemma(emulator.account_id, emulator.api_token, base_url=emulator.base_url)

    It listens when the constructor returns.

    Args:
        engine: what answers; anything but an Engine is the script of a ScriptedEngine: a reply, a list of them, or a
            function. An engine of your own stays open when the emulator closes.
        options: see `Settings`.

    Raises:
        OSError: the port is taken, or the host isn't this machine's.
        TypeError: a script of something else than replies.
        ConfigurationError: an option that there isn't, or a value that it can't have.
    """

    def __init__(self, engine: Engine | Replies, **options: Unpack[Options]) -> None:
        app = create_app(engine if isinstance(engine, Engine) else ScriptedEngine(engine), **options)
        self._service: Service = app.state.service
        self._socket = _listen(self._service.settings.host, self._service.settings.port)
        self.origin = f"http://{_authority(self._socket)}"
        """Scheme, host and port."""
        self._server = _Server(
            uvicorn.Config(app, http="h11", ws="none", lifespan="on", log_config=None), self._service
        )
        self._thread = threading.Thread(
            target=self._server.run_on, args=(self._socket,), name="cf-gemma-emulator", daemon=True
        )
        if not self.is_local:
            logging.getLogger("cf_gemma.emulator").warning(
                "the emulator listens beyond this machine, which it isn't made for: %s", self.origin
            )
        self._thread.start()
        self._server.ready.wait()
        if not self._server.started:
            raise RuntimeError("the emulator did not start; the log says why")

    @property
    def is_local(self) -> bool:
        """Whether it listens on loopback, where nobody else reaches it."""
        return ipaddress.ip_address(self._socket.getsockname()[0]).is_loopback

    @property
    def port(self) -> int:
        """The port on which it listens."""
        return int(self.origin.rpartition(":")[2])

    @property
    def base_url(self) -> str:
        """The API root, what `base_url=` and CLOUDFLARE_BASE_URL want."""
        return f"{self.origin}/client/v4"

    @property
    def openai_url(self) -> str:
        """The root of the account-less chat-completions route, for `account_id=None` and other people's clients."""
        return f"{self.origin}/v1"

    @property
    def account_id(self) -> str:
        """The account that exists."""
        return self._service.settings.account_id

    @property
    def api_token(self) -> str:
        """The token that is accepted."""
        return self._service.settings.api_token

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request so far, in order. Clear it as you like."""
        return self._service.requests

    def close(self) -> None:
        """Cuts what is under way, waits for the workers and frees the port. May be called again."""
        self._server.stop()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Server(uvicorn.Server):
    """uvicorn, woken to stop instead of asking every 0.1 s whether it should, and without its fixed pauses.

    That takes methods and attributes that uvicorn doesn't document: tests/emulator/test_uvicorn.py notices when they
    move, and the extra `testing` has a ceiling.
    """

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self._service = service
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()

    def run_on(self, listener: socket.socket) -> None:
        """Serves until stop(); the body of the thread."""
        try:
            with _hushed():
                asyncio.run(self.serve([listener]))
        finally:
            self.ready.set()

    def stop(self) -> None:
        """Ends run_on(), from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stopped.set)

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        self.ready.set()

    @override
    async def main_loop(self) -> None:
        while not self._stopped.is_set():
            await self.on_tick(0)  # renews the date header
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), 1.0)

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._service.cancel()
        for listener in [*self.servers, *(sockets or [])]:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._drained(), _GRACE)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await self.lifespan.shutdown()

    async def _drained(self) -> None:
        while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.001)


class _Hush(logging.Filter):
    """Drops what uvicorn logs of this emulator: its routine, and the connections that were cut on purpose."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        routine = record.thread == self._thread and record.levelno < logging.WARNING
        return not routine and not (record.exc_info and isinstance(record.exc_info[1], ConnectionCut))


@contextlib.contextmanager
def _hushed() -> Generator[None]:
    loggers, hush = [logging.getLogger(name) for name in ("uvicorn.error", "uvicorn.access")], _Hush()
    for logger in loggers:
        logger.addFilter(hush)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(hush)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, or asyncio doesn't know it for such and leaves Nagle's algorithm on: 40 ms for each answer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        problem = f"can't listen on port {port} of {host}: {error.strerror}; port 0 takes a free one"
        raise OSError(error.errno, problem) from error
    return listener


def _authority(listener: socket.socket) -> str:
    bound: str = listener.getsockname()[0]
    port: int = listener.getsockname()[1]
    # "All addresses" is where to listen, and no address to connect to.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bound, bound)  # noqa: S104 - replaced
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


_GRACE = 0.3
"""Seconds for clients that don't read, before their connections are torn down."""
