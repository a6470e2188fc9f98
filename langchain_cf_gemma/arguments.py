"""Constructor and call arguments: which there are, what they are called elsewhere, and what is never sent."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic import AliasChoices, BaseModel

from cf_gemma.errors import ConfigurationError, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cf_gemma import Options

OPTION_FIELDS: Final = (
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
"""Fields of the chat model that are request parameters under the same name; each can be given per call, too."""

_OTHER_NAMES: Final = {"model_name": "model", "stop_sequences": "stop", "max_completion_tokens": "max_tokens"}
_LANGCHAINS_OWN: Final = frozenset({"stream", "stream_usage"})
"""Call arguments that LangChain or the chat model reads, and the service must not see."""

_SECRET: Final = re.compile(
    r"(^|[_-])(api[_-]?key|token|secret|password|passwd|authorization|credentials?)$", re.IGNORECASE
)


def check_names(cls: type[BaseModel], given: Iterable[str]) -> None:
    """Raises ConfigurationError, with the nearest known name, for a constructor argument that doesn't exist."""
    known = set(cls.model_fields)
    for field in cls.model_fields.values():
        if isinstance(field.validation_alias, AliasChoices):
            known.update(str(choice) for choice in field.validation_alias.choices)
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"Did you mean {near[0]}? " if near else ""
            raise ConfigurationError(
                f"{cls.__name__} has no argument {name}. {hint}Fields that only the service knows go into extra_body."
            )


def call_options(fields: Mapping[str, Any], stop: list[str] | None, given: Mapping[str, Any]) -> Options:
    """The parameters of one call: the model's own fields, and above them what the call gives.

    Raises:
        InvalidRequest: `extra_body` holds something that looks like a secret.
    """
    options = dict(fields)
    for name, value in given.items():
        if value is not None and name not in _LANGCHAINS_OWN:
            options[_OTHER_NAMES.get(name, name)] = value
    if stop:
        options["stop"] = stop
    if not options.get("stop", True):  # LangChain's standard tests say [] for none.
        del options["stop"]
    refuse_secrets(options.get("extra_body") or {})
    return cast("Options", options)


def refuse_secrets(extra_body: Mapping[str, Any]) -> None:
    """Raises InvalidRequest when a body field looks like a secret: bodies are logged, by gateways for one."""
    for name in extra_body:
        if _SECRET.search(name):
            raise InvalidRequest(f"extra_body: {name} looks like a secret, and is never sent in the body.")
