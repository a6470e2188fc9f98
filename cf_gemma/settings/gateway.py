"""What an AI Gateway is asked to do with a request, beyond letting it through."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from typing_extensions import override

from cf_gemma.errors import ConfigurationError

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Key = Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,256}$")]


class Gateway(BaseModel):
    """An AI Gateway and its settings for each request (developers.cloudflare.com/ai-gateway, 2026-11).

    What is None is left to the gateway's own configuration. Raises ConfigurationError for a value out of range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    id: Name
    """The gateway's name: letters, digits, `-` and `_`, 64 at most."""
    cache_ttl: Annotated[int, Field(ge=60, le=31 * 86_400)] | None = None
    """Seconds for which a whole answer is kept, 60 to 2,678,400."""
    cache_key: Key | None = None
    """Under which it is kept; by default the whole request is the key."""
    skip_cache: bool | None = None
    """Whether neither to look into the cache nor to keep the answer."""
    collect_log: bool | None = None
    """Whether the gateway logs the request."""
    metadata: Annotated[dict[str, str | int | float | bool], Field(max_length=5)] | None = None
    """Up to five facts to find its logs by, such as a user's id."""
    max_attempts: Annotated[int, Field(ge=1, le=5)] | None = None
    """How often the gateway sends a request that fails, 1 to 5. Above 1, what it gives up isn't sent again by us."""
    retry_delay: Annotated[int, Field(ge=1, le=5_000)] | None = None
    """Milliseconds between its attempts, 5,000 at most."""
    backoff: Literal["constant", "linear", "exponential"] | None = None
    """How that wait grows."""
    request_timeout: Annotated[int, Field(ge=1)] | None = None
    """Milliseconds that it waits for the beginning of an answer."""
    authorization: SecretStr | None = Field(default=None, exclude=True, repr=False)
    """The token of an authenticated gateway. Neither shown nor saved."""

    def __init__(self, id: str, **settings: Any) -> None:  # noqa: A002 - the gateway's own word
        try:
            super().__init__(id=id, **settings)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            raise ConfigurationError(f"gateway: {problem['loc'][0]}: {problem['msg']}") from None

    @override
    def __getstate__(self) -> dict[Any, Any]:
        """Everything but the token, which is given again on loading."""
        state = super().__getstate__()
        return {**state, "__dict__": {**state["__dict__"], "authorization": None}}

    @property
    def headers(self) -> dict[str, str]:
        """The request's headers that say so."""
        present = self.model_dump(exclude={"metadata"}, exclude_none=True)
        headers = {_header(name): _text(value) for name, value in present.items()}
        if self.metadata is not None:
            headers["cf-aig-metadata"] = json.dumps(self.metadata)
        if self.authorization is not None:
            headers["cf-aig-authorization"] = f"Bearer {self.authorization.get_secret_value()}"
        return headers


def _header(name: str) -> str:
    return "cf-aig-gateway-id" if name == "id" else f"cf-aig-{name.replace('_', '-')}"


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
