"""What ChatCloudflareGemma is configured with, and what LangChain asks about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, cast

from langchain_core.language_models import BaseChatModel
from pydantic import AliasChoices, ConfigDict, Field, PrivateAttr, SecretStr, field_validator, model_validator
from typing_extensions import override

from cf_gemma import AsyncGemma, Gemma, __version__
from cf_gemma.model import MODEL
from cf_gemma.settings import OPTION_NAMES, SETTING_NAMES
from langchain_cf_gemma.arguments import call_options, check_names, refuse_secrets
from langchain_cf_gemma.chunks import combined_usage
from langchain_cf_gemma.errors import as_langchain
from langchain_cf_gemma.messages import to_wire
from langchain_cf_gemma.profile import PROFILES
from langchain_cf_gemma.tokens import estimate, estimate_request
from langchain_cf_gemma.tools import to_tools
from langchain_cf_gemma.translator import PROVIDER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from langchain_core.language_models import ModelProfile
    from langchain_core.language_models.base import LangSmithParams
    from langchain_core.messages import BaseMessage

    from cf_gemma import Options

_HTTP_CLIENTS: Final = ("http_client", "http_async_client")
_PROCESS_BOUND: Final = (*_HTTP_CLIENTS, "rate_limiter", "callbacks", "cache")
"""Fields that a deep copy shares: they have locks and sockets, or are there to be shared."""


class ConfiguredGemma(BaseChatModel):
    """The fields of ChatCloudflareGemma."""

    model: str = Field(default=MODEL, validation_alias=AliasChoices("model", "model_name"))
    """Workers AI's model id."""
    account_id: str | None = None
    """Cloudflare's account id; else `CLOUDFLARE_ACCOUNT_ID`."""
    api_token: SecretStr | None = Field(default=None, validation_alias=AliasChoices("api_token", "api_key"))
    """Cloudflare's API token; else `CLOUDFLARE_API_TOKEN`. Also accepted as `api_key`."""
    base_url: str | None = None
    """Root of the API; else `CLOUDFLARE_BASE_URL`, else Cloudflare's. Plain http only for loopback."""
    endpoint: Literal["run", "chat_completions"] = "run"
    """Which of the service's two routes to use; other servers of the same weights have `chat_completions` only."""
    gateway: str | None = None
    """Name of the AI Gateway to go through."""
    session_affinity: str | None = None
    """Any id; calls with the same one reach the same machine, whose prefix cache they share."""

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
    """Whether to return log probabilities, in `response_metadata["logprobs"]`."""
    top_logprobs: int | None = None
    """How many alternatives to return for each token, 0 to 20."""
    n: int | None = None
    """How many answers to make. More than one only without streaming, through `generate`."""
    thinking: bool | None = None
    """Whether to reason first. None: yes, except for structured output."""
    reasoning_effort: Literal["low", "medium", "high"] | None = None
    """Sent when given; the service doesn't document what Gemma makes of it."""
    extra_body: dict[str, Any] | None = Field(default=None, validation_alias=AliasChoices("extra_body", "model_kwargs"))
    """Fields to add to the request's body as they are."""

    timeout: float | tuple[float, float] | None = Field(
        default=120.0, validation_alias=AliasChoices("timeout", "request_timeout")
    )
    """Seconds of silence to wait out, or (connect, read); None for no limit."""
    max_retries: int = 2
    """How often to send again after a failure that may pass; never once a part of the answer was handed out."""
    deadline: float | None = None
    """Seconds from the beginning of a call in which an attempt may begin, waits included; None for no limit."""
    streaming: bool | None = None
    """Whether `invoke` streams to callbacks, too. None: where LangChain wants it; False switches all streaming off."""
    stream_usage: bool = True
    """Whether a stream ends with `usage_metadata`."""
    wire_streaming: bool | Literal["auto"] = "auto"
    """Whether `invoke` streams over the wire and collects. "auto": when more than 2,048 tokens may come."""
    default_headers: dict[str, str] | None = Field(default=None, exclude=True, repr=False)
    """Headers for every request, such as `cf-aig-cache-ttl`. Secret: neither shown nor saved."""
    inline_image_urls: bool = False
    """Whether images on the web are fetched and sent along; else their URLs are refused. https, public hosts only."""
    readable_tools: bool = True
    """Whether tools go out in the form that Gemma's chat template prints; False sends them as they are."""
    schema_in_prompt: bool = True
    """Whether the schema of a structured answer is shown to the model, too, which it else is only bound by."""
    http_client: Any = Field(default=None, exclude=True, repr=False)
    """An httpx.Client to use for calls."""
    http_async_client: Any = Field(default=None, exclude=True, repr=False)
    """An httpx.AsyncClient to use for asynchronous calls."""

    _client: Gemma | None = PrivateAttr(default=None)
    _async_client: AsyncGemma | None = PrivateAttr(default=None)

    model_config = ConfigDict(populate_by_name=True, extra="forbid", hide_input_in_errors=True)

    if not TYPE_CHECKING:  # Type checkers derive signatures from the fields, and from core.

        def __init__(self, **arguments: Any) -> None:
            # Here and not in validators, because pydantic would wrap the errors, which are ValueErrors.
            check_names(type(self), arguments)
            # LangChain's standard arguments bring an api_key along; pydantic takes one of the two names only.
            arguments.pop("api_token" if arguments.get("api_token") is None else "api_key", None)
            super().__init__(**arguments)
            self._resolve_settings()

        def __setattr__(self, name: str, value: Any) -> None:
            if name == "api_token" and isinstance(value, str):
                value = SecretStr(value)
            super().__setattr__(name, value)
            if name in SETTING_NAMES or name in _HTTP_CLIENTS:
                self._client = self._async_client = None

        def bind(self, **kwargs: Any) -> Any:
            """The model with arguments for its calls; not with secrets, since a bound model shows its arguments."""
            with as_langchain():
                refuse_secrets(kwargs)
            return super().bind(**kwargs)

    @override
    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy, with other values if given; it shares the connections unless a setting of theirs changes."""
        copied = super().model_copy(deep=deep)
        for name, value in (update or {}).items():
            setattr(copied, name, value)
        return copied

    @override
    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """A copy that shares what is bound to this process, such as connections."""
        shared = {id(value): value for name in _PROCESS_BOUND if (value := getattr(self, name)) is not None}
        return super().__deepcopy__({**shared, **(memo or {})})

    @override
    def __getstate__(self) -> dict[Any, Any]:
        """Everything but what is bound to this process, and what is secret: it is given again on loading."""
        state = super().__getstate__()
        fields = {**state["__dict__"], **dict.fromkeys(("api_token", "default_headers", *_HTTP_CLIENTS))}
        private: dict[str, Any] = {**(state["__pydantic_private__"] or {}), "_client": None, "_async_client": None}
        return {**state, "__dict__": fields, "__pydantic_private__": private}

    @field_validator("stop", mode="before")
    @classmethod
    def _listed_stop(cls, stop: Any) -> Any:
        return [stop] if isinstance(stop, str) else stop or None

    @model_validator(mode="after")
    def _set_cloudflare_gemma_version(self) -> Self:
        self._add_version("cf-gemma", __version__)
        return self

    @property
    def model_name(self) -> str:
        """`model`, under LangChain's other name for it."""
        return self.model

    @property
    def api_key(self) -> SecretStr | None:
        """`api_token`, under LangChain's usual name for it."""
        return self.api_token

    @property
    def client(self) -> Gemma:
        """The client that calls go through; it connects on first use."""
        if self._client is None:
            self._client = Gemma(**self._settings(), http_client=self.http_client)
        return self._client

    @property
    def async_client(self) -> AsyncGemma:
        """The client that asynchronous calls go through; it connects on first use, once per event loop."""
        if self._async_client is None:
            self._async_client = AsyncGemma(**self._settings(), http_client=self.http_async_client)
        return self._async_client

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in SETTING_NAMES}

    def _option_fields(self) -> dict[str, Any]:
        return {name: value for name in OPTION_NAMES if (value := getattr(self, name)) is not None}

    def _options(self, stop: list[str] | None, kwargs: Mapping[str, Any]) -> Options:
        with as_langchain():
            return call_options(self._option_fields(), stop, kwargs)

    @override
    def _get_invocation_params(self, stop: list[str] | None = None, **kwargs: Any) -> dict[str, Any]:
        """What tracers are shown of a call, which core asks for before anything else."""
        with as_langchain():
            refuse_secrets(kwargs)
        return super()._get_invocation_params(stop, **kwargs)

    def _resolve_settings(self) -> None:
        """Checks all fields, and takes over what the environment says, so that it is saved with the model."""
        with as_langchain():
            settings = Gemma(**self._settings(), **self._option_fields()).settings
        self.account_id, self.api_token, self.base_url = settings.account_id, settings.api_token, settings.base_url

    @property
    @override
    def _llm_type(self) -> str:
        return "cloudflare-gemma-chat"

    @property
    @override
    def _identifying_params(self) -> Mapping[str, Any]:
        """All that changes the answer."""
        place = {"base_url": self.base_url, "endpoint": self.endpoint, "gateway": self.gateway}
        return {**self._option_fields(), **{name: value for name, value in place.items() if value is not None}}

    @override
    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop or self.stop, **kwargs)
        params["ls_provider"] = PROVIDER
        return params

    @override
    def _combine_llm_outputs(self, _llm_outputs: list[dict[str, Any] | None], /) -> dict[str, Any]:
        return combined_usage(_llm_outputs)

    @override
    def _resolve_model_profile(self) -> ModelProfile | None:
        profile = PROFILES.get(self.model)
        return cast("ModelProfile", profile | {"image_url_inputs": self.inline_image_urls}) if profile else None

    @property
    @override
    def lc_secrets(self) -> dict[str, str]:
        return {"api_token": "CLOUDFLARE_API_TOKEN"}

    @classmethod
    @override
    def is_lc_serializable(cls) -> bool:
        return True

    @override
    def get_num_tokens(self, text: str) -> int:
        """An estimate without a tokenizer: see `langchain_cf_gemma.tokens`."""
        return super().get_num_tokens(text) if self.custom_get_token_ids else estimate(text)

    @override
    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """An estimate without a tokenizer, images and tools included."""
        with as_langchain():
            return estimate_request(to_wire(messages), to_tools(tools or []), self.get_num_tokens)
