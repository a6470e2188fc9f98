"""Where requests go and in whose name: resolved from arguments and environment, and checked before anything is sent."""

from __future__ import annotations

import ipaddress
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from cf_gemma.errors import ConfigurationError
from cf_gemma.version import __version__

if TYPE_CHECKING:
    from typing import Self

    from cf_gemma.gateway import Gateway

Endpoint = Literal["run", "chat_completions"]
Timeout = float | tuple[float, float] | None

BASE_URL: Final = "https://api.cloudflare.com/client/v4"
"""The API root of Cloudflare (developers.cloudflare.com/api, 2026-11)."""

BINDING_URL: Final = "https://workers-binding.ai"
"""What a Worker's binding calls the service (cloudflare/workerd, 2026-11). Nothing is sent there by us."""

TIMEOUT: Final = 120.0
"""Seconds of silence that are waited out by default."""

QUEUE_TIMEOUT: Final = 3_600.0
"""Seconds that a batch in the queue is waited for by default. Cloudflare says that one typically takes 5 minutes."""

SETTING_NAMES: Final = (
    "account_id",
    "api_token",
    "base_url",
    "endpoint",
    "gateway",
    "session_affinity",
    "budget",
    "timeout",
    "max_retries",
    "deadline",
    "wire_streaming",
    "default_headers",
    "inline_image_urls",
    "readable_tools",
    "schema_in_prompt",
    "binding",
)
"""What a client is made of, besides an HTTP client and the parameters of its calls. Adapters have fields so named."""

OPTION_NAMES: Final = (
    "model",
    "temperature",
    "top_p",
    "max_tokens",
    "stop",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "n",
    "thinking",
    "reasoning_effort",
    "extra_body",
)
"""The request parameters that the adapters' models have fields for, as they stand when a call is made."""

ACCOUNT_VARIABLES: Final = ("CLOUDFLARE_ACCOUNT_ID", "CF_ACCOUNT_ID")
TOKEN_VARIABLES: Final = ("CLOUDFLARE_API_TOKEN", "CLOUDFLARE_AUTH_TOKEN", "CF_AI_API_TOKEN")
BASE_URL_VARIABLES: Final = ("CLOUDFLARE_BASE_URL",)

_ACCOUNT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_GATEWAY = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MODEL = re.compile(r"@?[A-Za-z0-9_][A-Za-z0-9._-]*(?:[/:][A-Za-z0-9_][A-Za-z0-9._-]*)*")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")
_VISIBLE = re.compile(r"[\x21-\x7e]+")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)?")
_TIMEOUT: Final = "timeout must be seconds above 0, a pair (connect, read) of them, or None for no limit"
_DEADLINE: Final = "deadline must be seconds above 0, or None for none"
_OWN_HEADERS: Final = frozenset({"authorization", "content-type", "content-length", "host", "accept-encoding"})
_FRAMING: Final = frozenset(
    {"connection", "content-encoding", "expect", "http2-settings", "keep-alive", "te", "trailer", "trailers"}
    | {"transfer-encoding", "upgrade"}
)
"""Headers that say how a request is cut out of a connection: another's idea of that is request smuggling."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The checked settings of one client. Raises ConfigurationError, which names the setting and never its value."""

    account_id: str | None
    api_token: SecretStr | None
    base_url: str
    endpoint: Endpoint
    headers: dict[str, str] = field(repr=False)
    """Headers of every request, `authorization` included."""
    connect_timeout: float | None
    timeout: float | None
    """Seconds without a byte, and without a word of a streamed answer, before the call is given up."""
    max_retries: int
    wire_streaming: bool | Literal["auto"]
    deadline: float | None = None
    """Seconds from the call's beginning after which no attempt begins; no silence is longer, either."""
    readable_tools: bool = True
    """Whether tools go out in the form that Gemma's chat template prints."""
    schema_in_prompt: bool = True
    """Whether the schema of a structured answer is shown to the model, too."""
    binding: Any = field(default=None, repr=False)
    """A Worker's `env.AI`, which has the account; None for calls over HTTP."""

    def with_timeout(self, timeout: Timeout) -> Self:
        """The same, with other limits for connecting and for silence."""
        connect, read = _timeouts(timeout, self.deadline)
        return replace(self, connect_timeout=connect, timeout=read)

    @classmethod
    def resolve(
        cls,
        *,
        account_id: str | None = None,
        api_token: str | SecretStr | None = None,
        base_url: str | None = None,
        endpoint: str = "run",
        gateway: str | Gateway | None = None,
        session_affinity: str | None = None,
        timeout: Timeout = TIMEOUT,
        max_retries: int = 2,
        wire_streaming: bool | str = "auto",
        default_headers: Mapping[str, str] | None = None,
        deadline: float | None = None,
        readable_tools: bool = True,
        schema_in_prompt: bool = True,
        binding: Any = None,
        environ: Mapping[str, str] = os.environ,
    ) -> Self:
        """Settings from arguments, each of which beats its environment variable."""
        if endpoint not in ("run", "chat_completions"):
            raise ConfigurationError('endpoint must be "run" or "chat_completions"')
        if wire_streaming not in (True, False, "auto"):
            raise ConfigurationError('wire_streaming must be True, False or "auto"')
        if binding is None:
            account, token, url = _address(account_id, api_token, base_url, endpoint, environ)
        else:
            _refuse_beside_binding(account_id, api_token, base_url, endpoint)
            account, token, url = None, None, BINDING_URL
        end = None if deadline is None else _seconds(deadline, _DEADLINE)
        connect, read = _timeouts(timeout, end)
        return cls(
            account_id=account,
            api_token=token,
            base_url=url,
            endpoint=endpoint,
            headers=_headers(token, gateway, session_affinity, default_headers),
            connect_timeout=connect,
            timeout=read,
            max_retries=_retries(max_retries),
            wire_streaming=wire_streaming,
            deadline=end,
            readable_tools=readable_tools,
            schema_in_prompt=schema_in_prompt,
            binding=binding,
        )

    @property
    def own_server(self) -> bool:
        """Whether it is an OpenAI-shaped server of one's own that answers, and not Cloudflare."""
        return self.account_id is None and self.binding is None

    @property
    def host(self) -> str:
        """Host and port of the base URL: what an error may show of it."""
        return urlsplit(self.base_url).netloc

    def url(self, model: str) -> str:
        """Where a request for this model goes. Raises ConfigurationError for a model id that would bend the path."""
        if self.own_server:  # it may name its models as it likes: by a path, for one
            return f"{self.base_url}/chat/completions"
        if not _MODEL.fullmatch(model):
            raise ConfigurationError("model must be a model id such as @cf/google/gemma-4-26b-a4b-it")
        root = f"{self.base_url}/accounts/{self.account_id}/ai" if self.binding is None else self.base_url
        return f"{root}/run/{model}" if self.endpoint == "run" else f"{root}/v1/chat/completions"


