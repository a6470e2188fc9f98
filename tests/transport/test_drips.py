"""A server that sends a byte now and then is left like one that sends none."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from cf_gemma import errors as e
from cf_gemma.request import remote_images
from tests.faultserver import Action, FaultServer, Repeat, Sip, chunk, head, json_reply, stream_head
from tests.response.wire import sse, text_chunk

if TYPE_CHECKING:
    from tests.transport.callers import Caller

BEGUN = b"HTTP/1.1 200 OK\r\nx-a: "
HINT = b"HTTP/1.1 103 Early Hints\r\n\r\n"
ANSWER = {"choices": [{"message": {"content": "Hi."}, "finish_reason": "stop"}]}

DRIPS: dict[str, list[Action]] = {
    "a header": [BEGUN, Repeat(b"x", every=0.05)],
    "early hints": [Repeat(HINT, every=0.05)],
    "a flood of early hints": [Repeat(HINT * 100)],
    "an error": [head(500, {"content-length": "60000"}), Repeat(b"x", every=0.05)],
    "a reply": [head(200, {"content-type": "application/json", "content-length": "60000"}), Repeat(b" ", every=0.05)],
}


@pytest.mark.parametrize("name", DRIPS)
def test_a_drip_is_no_answer(name: str, caller: Caller) -> None:
    """Whatever drips, `timeout` ends it; so does a `deadline` without one."""
    with FaultServer(DRIPS[name]) as server:
        for limit in ({"timeout": 0.4}, {"timeout": None, "deadline": 0.4}):
            model = caller.model(server.url, max_retries=0, wire_streaming=False, **limit)
            begin = time.monotonic()
            with pytest.raises((e.RequestTimeout, e.ServerError)):
                caller.chat(model)
            assert time.monotonic() - begin < 3


def test_an_upload_that_is_sipped(caller: Caller) -> None:
    """A server that reads a little now and then gets as long as one that reads nothing."""
    small = [(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)]
    with FaultServer([Sip(50_000, 0.1)], reads=False) as server:
        client = caller.http_client(transport=caller.network(socket_options=small))
        model = caller.model(server.url, client, timeout=0.5, max_retries=0)
        begin = time.monotonic()
        with pytest.raises(e.RequestTimeout, match="timeout"):
            caller.chat(model, "word " * 800_000)
        assert time.monotonic() - begin < 3
        caller.close_http_client(client)


def test_hints_cost_nothing(caller: Caller) -> None:
    """A hint or two before the answer are passed over, and the next call on the connection has all of its time."""
    with FaultServer([HINT, HINT, json_reply(ANSWER)]) as server:
        model = caller.model(server.url, timeout=5, wire_streaming=False)
        for _ in range(3):
            assert caller.chat(model).text == "Hi."
        assert server.connections == 1


def test_a_flood_behind_the_end(caller: Caller) -> None:
    """What comes behind `[DONE]` is read for a moment, and then the connection is given up."""
    flood = [stream_head(), chunk(sse([text_chunk("a", "stop")])), Repeat(chunk(b": more\n\n" * 1_000))]
    with FaultServer(flood) as server:
        begin = time.monotonic()
        assert caller.chat(caller.model(server.url, wire_streaming=True)).text == "a"
        assert time.monotonic() - begin < 3
        assert server.wait_until_closed()


@pytest.mark.parametrize("drip", [[BEGUN, Repeat(b"x", every=0.05)], [head(200, {}), Repeat(b"x", every=0.05)]])
def test_an_image_that_drips(drip: list[Action], caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image has its seconds from its being asked for on, whatever they are spent with."""
    monkeypatch.setattr(remote_images, "FETCH_SECONDS", 0.4)
    resolved = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 443))]
    part = {"type": "image_url", "image_url": {"url": "https://images.example/a.png"}}
    with FaultServer(drip) as server:
        client = _with(caller, server.port)
        model = caller.model("https://api.test", client, inline_image_urls=True, timeout=60)
        with monkeypatch.context() as patched:
            real = socket.getaddrinfo
            patched.setattr(
                socket, "getaddrinfo", lambda host, *a, **k: resolved if "example" in str(host) else real(host, *a, **k)
            )
            begin = time.monotonic()
            with pytest.raises(e.UnsupportedContent, match=r"images\.example"):
                caller.chat(model, [{"role": "user", "content": [part]}])
        assert time.monotonic() - begin < 3
        caller.close_http_client(client)


def _with(caller: Caller, port: int) -> Any:
    """A client that asks this port of the machine, whatever it is asked for."""
    client = caller.http_client()
    transport = client._transport
    ask = "handle_async_request" if isinstance(client, httpx.AsyncClient) else "handle_request"
    handle = getattr(transport, ask)

    def rerouted(request: httpx.Request) -> Any:
        request.url = httpx.URL(f"http://127.0.0.1:{port}/")
        return handle(request)

    setattr(transport, ask, rerouted)
    return client
