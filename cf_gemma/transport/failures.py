"""What the HTTP library's errors mean."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import httpx

from cf_gemma.errors import ConfigurationError, ConnectionFailed, GemmaError, InvalidRequest, RequestTimeout

if TYPE_CHECKING:
    from collections.abc import Generator

    from cf_gemma.request.remote_images import RemoteImage
    from cf_gemma.response.readers import Reader
    from cf_gemma.settings.resolved import Settings

_BEFORE_SENDING: Final = (httpx.PoolTimeout, httpx.ConnectTimeout, httpx.ConnectError, httpx.ProxyError)


def unanswered(error: httpx.HTTPError, settings: Settings) -> GemmaError:
    """The error for a request that got no response."""
    if isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol):
        return InvalidRequest("the HTTP client refused to send the request")
    failure = _timeout(error, settings) or ConnectionFailed(
        f"no answer came from {settings.host}: {type(error).__name__}: {error}"
    )
    failure.sent = not isinstance(error, _BEFORE_SENDING)
    return failure


def never_begun() -> RequestTimeout:
    """The error for a request that was waiting in line when its deadline passed."""
    failure = RequestTimeout("no connection became free before the deadline: lower the concurrency, or raise deadline")
    failure.sent = False
    return failure


def dismissed() -> ConnectionFailed:
    """The error for a request that was waiting in line when its model was closed."""
    failure = ConnectionFailed("the model was closed while the request waited for a connection: it wasn't sent")
    failure.sent = False
    return failure


def cut(error: httpx.HTTPError, reader: Reader[object], settings: Settings) -> GemmaError:
    """The error for a response whose body broke off."""
    if isinstance(error, httpx.ReadTimeout) and settings.timeout is not None:
        return reader.silent(settings.timeout)
    return reader.cut(f"{type(error).__name__}: {error}")


def safe_cause(error: httpx.HTTPError) -> httpx.HTTPError | None:
    """The error as a cause, unless its text may show a header."""
    return None if isinstance(error, httpx.LocalProtocolError) else error


@contextlib.contextmanager
def typed_if_closed(client: httpx.Client | httpx.AsyncClient) -> Generator[None, None, None]:
    """Makes an error of our own of httpx's RuntimeError for a client that somebody has closed."""
    try:
        yield
    except RuntimeError:
        if not client.is_closed:
            raise
        raise ConfigurationError("http_client is closed: nothing can be sent through it") from None


@contextlib.contextmanager
def missing_if_unanswered(image: RemoteImage) -> Generator[None, None, None]:
    """Makes an image that can't be had of whatever goes wrong in this context."""
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
        raise image.missing(type(error).__name__) from error


def _timeout(error: httpx.HTTPError, settings: Settings) -> RequestTimeout | None:
    if isinstance(error, httpx.PoolTimeout):
        return RequestTimeout(
            "no connection became free in time: lower the concurrency, or pass an http_client of your own"
        )
    if isinstance(error, httpx.ConnectTimeout):
        return RequestTimeout(f"no connection{_within(settings.connect_timeout)}")
    if isinstance(error, httpx.TimeoutException):
        return RequestTimeout(f"no answer{_within(settings.timeout)}")
    return None


def _within(seconds: float | None) -> str:
    """The limit that passed; without one of ours, it was the operating system's."""
    return " in time" if seconds is None else f" within {seconds:g} s (timeout)"
