"""A call over HTTP, written once for both shells that use httpx."""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

import httpx
from typing_extensions import override

from cf_gemma.request.remote_images import RemoteImage
from cf_gemma.transport.call import AnyExchange, Calls
from cf_gemma.transport.failures import missing_if_unanswered, safe_cause, unanswered
from cf_gemma.transport.messages import Messages
from cf_gemma.transport.pools import key

if TYPE_CHECKING:
    from cf_gemma.settings.resolved import Settings
    from cf_gemma.transport.flow import Send, Session
    from cf_gemma.transport.pools import Key


class HttpCalls(Calls[AnyExchange]):
    """Calls, and pictures on the web."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._messages = Messages(settings)

    @cached_property
    def _key(self) -> Key:
        """Of the connections. The environment is looked at with the first call, and the first one after `close()`."""
        return key(self._settings)

    @override
    def _end_session(self) -> Session:
        self.__dict__.pop("_key", None)
        return super()._end_session()

    @override
    async def _open(self, send: Send) -> AnyExchange:
        try:
            return await self._post(send)
        except httpx.HTTPError as error:
            raise unanswered(error, self._settings) from safe_cause(error)

    async def _post(self, send: Send) -> AnyExchange:
        """Sends the request."""
        raise NotImplementedError

    async def _image(self, url: str) -> bytes:
        """An image on the web."""
        image = RemoteImage.at(url, time.monotonic())
        with missing_if_unanswered(image):
            await self._download(image, self._messages.get(image, await self._resolve(image)))
        return bytes(image.data)

    async def _resolve(self, image: RemoteImage) -> list[Any]:
        """The addresses of the image's host, as getaddrinfo gives them."""
        raise NotImplementedError

    async def _download(self, image: RemoteImage, message: httpx.Request) -> None:
        raise NotImplementedError
