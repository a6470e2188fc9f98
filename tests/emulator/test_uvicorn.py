"""What the emulator's server takes from uvicorn without its documentation: whoever raises the ceiling looks here."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from cf_gemma.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Callable

SIGNATURES: dict[Callable[..., object], str] = {
    uvicorn.Server.serve: "(self, sockets: 'list[socket.socket] | None' = None) -> 'None'",
    uvicorn.Server.startup: "(self, sockets: 'list[socket.socket] | None' = None) -> 'None'",
    uvicorn.Server.main_loop: "(self) -> 'None'",
    uvicorn.Server.on_tick: "(self, counter: 'int') -> 'bool'",
    uvicorn.Server.shutdown: "(self, sockets: 'list[socket.socket] | None' = None) -> 'None'",
    H11Protocol.shutdown: "(self) -> 'None'",
}


@pytest.mark.parametrize(("method", "signature"), SIGNATURES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_methods(method: Callable[..., object], signature: str) -> None:
    """The methods that are overridden or called are there, and take what they took."""
    plain = str(inspect.signature(method)).replace('"', "'").replace("'", "")
    assert plain == signature.replace("'", "")


def test_order_of_a_life() -> None:
    """`serve` runs `startup`, `main_loop` and `shutdown`, each once and in this order, and nothing beside them."""
    source = inspect.getsource(uvicorn.Server._serve)
    steps = ["self.startup(", "self.main_loop(", "self.shutdown("]
    assert [source.count(step) for step in steps] == [1, 1, 1]
    assert sorted(steps, key=source.index) == steps


def test_attributes() -> None:
    """A server that runs has the listeners, connections, tasks and lifespan that the emulator closes by itself."""
    with Emulator("Hello!") as emulator:
        server: uvicorn.Server = vars(emulator)["_server"]
        assert server.started
        assert [listener.is_serving() for listener in server.servers] == [True]
        assert (set(server.server_state.connections), set(server.server_state.tasks)) == (set(), set())
        assert inspect.iscoroutinefunction(server.lifespan.shutdown)
    assert not server.servers[0].is_serving()
