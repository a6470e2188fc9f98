"""What a framework's model of Gemma has, whichever the framework: its fields, how they are checked, its two clients."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
)

from cf_gemma.client.budget import Budget
from cf_gemma.client.gemma import AsyncGemma, Gemma
from cf_gemma.errors import ConfigurationError, GemmaError
from cf_gemma.model.facts import MODEL
from cf_gemma.request.parameters import unknown_setting
from cf_gemma.settings.defaults import SETTING_NAMES, TIMEOUT, Endpoint, Timeout
from cf_gemma.settings.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

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


class GemmaFields(BaseModel):
    """Fields of a model: settings of its clients, and parameters of each call. An argument beats its variable.

    A mixin for a framework's own base class. The same mistake raises the same error as in `Gemma`.
    """

    model_config = ConfigDict(populate_by_name=True, hide_input_in_errors=True, arbitrary_types_allowed=True)

    model: str = Field(default=MODEL, validation_alias=AliasChoices("model", "model_name"))
    """Workers AI's model id."""
    account_id: str | None = None
    """Cloudflare's account id; else `CLOUDFLARE_ACCOUNT_ID`. None with `chat_completions` on a server of one's own."""
    api_token: SecretStr | None = Field(default=None, validation_alias=AliasChoices("api_token", "api_key"))
    """Cloudflare's API token; else `CLOUDFLARE_API_TOKEN`. Also accepted as `api_key`."""
    base_url: str | None = None
    """Root of the API; else `CLOUDFLARE_BASE_URL`, else Cloudflare's. Plain http only for loopback."""
    endpoint: Endpoint = "run"
    """Which of the service's two routes to use; other servers of the same weights have `chat_completions` only."""
    gateway: str | Gateway | None = None
    """The AI Gateway to go through: its name, or a `Gateway` with settings for each request."""
    budget: Budget | None = Field(default=None, exclude=True, repr=False)
    """What calls may cost together, with those of any number of other models."""
    session_affinity: str | None = None
    """Any id; calls with the same one reach the same machine, whose prefix cache they share."""
    timeout: Timeout = Field(default=TIMEOUT, validation_alias=AliasChoices("timeout", "request_timeout"))
    """Seconds of silence before a call is given up, or (connect, read); None for no limit."""
    max_retries: int = 2
    """How often to send again after a failure that may pass; never after the first delta was handed out."""
    deadline: float | None = None
    """Seconds from the beginning of a call in which an attempt may begin, waits included; None for no limit."""
    wire_streaming: bool | Literal["auto"] = "auto"
    """Whether whole answers are streamed on the wire and collected. "auto": when more than 2,048 tokens may come."""
    default_headers: dict[str, str] | None = Field(default=None, exclude=True, repr=False)
    """Headers for every request, such as `cf-aig-cache-ttl`. Secret: neither shown nor saved."""
    inline_image_urls: bool = False
    """Whether images on the web are fetched and sent along; else their URLs are refused. https, public hosts only."""
    readable_tools: bool = True
    """Whether tools go out in the form that Gemma's chat template prints; False leaves them as they are."""
    schema_in_prompt: bool = True
    """Whether the schema of a structured answer is shown to the model, too, which it else is only bound by."""
    binding: Any = Field(default=None, exclude=True, repr=False)
    """`env.AI` of a Python Worker, instead of account and token; for asynchronous calls only."""

    temperature: float | None = None
    """Randomness, 0 to 2. The service's default is 1."""
    top_p: float | None = None
    """Share of the probability mass to sample from, 0 to 1."""
    max_tokens: int | None = Field(default=None, validation_alias=AliasChoices("max_tokens", "max_completion_tokens"))
    """Most tokens to answer with, reasoning included. By default 16,384, and 4,096 without thinking."""
    stop: list[str] | None = Field(default=None, validation_alias=AliasChoices("stop", "stop_sequences"))
    """Up to four texts at which to stop."""
    seed: int | None = None
    """Asks for the same sampling each time; best effort."""
    frequency_penalty: float | None = None
    """Against repetition by count, -2 to 2."""
    presence_penalty: float | None = None
    """Against repetition at all, -2 to 2."""
    logit_bias: dict[str, float] | None = None
    """Bias by token id, -100 to 100."""
    logprobs: bool | None = None
    """Whether to return log probabilities."""
    top_logprobs: int | None = None
    """How many alternatives to return for each token, 0 to 20."""
    n: int | None = None
    """How many answers to make, 1 to 128."""
    thinking: bool | None = None
    """Whether to reason first. None: yes, except for structured output."""
    reasoning_effort: str | None = None
    """Sent when given; the service doesn't document what Gemma makes of it."""
    extra_body: dict[str, Any] | None = Field(default=None, validation_alias=AliasChoices("extra_body", "model_kwargs"))
    """Fields to add to the request's body as they are."""

    if TYPE_CHECKING:  # no field, since it is of the moment in which a model is made
        validated: bool = Field(default=False, alias="validate")
        """Whether to ask for one token first, so that a wrong token, account or model is an error at once."""

    _gemma: Gemma | None = PrivateAttr(default=None)
    _async_gemma: AsyncGemma | None = PrivateAttr(default=None)

    if not TYPE_CHECKING:  # Type checkers derive the signature from the fields.

        def __init__(self, **arguments: Any) -> None:
            validate = arguments.pop("validate", False)
            _check_names(type(self), arguments)
            # A framework's standard arguments may bring an api_key along; pydantic takes one of the two names only.
            arguments.pop("api_token" if arguments.get("api_token") is None else "api_key", None)
            try:
                super().__init__(**arguments)
            except ValidationError as error:
                raise _as_gemma_error(error, arguments) from None
            if validate:
                self.client.check(self.model)

        def __setattr__(self, name: str, value: Any) -> None:
            if name == "api_token" and isinstance(value, str):
                value = SecretStr(value)
            super().__setattr__(name, value)
            if self._of_client(name):
                self._gemma = self._async_gemma = None

    @field_validator("stop", mode="before")
    @classmethod
    def _listed_stop(cls, stop: Any) -> Any:
        return [stop] if isinstance(stop, str) else stop or None

    @classmethod
    def _http_clients(cls) -> tuple[str, str]:
        """The fields that hold a user's `httpx.Client` and `httpx.AsyncClient`."""
        return "http_client", "async_http_client"

    @classmethod
    def _of_client(cls, name: str) -> bool:
        """Whether the clients are made of this field, so that another value needs new ones."""
        return name in SETTING_NAMES or name in cls._http_clients()

    @classmethod
    def _framework(cls) -> str:
        """`langchain` or `llama_index`."""
        raise NotImplementedError

    @property
    def client(self) -> Gemma:
        """The client that calls go through; it connects on first use."""
        if self._gemma is None:
            self._gemma = Gemma(**self._settings(), http_client=getattr(self, self._http_clients()[0]))
            self._gemma.framework = self._framework()
        return self._gemma

    @property
    def async_client(self) -> AsyncGemma:
        """The client that asynchronous calls go through; it connects on first use, once per event loop."""
        if self._async_gemma is None:
            self._async_gemma = AsyncGemma(**self._settings(), http_client=getattr(self, self._http_clients()[1]))
            self._async_gemma.framework = self._framework()
        return self._async_gemma

    def close(self) -> None:
        """Closes the connections of blocking calls. The model can still be used: it opens new ones."""
        if self._gemma is not None:
            self._gemma.close()

    async def aclose(self) -> None:
        """Closes the connections of this event loop's asynchronous calls, and of blocking ones."""
        self.close()
        if self._async_gemma is not None:
            await self._async_gemma.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in SETTING_NAMES}

    def _option_fields(self) -> dict[str, Any]:
        return {name: value for name in OPTION_NAMES if (value := getattr(self, name)) is not None}


