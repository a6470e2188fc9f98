"""HTTP clients of our own: how they are made, and who shares them."""

from __future__ import annotations

import asyncio
import atexit
import functools
import http.cookiejar
import os
from typing import TYPE_CHECKING, Final, TypeVar

import httpx

from cf_gemma.connections import Environment, LoopClient, SharedClients, environment
from cf_gemma.errors import ConfigurationError

if TYPE_CHECKING:
    import ssl

_LIMITS: Final = httpx.Limits(max_connections=256, max_keepalive_connections=64)

sync_clients: SharedClients[Environment, httpx.Client] = SharedClients(lambda _, client: not client.is_closed)
async_clients: SharedClients[tuple[asyncio.AbstractEventLoop, Environment], LoopClient[httpx.AsyncClient]] = (
    SharedClients(lambda key, kept: not key[0].is_closed() and not kept.client.is_closed)
)


def sync_client(host: str, user: object) -> httpx.Client:
    """The client for this host, shared by all who use it as things stand in the environment."""
    return sync_clients.get(environment(host), user, lambda: _new(httpx.Client))


async def async_client(host: str, user: object) -> httpx.AsyncClient:
    """The same for the running loop, which closes it when it shuts down."""
    key = (asyncio.get_running_loop(), environment(host))
    kept = async_clients.get(key, user, lambda: LoopClient(_new(httpx.AsyncClient)))
    await kept.start()
    return kept.client


def certificates() -> ssl.SSLContext:
    """Those that servers are checked with, read once as long as the environment names the same."""
    return _tls(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@atexit.register
def _close_all() -> None:
    for client in sync_clients.clear():
        client.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=sync_clients.disown)
    os.register_at_fork(after_in_child=async_clients.disown)


_AnyClient = TypeVar("_AnyClient", httpx.Client, httpx.AsyncClient)


def _new(kind: type[_AnyClient]) -> _AnyClient:
    # No cookies: clients are shared, and one account's must not go out with another's requests.
    no_cookies = http.cookiejar.CookieJar(http.cookiejar.DefaultCookiePolicy(allowed_domains=()))
    tls = certificates()
    try:
        return kind(verify=tls, limits=_LIMITS, cookies=no_cookies)
    except ImportError:
        raise ConfigurationError(f"{_proxies('socks')} names a SOCKS proxy, which needs pip install socksio") from None
    except (ValueError, httpx.InvalidURL):
        raise ConfigurationError(f"{_proxies()} must be the URL of a proxy, such as http://host:3128") from None


def _proxies(kind: str = "") -> str:
    names = [name for name, value in os.environ.items() if name.upper().endswith("_PROXY") and kind in value]
    return " or ".join(name for name in names if name.upper() != "NO_PROXY") or "the system's proxy"


@functools.cache
def _tls(*_certificates: str | None) -> ssl.SSLContext:
    """One for all clients: reading the certificates costs more than everything else in making a client.

    `_certificates` is what the environment names: httpx reads that itself, but must do so again when it changes.
    """
    try:
        return httpx.create_ssl_context()
    except OSError:
        raise ConfigurationError("SSL_CERT_FILE or SSL_CERT_DIR names no certificates that can be read") from None
