"""The shells over HTTP, and the names of httpx that others need: only this package imports it."""

from __future__ import annotations

import httpx

from cf_gemma.transport.asynchronous import AsyncTransport
from cf_gemma.transport.blocking import SyncTransport

HttpClient = httpx.Client
AsyncHttpClient = httpx.AsyncClient
HttpError = httpx.HTTPError
ByteStream = httpx.SyncByteStream

__all__ = ["AsyncHttpClient", "AsyncTransport", "ByteStream", "HttpClient", "HttpError", "SyncTransport"]
