"""The headers of every request: our own, the gateway's, and those that a caller adds, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from cf_gemma.errors import ConfigurationError
from cf_gemma.settings.version import __version__

if TYPE_CHECKING:
    from pydantic import SecretStr

    from cf_gemma.settings.gateway import Gateway

VISIBLE = re.compile(r"[\x21-\x7e]+")
_GATEWAY = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)?")
_OWN_HEADERS: Final = frozenset({"authorization", "content-type", "content-length", "host", "accept-encoding"})
_FRAMING: Final = frozenset(
    {"connection", "content-encoding", "expect", "http2-settings", "keep-alive", "te", "trailer", "trailers"}
    | {"transfer-encoding", "upgrade"}
)
"""Headers that say how a request is cut out of a connection: another's idea of that is request smuggling."""


def client_headers(
    token: SecretStr | None,
    gateway: str | Gateway | None,
    session_affinity: str | None,
    default_headers: Mapping[str, str] | None,
) -> dict[str, str]:
    """The headers that all requests of a client have, `authorization` included."""
    headers = {
        "accept-encoding": "identity",
        "content-type": "application/json",
        "user-agent": f"cf-gemma/{__version__}",
        **checked_headers(default_headers, "default_headers"),
    }
    if token is not None:
        headers["authorization"] = f"Bearer {token.get_secret_value()}"
    if gateway is not None:
        headers |= _gateway_headers(gateway)
    return headers | affinity_header(session_affinity)


def checked_headers(headers: Mapping[str, str] | None, setting: str) -> dict[str, str]:
    """Caller's headers, lower case. Raises ConfigurationError for one that can't be sent or isn't the caller's."""
    if headers is not None and not isinstance(headers, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - callers err
        raise ConfigurationError(f"{setting} must be a dict of texts")
    checked: dict[str, str] = {}
    for name, value in (headers or {}).items():
        # Not shown: whoever pastes a whole header line here may paste a token.
        if not matches(_HEADER_NAME, name):
            raise ConfigurationError(f"{setting}: a header's name may have letters, digits and - only")
        if name.lower() in _OWN_HEADERS or is_framing(name):
            raise ConfigurationError(
                f"{setting}: {name} can't be set here: it is this client's own (the token is set with api_token)"
            )
        if not matches(_HEADER_VALUE, value):
            raise ConfigurationError(f"{setting}: the value of {name} must be printable ASCII, without line ends")
        checked[name.lower()] = value
    return checked


def is_framing(name: str) -> bool:
    """Whether a header of this name is of the connection, and no caller's."""
    return name.lower() in _FRAMING or name.lower().startswith("proxy-")


def affinity_header(session_affinity: str | None) -> dict[str, str]:
    """The header that sends requests with the same id to the same machine."""
    if session_affinity is None:
        return {}
    if not matches(VISIBLE, session_affinity) or len(session_affinity) > 256:
        raise ConfigurationError("session_affinity must be printable ASCII without spaces, 256 characters at most")
    return {"x-session-affinity": session_affinity}


def _gateway_headers(gateway: str | Gateway) -> dict[str, str]:
    if not isinstance(gateway, str):
        return checked_headers(gateway.headers, "gateway")
    if not matches(_GATEWAY, gateway):
        raise ConfigurationError("gateway must be the name of an AI Gateway: letters, digits, - and _, 64 at most")
    return {"cf-aig-gateway-id": gateway}


def matches(pattern: re.Pattern[str], value: object) -> bool:
    """Whether it is a text of this pattern, as a whole."""
    return isinstance(value, str) and pattern.fullmatch(value) is not None
