"""Constructor and call arguments: which there are, what they are called elsewhere, and what is never sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from cf_gemma import MODEL
from cf_gemma.errors import InvalidRequest
from cf_gemma.settings.secrecy import is_secret_header, secret_in
from langchain_cf_gemma.parts import mapping_of
from langchain_cf_gemma.structured import to_response_format
from langchain_cf_gemma.tools import to_tools

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cf_gemma import AsyncGemma, Gemma, Options

Client = TypeVar("Client", "Gemma", "AsyncGemma")

_OTHER_NAMES: Final = {"model_name": "model", "stop_sequences": "stop", "max_completion_tokens": "max_tokens"}
_LANGCHAINS_OWN: Final = frozenset({"stream", "stream_usage", "timeout"})
"""Call arguments that LangChain or the chat model reads, and the service must not see."""


def call_options(fields: Mapping[str, Any], stop: list[str] | None, call: Mapping[str, Any]) -> Options:
    """The parameters of one call: the model's own fields, and above them what the call gives.

    Raises:
        InvalidRequest: See `refuse_secrets`.
    """
    refuse_secrets(call)
    options = dict(fields)
    for name, value in call.items():
        if value is not None and name not in _LANGCHAINS_OWN:
            options[_OTHER_NAMES.get(name, name)] = _translated(name, value)
    if stop:
        options["stop"] = stop
    if not options.get("stop", True):  # LangChain's standard tests say [] for none.
        del options["stop"]
    if options.get("reasoning_effort") == "none":  # OpenAI's word; the service knows low, medium and high
        del options["reasoning_effort"]
        options.setdefault("thinking", False)
    return cast("Options", options)


def _translated(name: str, value: Any) -> Any:
    """Tools and schemas in the forms that `bind_tools` and `with_structured_output` take."""
    if name == "response_format":
        return to_response_format(value)
    if name == "tools" and any(mapping_of(tool).get("type") != "function" for tool in value):
        return to_tools(value)
    return value


def reading(options: Options) -> dict[str, Any]:
    """How the answer to a call is to be read: `model`, its id, and `unfenced`, whether its text is JSON."""
    wanted = options.get("response_format") or {}
    return {"model": options.get("model") or MODEL, "unfenced": wanted.get("type") in {"json_schema", "json_object"}}


def timed(client: Client, call: Mapping[str, Any]) -> Client:
    """The client for one call, which may have a `timeout` of its own."""
    return client if call.get("timeout") is None else client.with_timeout(call["timeout"])


def refuse_secrets(call: Mapping[str, Any]) -> None:
    """Raises InvalidRequest when `extra_headers` or `extra_body` of a call hold what looks like a secret.

    Arguments of a call are shown to tracers, stand in the keys of caches and in the `repr` of a bound model; bodies are
    logged, too, by gateways for one.
    """
    for name in mapping_of(call.get("extra_headers")):
        if is_secret_header(str(name)):
            raise InvalidRequest(
                f"extra_headers: {name} looks like a secret, and tracers see the arguments of a call. "
                "Give it to the model, in default_headers, which are shown nowhere."
            )
    if secret := secret_in(mapping_of(call.get("extra_body"))):
        raise InvalidRequest(f"extra_body: {secret} looks like a secret, and is never sent in the body.")
