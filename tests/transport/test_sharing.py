from __future__ import annotations

import gc
import threading

import pytest

from cf_gemma import Gemma
from cf_gemma.errors import ConfigurationError
from cf_gemma.settings.resolved import Settings
from cf_gemma.transport.pools import key
from cf_gemma.transport.sharing import Shared
from tests.faultserver import FaultServer, json_reply
from tests.transport.callers import ACCOUNT, TOKEN


class Client:
    """Something to share."""

    closed = False


class User:
    """Someone who uses it."""


@pytest.fixture
def clients() -> Shared[str, Client]:
    """Clients that are usable until they are closed."""
    return Shared(lambda _, client: not client.closed)


def test_users_of_one_key_share_a_client(clients: Shared[str, Client]) -> None:
    """A client is made once for each key."""
    ann, bob = User(), User()
    assert clients.get("a", ann, Client) is clients.get("a", bob, Client)
    assert clients.get("a", ann, Client) is not clients.get("b", ann, Client)


def test_the_last_user_closes(clients: Shared[str, Client]) -> None:
    """A client is given back when its last user leaves, or when the others have died without leaving."""
    ann, bob, eve = User(), User(), User()
    client = clients.get("a", ann, Client)
    for user in (bob, eve):
        clients.get("a", user, Client)
    assert clients.release(bob) == []
    del eve, user
    gc.collect()
    assert clients.release(ann) == [client]
    assert clients.release(ann) == []
    assert clients.get("a", ann, Client) is not client


def test_only_the_clients_within_reach_are_given_back(clients: Shared[str, Client]) -> None:
    """A user leaves the keys it may speak for, and stays with the others."""
    ann = User()
    here, there = clients.get("here", ann, Client), clients.get("there", ann, Client)
    assert clients.release(ann, "here".__eq__) == [here]
    assert clients.get("there", ann, Client) is there
    assert clients.release(ann) == [there]


def test_a_client_that_was_closed_is_replaced(clients: Shared[str, Client]) -> None:
    """What can't be used any more isn't handed out, and is forgotten."""
    ann = User()
    first = clients.get("a", ann, Client)
    first.closed = True
    assert clients.get("b", ann, Client)
    assert clients.get("a", ann, Client) is not first
    assert first not in clients.release(ann)


def test_a_forked_child_begins_anew(clients: Shared[str, Client]) -> None:
    """Even where another thread of the parent held the lock at the moment of the fork, which stays locked for ever."""
    ann, making, enough = User(), threading.Event(), threading.Event()

    def slowly() -> Client:
        making.set()
        assert enough.wait(5)
        return Client()

    thread = threading.Thread(target=clients.get, args=("a", ann, slowly))
    thread.start()
    assert making.wait(5)
    clients.disown()
    results: list[Client] = []
    other = threading.Thread(target=lambda: results.append(clients.get("a", ann, Client)), daemon=True)
    other.start()
    other.join(1)
    enough.set()
    thread.join(5)
    assert len(results) == 1


def test_what_makes_connections_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host, the token, proxies and certificates do, and nothing else does."""

    def of(token: str = TOKEN, base_url: str = "https://api.test") -> object:
        return key(Settings.resolve(account_id=ACCOUNT, api_token=token, base_url=base_url, gateway="any"))

    before = of()
    monkeypatch.setenv("SOMETHING", "else")
    assert of() == before
    assert len({of(), of("other"), of(base_url="https://other.test")}) == 3
    for name, value in (
        ("HTTPS_PROXY", "http://proxy.test"),
        ("all_proxy", "http://proxy.test"),
        ("SSL_CERT_FILE", "/certificates"),
        ("NO_PROXY", "x.test"),
    ):
        monkeypatch.setenv(name, value)
        assert of() != before
        before = of()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ALL_PROXY", "socks5://canary:canary@proxy.test:1080", "ALL_PROXY names a SOCKS proxy.*pip install socksio"),
        ("HTTPS_PROXY", "ftp://canary:canary@proxy.test", "HTTPS_PROXY must be the URL of a proxy"),
        ("HTTPS_PROXY", "http://canary:port", "HTTPS_PROXY must be the URL of a proxy"),
        ("SSL_CERT_FILE", "/canary/nowhere.pem", "SSL_CERT_FILE or SSL_CERT_DIR names no certificates"),
        ("SSL_CERT_FILE", __file__, "SSL_CERT_FILE or SSL_CERT_DIR names no certificates"),
    ],
)
def test_an_environment_that_can_not_be_used(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy or certificates that can't be used are named by their variable, never by value, and nothing is sent."""
    answer = json_reply({"response": "hi"})
    with FaultServer([answer]) as server, Gemma(ACCOUNT, TOKEN, base_url=server.url) as model:
        monkeypatch.setenv(name, value)
        with pytest.raises(ConfigurationError, match=message) as caught:
            model.chat("hi")
        assert "canary" not in str(caught.value)
        assert caught.value.__cause__ is None
        monkeypatch.delenv(name)
        model.chat("hi")
        assert len(server.requests) == 1


def test_the_environment_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that has begun keeps its connections, whatever the environment says later; a new one heeds it."""
    answer = json_reply({"response": "hi"})
    with FaultServer([answer]) as server, Gemma(ACCOUNT, TOKEN, base_url=server.url) as model:
        model.chat("hi")
        monkeypatch.setenv("HTTPS_PROXY", "ftp://proxy.test")
        model.chat("hi")
        assert len({request.connection for request in server.requests}) == 1
        with (
            Gemma(ACCOUNT, TOKEN, base_url=server.url) as other,
            pytest.raises(ConfigurationError, match="HTTPS_PROXY"),
        ):
            other.chat("hi")


def test_a_closed_model_looks_at_the_environment_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its new connections are for those who have the same environment, not for those who have the one before."""
    answer = json_reply({"response": "hi"})
    with FaultServer([answer]) as server, Gemma(ACCOUNT, TOKEN, base_url=server.url) as model:
        model.chat("hi")
        model.close()
        monkeypatch.setenv("NO_PROXY", "x.test")
        model.chat("hi")
        monkeypatch.delenv("NO_PROXY")
        with Gemma(ACCOUNT, TOKEN, base_url=server.url) as other:
            other.chat("hi")
        assert server.connections == 3