def warn_of_loss(model: BaseModel, names: Iterable[str]) -> None:
    """Warns of fields that have a value, and that a pickle leaves out."""
    if lost := [name for name in names if getattr(model, name, None) is not None]:
        warnings.warn(f"pickling leaves out {', '.join(lost)}: give it again where it is loaded", stacklevel=3)


def _check_names(model: type[BaseModel], arguments: Iterable[str]) -> None:
    """Raises ConfigurationError, with the nearest known name, for an argument that doesn't exist."""
    known = set(model.model_fields)
    for field in model.model_fields.values():
        if isinstance(field.validation_alias, AliasChoices):
            known.update(str(choice) for choice in field.validation_alias.choices)
    for name in arguments:
        if name not in known:
            raise unknown_setting(model.__name__, name, known)


def _as_gemma_error(error: ValidationError, arguments: dict[str, Any]) -> ValidationError | GemmaError:
    """The error that a client raises for the same arguments; pydantic's own for a field of the framework's."""
    problem = error.errors(include_url=False, include_input=False)[0]
    field = str(problem["loc"][0])
    if field not in (*SETTING_NAMES, *OPTION_NAMES):
        return error
    try:
        AsyncGemma(**{name: arguments[name] for name in (*SETTING_NAMES, *OPTION_NAMES) if name in arguments})
    except GemmaError as known:
        return known
    except (TypeError, AttributeError):  # of a type that a client can't even look at
        pass
    return ConfigurationError(f"{field}: {problem['msg']}")
