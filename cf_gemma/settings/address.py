"""Account, token and root of the API: from arguments and the environment, checked."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import SecretStr

from cf_gemma.errors import ConfigurationError
from cf_gemma.settings.defaults import ACCOUNT_VARIABLES, BASE_URL, BASE_URL_VARIABLES, TOKEN_VARIABLES
from cf_gemma.settings.headers import VISIBLE, matches

if TYPE_CHECKING:
    from collections.abc import Mapping

_ACCOUNT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")


def http_address(
    account_id: str | None,
    api_token: str | SecretStr | None,
    base_url: str | None,
    endpoint: str,
    environ: Mapping[str, str],
) -> tuple[str | None, SecretStr | None, str]:
    """Account, token and root of calls over HTTP."""
    url = base_url or _first(BASE_URL_VARIABLES, environ)
    account = account_id if account_id is not None else _first(ACCOUNT_VARIABLES, environ)
    # An OpenAI-shaped server of one's own has no accounts, and must not be shown Cloudflare's token.
    accountless = not account and url is not None and endpoint == "chat_completions"
    token = _token(api_token, {} if accountless else environ)
    if not accountless:
        account = _account(account)
        if token is None:
            raise ConfigurationError(f"api_token is missing: pass api_token, or set {TOKEN_VARIABLES[0]}")
    return account or None, token, _base_url(url or BASE_URL)


def refuse_beside_binding(account_id: object, api_token: object, base_url: object, endpoint: str) -> None:
    """Raises ConfigurationError for a setting of calls over HTTP: a binding has the account."""
    of_http = {"account_id": account_id, "api_token": api_token, "base_url": base_url}
    for name, value in of_http.items():
        if value is not None:
            raise ConfigurationError(f"{name} can't be used with a binding, which has the account: leave it out")
    if endpoint != "run":
        raise ConfigurationError('endpoint must be "run" with a binding, which knows no other')


def _first(variables: tuple[str, ...], environ: Mapping[str, str]) -> str | None:
    return next((environ[name] for name in variables if environ.get(name)), None)


def _account(account: str | None) -> str:
    if not account:
        raise ConfigurationError(f"account_id is missing: pass account_id, or set {ACCOUNT_VARIABLES[0]}")
    if not matches(_ACCOUNT, account):
        raise ConfigurationError(
            f"account_id ({ACCOUNT_VARIABLES[0]}) may have letters, digits, - and _ only, without spaces or line ends; "
            "Cloudflare's are 32 hexadecimal digits"
        )
    return account


def _token(argument: str | SecretStr | None, environ: Mapping[str, str]) -> SecretStr | None:
    if isinstance(argument, SecretStr):
        argument = argument.get_secret_value()
    token = argument if argument is not None else _first(TOKEN_VARIABLES, environ)
    if token is None:
        return None
    setting = f"api_token ({TOKEN_VARIABLES[0]})"
    if not isinstance(token, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers err
        raise ConfigurationError(f"{setting} must be a text")
    if not token:
        raise ConfigurationError(f"{setting} is empty")
    if token[:7].lower() == "bearer ":
        raise ConfigurationError(f'{setting} must be the token alone, without "Bearer "')
    if token[0] in "'\"" or token[-1] in "'\"":
        raise ConfigurationError(f"{setting} has quotation marks around it; remove them")
    if not VISIBLE.fullmatch(token):
        raise ConfigurationError(f"{setting} has a space, a line end or a character outside ASCII in it; remove it")
    return SecretStr(token)


def _base_url(url: str) -> str:
    setting = f"base_url ({BASE_URL_VARIABLES[0]})"
    if not isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers err
        raise ConfigurationError(f"{setting} must be a text")
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        raise ConfigurationError(f"{setting} is not a URL") from None
    if parts.scheme not in ("https", "http") or not host:
        raise ConfigurationError(f"{setting} must begin with https:// (http:// only for loopback) and name a host")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment or "#" in url:
        raise ConfigurationError(f"{setting} must be without user, query and fragment")
    path = parts.path.rstrip("/")
    if not VISIBLE.fullmatch(url) or not _PATH.fullmatch(path) or "/.." in path or "/./" in f"{path}/":
        raise ConfigurationError(f"{setting} has characters that don't belong in a URL's path")
    if not _is_host(host):
        raise ConfigurationError(f"{setting} names no host that can exist")
    if parts.scheme == "http" and not _loopback(host):
        raise ConfigurationError(f"{setting} must be https: plain http would show the token; only loopback may be http")
    return f"{parts.scheme}://{parts.netloc}{path}"


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return _HOST.fullmatch(host) is not None and ("xn--" not in host or _is_international(host))
    return True


def _is_international(host: str) -> bool:
    import idna  # comes with the HTTP library, which fails in its own way on a host that this can't read

    try:
        idna.decode(host)
    except UnicodeError:
        return False
    return True


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
