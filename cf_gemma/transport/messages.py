"""Requests as httpx sends them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import httpx

from cf_gemma.errors import ConfigurationError
from cf_gemma.settings.headers import is_framing

if TYPE_CHECKING:
    from cf_gemma.request.http_request import HttpRequest
    from cf_gemma.request.remote_images import RemoteImage
    from cf_gemma.settings.resolved import Settings

_url = functools.lru_cache(maxsize=256)(httpx.URL)  # parsing one costs more than the rest of a request


class Messages:
    """Makes httpx requests, with the limits of these settings."""

    def __init__(self, settings: Settings) -> None:
        self._limits = httpx.Timeout(settings.timeout, connect=settings.connect_timeout)
        self._extensions = {"timeout": self._limits.as_dict()}
        self._headers = functools.lru_cache(maxsize=16)(_headers)

    def post(self, request: HttpRequest) -> httpx.Request:
        """For a client of our own, which adds nothing to a request."""
        headers = self._headers(*request.headers.items())
        return httpx.Request(
            "POST", _url(request.url), headers=headers, content=request.body, extensions=self._extensions
        )

    def post_through(self, client: httpx.Client | httpx.AsyncClient, request: HttpRequest) -> httpx.Request:
        """For a user's client, with the headers and parameters that it adds to each request.

        Raises ConfigurationError for headers that are none of its business.
        """
        message = client.build_request(
            "POST", _url(request.url), headers=request.headers, content=request.body, timeout=self._limits
        )
        for name, value in message.headers.items():
            if is_framing(name) and (name, value) != ("connection", "keep-alive"):  # httpx's own
                raise ConfigurationError(f"http_client: its header {name} can't be set; it is the connection's")
        return message

    def get(self, image: RemoteImage, addresses: list[tuple[object, ...]]) -> httpx.Request:
        """For an image at these addresses. A user's client adds nothing: its credentials aren't for strangers."""
        message = httpx.Request("GET", **image.message(addresses))
        message.extensions.update(self._extensions)
        return message


def _headers(*headers: tuple[str, str]) -> httpx.Headers:
    return httpx.Headers({"accept": "*/*", "connection": "keep-alive", **dict(headers)})
