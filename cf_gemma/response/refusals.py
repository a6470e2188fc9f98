"""How the service says no: the typed error for a body, or a stream's event, in any of its shapes. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from cf_gemma.errors import (
    ApiError,
    AuthenticationError,
    BadRequest,
    ContextOverflow,
    GemmaError,
    NotFound,
    PermissionDenied,
    QuotaExhausted,
)
from cf_gemma.errors.codes import CODES, error_class
from cf_gemma.model.json_object import as_object, parsed
from cf_gemma.response.headers import request_id

if TYPE_CHECKING:
    from collections.abc import Mapping

EXCERPT: Final = 200
"""Characters of an unreadable body that an error shows."""

_REMEDIES: Final[Mapping[type[ApiError], str]] = {
    AuthenticationError: "check api_token (CLOUDFLARE_API_TOKEN)",
    PermissionDenied: "check that the token may use Workers AI on this account",
    NotFound: "check account_id (CLOUDFLARE_ACCOUNT_ID), model and base_url",
    ContextOverflow: "shorten the messages, or lower max_tokens",
    QuotaExhausted: "a daily allocation comes back at 00:00 UTC; waiting a little doesn't help",
}

_OWN_REMEDIES: Final[Mapping[type[ApiError], str]] = {
    AuthenticationError: "check api_token",
    PermissionDenied: "check what the token may do",
    NotFound: "check model and base_url",
}
"""The remedies for a server of one's own."""

_HINTS: Final[Mapping[int, str]] = {
    5028: "the model is deprecated: set model to its successor",
}
"""By Cloudflare's code (developers.cloudflare.com, 2026-11)."""

_NO_ERROR: Final[tuple[object, ...]] = (None, False, "", [])
"""Values of `error` that are no error; an empty object is an error without a reason."""

_PREFIX = re.compile(r"^(?:AiError: )+")
_UUID = re.compile(r"\(([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\)")
_UUID_LENGTH: Final = 38
_CODE_IN_TEXT = re.compile(r"\b(\d{3,5})\s*:")
_OVERFLOW = re.compile(
    r"context (?:window|length|size)|Sequence too long|Max context reached|max_model_len|exceed_context_size|"
    r"prompt is too long",
    re.IGNORECASE,
)


def of_own_server(error: GemmaError) -> None:
    """Makes the error speak of a server of one's own, which knows neither accounts nor Cloudflare's variables."""
    error.server = "the server"
    for kind, remedy in _OWN_REMEDIES.items():
        if isinstance(error, kind):
            error.message = error.message.replace(_REMEDIES[kind], remedy)


def is_error(payload: dict[str, Any]) -> bool:
    """Whether a body or a stream's event is an error in any of the shapes that Cloudflare has for one."""
    if payload.get("errors") or payload.get("error") not in _NO_ERROR or payload.get("success") is False:
        return True
    return "code" in payload and "message" in payload and not payload.keys() & {"choices", "response", "result"}


def api_error(payload: dict[str, Any] | str, headers: Mapping[str, str], status: int | None = None) -> ApiError:
    """The typed error for an error body: Cloudflare's `errors`, the gateway's `error`s, OpenAI's `error`, or text."""
    complaint = _complaint(payload)
    code = complaint.code
    if status is None and code is not None and 400 <= code < 600:  # in a stream, servers put the status there
        status, code = code, None
    kind = error_class(status, code)
    if issubclass(kind, BadRequest) and _OVERFLOW.search(complaint.message):
        kind = ContextOverflow
    text, named = _without_id(complaint.message)
    message = _PREFIX.sub("", text) or "no reason given"
    if status is not None and 300 <= status < 400:
        message = "a redirect, which is never followed: the token would go to another address. Check base_url"
    if remedy := _HINTS.get(code or 0) or _REMEDIES.get(kind):
        message = f"{message} ({remedy})"
    return kind(
        message,
        status=status,
        code=code,
        request_id=request_id(headers) or named,
    )


def _without_id(message: str) -> tuple[str, str | None]:
    """A message without the request's id at its end, and the id."""
    end = len(message.rstrip())
    match = _UUID.fullmatch(message, max(0, end - _UUID_LENGTH), end)
    return (message[: match.start()].rstrip(), match[1]) if match else (message, None)


class _Complaint(NamedTuple):
    message: str
    code: int | None


def _complaint(payload: dict[str, Any] | str) -> _Complaint:
    if isinstance(payload, str):
        return _Complaint(payload, _code(None, payload))
    reported: object = payload.get("errors") or payload.get("error") or payload
    entries = cast("list[object]", reported) if isinstance(reported, list) else [reported]
    complaints = [_entry(entry) for entry in entries]
    # Several errors: the first whose code means something decides, all of them are told.
    known = next((one.code for one in complaints if one.code in CODES), None)
    code = known if known is not None else next((one.code for one in complaints if one.code is not None), None)
    return _Complaint("; ".join(one.message for one in complaints if one.message), code)


def _entry(entry: object) -> _Complaint:
    fields = as_object(entry)
    if fields is None:
        return _Complaint(str(entry), _code(None, str(entry)))
    message = str(fields.get("message") or fields.get("detail") or "")
    # `internalCode` is what a Worker's binding, and AI Gateway, call it (cloudflare/workerd, 2026-11).
    return _Complaint(message, _code(fields.get("code", fields.get("internalCode")), message))


def _code(code: object, message: str) -> int | None:
    if isinstance(code, int) and not isinstance(code, bool):
        return code
    if isinstance(code, str) and code.isdecimal() and len(code) < 10:
        return int(code)
    return next((int(digits) for digits in _CODE_IN_TEXT.findall(message) if int(digits) in CODES), None)


def lenient(body: bytes) -> dict[str, Any] | str:
    """An error's body as JSON when it is, else as the text that it is (HTML of a proxy, `error code: 1015`)."""
    try:
        payload = parsed(body)
    except ValueError:
        return excerpt(body)
    return as_object(payload) or excerpt(body)


def excerpt(body: bytes) -> str:
    """The beginning of a body, fit to stand in an error."""
    text = " ".join(body[: 4 * EXCERPT].decode(errors="replace").split())
    return text if len(text) <= EXCERPT else f"{text[:EXCERPT]}…"
