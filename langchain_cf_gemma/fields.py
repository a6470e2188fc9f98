"""What ChatCloudflareGemma is configured with, and what LangChain asks about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from langchain_core.language_models import BaseChatModel
from pydantic import ConfigDict, Field, SecretStr, model_validator
from typing_extensions import override

from cf_gemma import AsyncGemma, __version__
from cf_gemma.client.fields import GemmaFields, warn_of_loss
from cf_gemma.model.estimate import estimate_request, estimate_tokens
from langchain_cf_gemma.arguments import call_options, refuse_secrets
from langchain_cf_gemma.chunks import combined_usage
from langchain_cf_gemma.errors import as_langchain
from langchain_cf_gemma.messages import to_wire
from langchain_cf_gemma.profile import PROFILES
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
_PROCESS_BOUND: Final = (*_HTTP_CLIENTS, "binding", "rate_limiter", "callbacks", "cache", "budget")
"""Fields that a deep copy shares: they have locks and sockets, or are there to be shared."""

_LOST: Final = ("default_headers", *_HTTP_CLIENTS, "binding", "budget", "rate_limiter")
"""Fields that a pickle leaves out."""


class ConfiguredGemma(GemmaFields, BaseChatModel):
    """The fields of ChatCloudflareGemma that are LangChain's, and what LangChain asks about them."""

    streaming: bool | None = None
    """Whether `invoke` streams to callbacks, too. None: where LangChain wants it; False switches all streaming off."""
    stream_usage: bool = True
    """Whether a stream ends with `usage_metadata`."""
    http_client: Any = Field(default=None, exclude=True, repr=False)
    """An httpx.Client to use for calls."""
    http_async_client: Any = Field(default=None, exclude=True, repr=False)
    """An httpx.AsyncClient to use for asynchronous calls."""

    model_config = ConfigDict(extra="forbid")

    if not TYPE_CHECKING:  # Type checkers derive signatures from the fields, and from core.

        def __init__(self, **arguments: Any) -> None:
            with as_langchain():
                super().__init__(**arguments)
            self._resolve_settings()

        def bind(self, **kwargs: Any) -> Any:
            """The model with arguments for its calls; not with secrets, since a bound model shows its arguments."""
            with as_langchain():
                refuse_secrets(kwargs)
            return super().bind(**kwargs)

    @classmethod
    @override
    def _framework(cls) -> str:
        return "langchain"

    @classmethod
    @override
    def _http_clients(cls) -> tuple[str, str]:
        return _HTTP_CLIENTS

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
        """Everything but what is bound to this process, and what is secret: it is given again on loading.

        The token comes from the environment; a warning names what else is lost.
        """
        state = super().__getstate__()
        warn_of_loss(self, _LOST)
        fields = {**state["__dict__"], **dict.fromkeys(("api_token", *_LOST))}
        private: dict[str, Any] = {**(state["__pydantic_private__"] or {}), "_gemma": None, "_async_gemma": None}
        return {**state, "__dict__": fields, "__pydantic_private__": private}

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
            settings = AsyncGemma(**self._settings(), **self._option_fields()).settings
        if self.binding is not None:
            return
        self.api_token, self.base_url = settings.api_token, settings.base_url
        self.account_id = settings.account_id or self.account_id  # "" stays: none, whatever the environment has

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
        """An estimate without a tokenizer: see `cf_gemma.model.facts`."""
        return super().get_num_tokens(text) if self.custom_get_token_ids else estimate_tokens(text)

    @override
    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """An estimate without a tokenizer, images and tools included."""
        with as_langchain():
            return estimate_request(to_wire(messages), to_tools(tools or []), self.get_num_tokens)
