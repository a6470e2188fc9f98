"""What a CloudflareGemma is made of: its fields, its two clients, and what of it may be written down or copied."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

from llama_index.core.base.llms.types import LLMMetadata, MessageRole
from llama_index.core.llms.function_calling import FunctionCallingLLM
from pydantic import AliasChoices, ConfigDict, Field, SecretStr
from typing_extensions import override

from cf_gemma import CONTEXT_WINDOW, MAX_TOKENS, MAX_TOKENS_THINKING, AsyncGemma
from cf_gemma.client.fields import GemmaFields, warn_of_loss
from cf_gemma.errors import ConfigurationError, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self


PROCESS_BOUND: Final = frozenset(
    {"callback_manager", "rate_limiter", "http_client", "async_http_client", "binding", "budget"}
)
"""Fields that a copy shares and a pickle leaves out."""


class GemmaSettings(GemmaFields, FunctionCallingLLM):
    """The fields of CloudflareGemma that are LlamaIndex's, and what of it may be written down or copied."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    # Never in `to_dict`, `to_json`, `repr` or a pickle.
    api_token: SecretStr | None = Field(
        default=None, exclude=True, repr=False, validation_alias=AliasChoices("api_token", "api_key")
    )
    """Cloudflare's API token; else `CLOUDFLARE_API_TOKEN`. Also accepted as `api_key`."""
    http_client: Any = Field(default=None, exclude=True, repr=False)
    """An httpx.Client to use."""
    async_http_client: Any = Field(default=None, exclude=True, repr=False)
    """An httpx.AsyncClient to use; by default there is one per event loop."""
    additional_kwargs: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Request parameters by their published names. A call's arguments beat these, these beat the fields above."""
    context_window: int = CONTEXT_WINDOW
    """Tokens, prompt and answer together. Prompt helpers and memories go by it."""
    should_use_structured_outputs: bool = True
    """Structured output by JSON schema; False: by a forced tool call, as `pydantic_program_mode="function"` does."""

    if not TYPE_CHECKING:  # Type checkers derive the signature from the fields.

        def __init__(self, **settings: Any) -> None:
            if settings.get("callback_manager", self) is None:
                del settings["callback_manager"]
            super().__init__(**settings)
            self._check_options()

        def __setattr__(self, name: str, value: Any) -> None:
            if self._of_client(name):
                raise ConfigurationError(f"{name} is frozen, as connections are made of it; use model_copy(update=…)")
            super().__setattr__(name, value)

    @classmethod
    @override
    def _framework(cls) -> str:
        return "llama_index"

    @property
    @override
    def metadata(self) -> LLMMetadata:
        """Window, output size and abilities. No I/O."""
        return LLMMetadata(
            context_window=self.context_window,
            num_output=min(self._limit(), self.context_window - 1),
            is_chat_model=True,
            is_function_calling_model=True,
            model_name=self.model,
            system_role=MessageRole.SYSTEM,
        )

    def _limit(self) -> int:
        """The most tokens that a call asks for."""
        options = self._options({})
        body = {**options, **options.get("extra_body", {})}
        thinking = body.get("thinking", body.get("chat_template_kwargs", {}).get("enable_thinking"))
        default = MAX_TOKENS if thinking is False else MAX_TOKENS_THINKING
        return int(body.get("max_tokens") or body.get("max_completion_tokens") or default)

    @override
    def to_payload(self) -> dict[str, Any]:
        """What observers see of this LLM with every call: no credential, no account."""
        options = {name: value for name, value in self._option_fields().items() if name not in ("model", "extra_body")}
        return {**super().to_payload(), "endpoint": self.endpoint, **options}

    @override
    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy, with other settings if given; it shares the connections unless a setting of theirs changes."""
        copied = super().model_copy(update=update, deep=deep)
        if update and any(map(self._of_client, update)):
            copied._gemma = copied._async_gemma = None
        return copied

    @override
    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        fields = {
            name: value if name in PROCESS_BOUND else copy.deepcopy(value, memo)
            for name, value in self.__dict__.items()
        }
        return type(self)(**fields)

    @override
    def __getstate__(self) -> dict[str, Any]:
        """Everything but what is bound to this process, and what is or may be secret.

        The token comes from the environment; a warning names what else is lost.
        """
        warn_of_loss(self, sorted({"default_headers", *PROCESS_BOUND} - {"callback_manager"}))
        left_out = {"api_token", "default_headers", *PROCESS_BOUND}
        return {"__dict__": {name: value for name, value in self.__dict__.items() if name not in left_out}}

    @override
    def __setstate__(self, state: dict[str, Any]) -> None:
        # Not our own __init__: see `from_dict`.
        super().__init__(**state["__dict__"])

    @classmethod
    @override
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> Self:
        """A model that was saved, as part of a workflow's Context, for one, or pickled.

        One rule for both: the token and the account come from the arguments, else from the environment, and where they
        are missing, the first call says so, not the loading.
        """
        loaded = cls.__new__(cls)
        loaded.__setstate__(
            {"__dict__": {name: value for name, value in {**data, **kwargs}.items() if name != "class_name"}}
        )
        return loaded

    def _check_options(self) -> None:
        """Raises InvalidRequest for parameters that no call could send."""
        if misplaced := [name for name in self.additional_kwargs if name in self._settings()]:
            raise InvalidRequest(f"additional_kwargs: {misplaced[0]} is a setting, and an argument of its own")
        AsyncGemma(**self._settings(), **self._options({}))

    def _options(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """The request's parameters: the call's, else `additional_kwargs`', else the fields'; None says nothing."""
        options = self._option_fields()
        for source in (self.additional_kwargs, call):
            options.update((name, value) for name, value in source.items() if value is not None)
        return options