def checked_headers(headers: Mapping[str, str] | None, setting: str) -> dict[str, str]:
    """Caller's headers, lower case. Raises ConfigurationError for one that can't be sent or isn't the caller's."""
    if headers is not None and not isinstance(headers, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - callers err
        raise ConfigurationError(f"{setting} must be a dict of texts")
    checked: dict[str, str] = {}
    for name, value in (headers or {}).items():
        # Not shown: whoever pastes a whole header line here may paste a token.
        if not _matches(_HEADER_NAME, name):
            raise ConfigurationError(f"{setting}: a header's name may have letters, digits and - only")
        if name.lower() in _OWN_HEADERS or is_framing(name):
            raise ConfigurationError(
                f"{setting}: {name} can't be set here: it is this client's own (the token is set with api_token)"
            )
        if not _matches(_HEADER_VALUE, value):
            raise ConfigurationError(f"{setting}: the value of {name} must be printable ASCII, without line ends")
        checked[name.lower()] = value
    return checked


def _address(
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


def _refuse_beside_binding(account_id: object, api_token: object, base_url: object, endpoint: str) -> None:
    of_http = {"account_id": account_id, "api_token": api_token, "base_url": base_url}
    for name, value in of_http.items():
        if value is not None:
            raise ConfigurationError(f"{name} can't be used with a binding, which has the account: leave it out")
    if endpoint != "run":
        raise ConfigurationError('endpoint must be "run" with a binding, which knows no other')


def is_framing(name: str) -> bool:
    """Whether a header of this name is of the connection, and no caller's."""
    return name.lower() in _FRAMING or name.lower().startswith("proxy-")


def _headers(
    token: SecretStr | None,
    gateway: str | Gateway | None,
    session_affinity: str | None,
    default_headers: Mapping[str, str] | None,
) -> dict[str, str]:
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


def affinity_header(session_affinity: str | None) -> dict[str, str]:
    """The header that sends requests with the same id to the same machine."""
    if session_affinity is None:
        return {}
    if not _matches(_VISIBLE, session_affinity) or len(session_affinity) > 256:
        raise ConfigurationError("session_affinity must be printable ASCII without spaces, 256 characters at most")
    return {"x-session-affinity": session_affinity}


def _gateway_headers(gateway: str | Gateway) -> dict[str, str]:
    if not isinstance(gateway, str):
        return gateway.headers
    if not _matches(_GATEWAY, gateway):
        raise ConfigurationError("gateway must be the name of an AI Gateway: letters, digits, - and _, 64 at most")
    return {"cf-aig-gateway-id": gateway}


def _first(variables: tuple[str, ...], environ: Mapping[str, str]) -> str | None:
    return next((environ[name] for name in variables if environ.get(name)), None)


def _account(account: str | None) -> str:
    if not account:
        raise ConfigurationError(f"account_id is missing: pass account_id, or set {ACCOUNT_VARIABLES[0]}")
    if not _matches(_ACCOUNT, account):
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
    if not _VISIBLE.fullmatch(token):
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
    if not _VISIBLE.fullmatch(url) or not _PATH.fullmatch(path) or "/.." in path or "/./" in f"{path}/":
        raise ConfigurationError(f"{setting} has characters that don't belong into a URL's path")
    if not _is_host(host):
        raise ConfigurationError(f"{setting} names no host that can exist")
    if parts.scheme == "http" and not _loopback(host):
        raise ConfigurationError(f"{setting} must be https: plain http would show the token; only loopback may be http")
    return f"{parts.scheme}://{parts.netloc}{path}"


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


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


def _timeouts(timeout: Timeout, end: float | None) -> tuple[float | None, float | None]:
    """Seconds to connect and of silence, neither above `end`."""
    if timeout is None:
        return end, end
    if isinstance(timeout, tuple) and len(timeout) == 2:
        connect, silence = timeout
    else:
        connect, silence = min(5.0, _seconds(timeout)), timeout
    return _least(_seconds(connect), end), _least(_seconds(silence), end)


def _least(*limits: float | None) -> float | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _seconds(value: Any, message: str = _TIMEOUT) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise ConfigurationError(message)
    return float(value)


def _retries(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigurationError("max_retries must be a whole number, 0 or more")
    return value
