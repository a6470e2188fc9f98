"""Where requests go and in whose name: resolved from arguments and environment, and checked before anything is sent."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from cf_gemma.errors import ConfigurationError
from cf_gemma.settings.address import http_address, refuse_beside_binding
from cf_gemma.settings.defaults import BINDING_URL, TIMEOUT
from cf_gemma.settings.headers import client_headers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from pydantic import SecretStr

    from cf_gemma.settings.defaults import Endpoint, Timeout
    from cf_gemma.settings.gateway import Gateway

_MODEL = re.compile(r"@?[A-Za-z0-9_][A-Za-z0-9._-]*(?:[/:][A-Za-z0-9_][A-Za-z0-9._-]*)*")
_TIMEOUT: Final = "timeout must be seconds above 0, a pair (connect, read) of them, or None for no limit"
_DEADLINE: Final = "deadline must be seconds above 0, or None for none"


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
            account, token, url = http_address(account_id, api_token, base_url, endpoint, environ)
        else:
            refuse_beside_binding(account_id, api_token, base_url, endpoint)
            account, token, url = None, None, BINDING_URL
        end = None if deadline is None else _seconds(deadline, _DEADLINE)
        connect, read = _timeouts(timeout, end)
        return cls(
            account_id=account,
            api_token=token,
            base_url=url,
            endpoint=endpoint,
            headers=client_headers(token, gateway, session_affinity, default_headers),
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
