"""Row 45: proxies of the environment, which companies need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cf_gemma.errors import ConfigurationError, ConnectionFailed
from tests.faults.faces import CANARY, FACES, TOKEN, Face
from tests.faults.scenarios import GOOD, STREAM
from tests.faultserver import FIN, FaultServer, head

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=FACES.values(), ids=list(FACES))
def face(request: pytest.FixtureRequest) -> Iterator[Face]:
    """The six faces in turn."""
    face = request.param()
    yield face
    face.close()


@pytest.mark.parametrize("stream", [True, False])
def test_a_proxy_is_used(face: Face, stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests to plain http, which is loopback only, go to the proxy whole; it answers for the service."""
    with FaultServer(STREAM if stream else [GOOD]) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        face.begin(base_url="http://127.0.0.1:9")
        assert face.ask(stream=stream, pieces=[], max_tokens=5).text == "ab"
        assert proxy.requests[0].path.startswith("http://127.0.0.1:9/accounts/")
        face.close()
        assert proxy.wait_until_closed()


def test_a_proxy_sees_no_token(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    """With https, a proxy is only asked for a tunnel; one that refuses is a ConnectionFailed."""
    with FaultServer([head(403, {"content-length": "0"}), FIN]) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        face.begin(max_retries=0)
        with pytest.raises(ConnectionFailed):
            face.ask(stream=False, pieces=[])
        assert [request.method for request in proxy.requests] == ["CONNECT"]
        assert TOKEN not in str(proxy.requests)
        face.close()
        assert proxy.wait_until_closed()


@pytest.mark.parametrize("value", [f"socks5://{CANARY}:x@proxy.test:1080", f"ftp://{CANARY}@proxy.test"])
def test_a_proxy_that_can_not_be_used(face: Face, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SOCKS proxy without its extra, or none at all, is told by the variable's name, and nothing is sent."""
    with FaultServer([GOOD]) as server:
        monkeypatch.setenv("ALL_PROXY", value)
        face.begin(base_url=server.url)
        with pytest.raises(ConfigurationError, match="ALL_PROXY") as caught:
            face.ask(stream=False, pieces=[])
        assert CANARY not in str(caught.value)
        assert server.connections == 0
