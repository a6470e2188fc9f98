"""What a CloudflareGemma is made of: its fields, its two clients, and what of it may be written down or copied."""

from __future__ import annotations

import copy
import difflib
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from llama_index.core.base.llms.types import LLMMetadata, MessageRole
from llama_index.core.llms.function_calling import FunctionCallingLLM
from pydantic import ConfigDict, Field, PrivateAttr, SecretStr, field_validator
from typing_extensions import override

from cf_gemma import AsyncGemma, Gemma
from cf_gemma.errors import ConfigurationError, InvalidRequest
from cf_gemma.model import CONTEXT_WINDOW, MAX_TOKENS, MAX_TOKENS_THINKING, MODEL
from cf_gemma.settings import OPTION_NAMES, SETTING_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

PROCESS_BOUND: Final = frozenset({"callback_manager", "rate_limiter", "http_client", "async_http_client"})
"""Fields that a copy shares and a pickle leaves out."""


class GemmaSettings(FunctionCallingLLM):
    """The fields of a CloudflareGemma. An argument beats its environment variable."""

    model_config = ConfigDict(arbitrary_types_allowed=True, hide_input_in_errors=True)

    model: str = MODEL
    """The model id."""
    account_id: str | None = Field(default=None, frozen=True)
    """Cloudflare account; else CLOUDFLARE_ACCOUNT_ID. None with `chat_completions` on a server of one's own."""
    api_token: str | SecretStr | None = Field(default=None, frozen=True, exclude=True, repr=False)
    """API token; else CLOUDFLARE_API_TOKEN. Never in `to_dict`, `to_json`, `repr` or a pickle."""
    base_url: str | None = Field(default=None, frozen=True)
    """API root; else CLOUDFLARE_BASE_URL, else https://api.cloudflare.com/client/v4."""
    endpoint: Literal["run", "chat_completions"] = Field(default="run", frozen=True)
    """`/ai/run/{model}`, or the OpenAI-shaped `/ai/v1/chat/completions`."""
    gateway: str | None = Field(default=None, frozen=True)
    """Name of an AI Gateway to go through."""
    session_affinity: str | None = Field(default=None, frozen=True)
    """Any id; requests with the same one reach the same machine, whose prefix cache they share."""
    timeout: float | tuple[float, float] | None = Field(default=120.0, frozen=True)
    """Seconds of silence before a call is given up; a pair gives connecting its own limit."""
    max_retries: int = Field(default=2, frozen=True)
    """How often a failed request is sent again; never after the first word of a stream."""
    deadline: float | None = Field(default=None, frozen=True)
    """Seconds from the beginning of a call in which an attempt may begin, waits included; None for no limit."""
    wire_streaming: bool | Literal["auto"] = Field(default="auto", frozen=True)
    """Whether `chat` and `complete` stream on the wire, to outlive the service's time limit; "auto": long answers."""
    default_headers: dict[str, str] | None = Field(default=None, frozen=True, exclude=True, repr=False)
    """Headers of every request, such as `cf-aig-cache-ttl`."""
    inline_image_urls: bool = Field(default=False, frozen=True)
    """Whether an `ImageBlock(url=…)` on the web is fetched and sent along: https, public addresses and 10 MB at most.
    Otherwise it is refused, since the service takes no URLs."""
    readable_tools: bool = Field(default=True, frozen=True)
    """Whether tools go out in the form that Gemma's chat template prints; False sends them as they are."""
    schema_in_prompt: bool = Field(default=True, frozen=True)
    """Whether the schema of a structured answer is shown to the model, too, which it else is only bound by."""
    http_client: Any = Field(default=None, frozen=True, exclude=True, repr=False)
    """An httpx.Client to use."""
    async_http_client: Any = Field(default=None, frozen=True, exclude=True, repr=False)
    """An httpx.AsyncClient to use; by default there is one per event loop."""

    temperature: float | None = None
    """0 to 2; the service's default is 1."""
    top_p: float | None = None
    """0 to 1."""
    max_tokens: int | None = None
    """Tokens of reasoning and answer together. By default 16,384 with thinking, 4,096 without."""
    stop: str | list[str] | None = None
    """Up to four strings at which the answer ends."""
    seed: int | None = None
    """Makes sampling repeatable as far as the service can."""
    frequency_penalty: float | None = None
    """-2 to 2."""
    presence_penalty: float | None = None
    """-2 to 2."""
    logit_bias: dict[str, float] | None = None
    """Bias by token id, -100 to 100."""
    logprobs: bool | None = None
    """Ask for the tokens' log-probabilities; they come as `ChatResponse.logprobs`."""
    top_logprobs: int | None = None
    """0 to 20 alternatives per token."""
    n: int | None = None
    """Answers per request, 1 to 128; responses show the first, `raw` has all."""
    thinking: bool | None = None
    """Whether the model reasons first. None: yes, but not for structured output."""
    reasoning_effort: Literal["low", "medium", "high"] | None = None
    """Sent when given; the service doesn't document what Gemma makes of it."""
    extra_body: dict[str, Any] | None = None
    """Parameters for the body that this package doesn't know."""

    additional_kwargs: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Request parameters by their published names. A call's arguments beat these, these beat the fields above."""
    context_window: int = CONTEXT_WINDOW
    """Tokens, prompt and answer together. Prompt helpers and memories go by it."""
    should_use_structured_outputs: bool = True
    """Structured output by JSON schema; False: by a forced tool call, as `pydantic_program_mode="function"` does."""

    _connected: tuple[Gemma, AsyncGemma] | None = PrivateAttr(default=None)

    def __init__(self, **settings: Any) -> None:
        _refuse_unknown(settings, type(self))
        if settings.get("callback_manager", self) is None:
            del settings["callback_manager"]
        super().__init__(**settings)
        self._connect()
        self._check_options()

    @field_validator("api_token")
    @classmethod
    def _hidden(cls, token: str | SecretStr | None) -> SecretStr | None:
        return SecretStr(token) if isinstance(token, str) else token

    @property
    @override
    def metadata(self) -> LLMMetadata:
        """Window, output size and abilities. No I/O."""
        default = MAX_TOKENS if self.thinking is False else MAX_TOKENS_THINKING
        return LLMMetadata(
            context_window=self.context_window,
            num_output=self.max_tokens or default,
            is_chat_model=True,
            is_function_calling_model=True,
            model_name=self.model,
            system_role=MessageRole.SYSTEM,
        )

    @override
    def to_payload(self) -> dict[str, Any]:
        """What observers are told of this LLM with every call: no credential, no account."""
        options = {name: getattr(self, name) for name in OPTION_NAMES if name not in ("model", "extra_body")}
        told = {name: value for name, value in options.items() if value is not None}
        return {**super().to_payload(), "endpoint": self.endpoint, **told}

    def close(self) -> None:
        """Closes the connections of the blocking calls. The model can still be used: it opens new ones."""
        self._clients()[0].close()

    async def aclose(self) -> None:
        """Closes the connections of the asynchronous calls, and of the blocking ones."""
        self.close()
        await self._clients()[1].aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    @override
    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy, with other settings if given; it shares the connections unless a setting of theirs changes."""
        copied = super().model_copy(update=update, deep=deep)
        if update and not update.keys().isdisjoint((*SETTING_NAMES, *PROCESS_BOUND)):
            copied._connect()
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

        The token comes from the environment on loading; `default_headers` are to be given again.
        """
        left_out = {"api_token", "default_headers", *PROCESS_BOUND}
        return {"__dict__": {name: value for name, value in self.__dict__.items() if name not in left_out}}

    @override
    def __setstate__(self, state: dict[str, Any]) -> None:
        # Not our own __init__: where there is no token yet, the first call asks for it, and says what is missing.
        super().__init__(**state["__dict__"])

    def _settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in SETTING_NAMES}

    def _connect(self) -> tuple[Gemma, AsyncGemma]:
        settings = self._settings()
        self._connected = (
            Gemma(**settings, http_client=self.http_client),
            AsyncGemma(**settings, http_client=self.async_http_client),
        )
        return self._connected

    def _clients(self) -> tuple[Gemma, AsyncGemma]:
        return self._connected or self._connect()

    def _check_options(self) -> None:
        """Raises InvalidRequest for parameters that no call could send."""
        if misplaced := [name for name in self.additional_kwargs if name in SETTING_NAMES]:
            raise InvalidRequest(f"additional_kwargs: {misplaced[0]} is a setting, and an argument of its own")
        Gemma(**self._settings(), **self._options({}))

    def _options(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """The request's parameters: the call's, else `additional_kwargs`', else the fields'; None says nothing."""
        options = {name: getattr(self, name) for name in OPTION_NAMES}
        for said in (self.additional_kwargs, call):
            options.update((name, value) for name, value in said.items() if value is not None)
        return {name: value for name, value in options.items() if value is not None}


def _refuse_unknown(settings: Mapping[str, Any], model: type[GemmaSettings]) -> None:
    """Pydantic alone would drop a misspelt argument in silence."""
    known = model.model_fields
    for name in settings:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            elsewhere = "Request parameters go into additional_kwargs or extra_body"
            raise ConfigurationError(f"{model.__name__} has no setting {name}; {hint}{elsewhere}")
