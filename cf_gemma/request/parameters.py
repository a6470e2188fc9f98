"""The request parameters, in one table: names, types, ranges, in words. Checked before anything is sent."""

# No `from __future__ import annotations`: the table is read from the annotations.

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Final, NamedTuple, TypedDict, cast, get_type_hints

from cf_gemma.errors import ConfigurationError, InvalidRequest
from cf_gemma.settings.defaults import SETTING_NAMES
from cf_gemma.settings.secrecy import secret_in

LIMITS: Final = frozenset({"max_tokens", "max_completion_tokens"})
"""Two names of one limit: a later layer's replaces an earlier layer's, whichever name each uses."""


class Rule(NamedTuple):
    """What a parameter may be."""

    allows: Callable[[object], bool]
    words: str


def _number(low: float, high: float) -> Rule:
    def allows(value: object) -> bool:
        return _is_number(value) and low <= cast("float", value) <= high

    return Rule(allows, f"a number from {low:g} to {high:g}")


def _whole(least: int, most: int) -> Rule:
    def allows(value: object) -> bool:
        return _is_whole(value) and least <= cast("int", value) <= most

    return Rule(allows, f"a whole number from {least} to {most}")


def _one_of_or_object(*words: str) -> Rule:
    def allows(value: object) -> bool:
        return isinstance(value, dict) or value in words

    return Rule(allows, f"one of {', '.join(words)}, or an object that names a function")


def _a(kind: type, words: str) -> Rule:
    def allows(value: object) -> bool:
        return isinstance(value, kind)

    return Rule(allows, words)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_positive(value: object) -> bool:
    return _is_whole(value) and cast("int", value) > 0


def _is_stop(value: object) -> bool:
    if not isinstance(value, list):
        return isinstance(value, str)
    texts = cast("list[object]", value)
    return 1 <= len(texts) <= 4 and all(isinstance(text, str) for text in texts)


_POSITIVE = Rule(_is_positive, "a whole number above 0")
_INTEGER = Rule(_is_whole, "a whole number")
_STOP = Rule(_is_stop, "a text, or a list of 1 to 4 texts")
_FLAG = _a(bool, "True or False")
_TEXT = _a(str, "a text")
_LIST = _a(list, "a list")
_OBJECT = _a(dict, "a dict")


class Options(TypedDict, total=False):
    """Parameters of one call. None means the same as leaving the parameter out.

    Names, types and ranges: the model's published input schema (cloudflare-docs, gemma-4-26b-a4b-it, 2026-11), which
    the service checks the nested objects against. `thinking`, `extra_body`, `extra_headers` and
    `session_affinity` are ours: whether to reason first (by default yes, except for structured output), fields that the
    schema doesn't have, headers of this call only, and the id of the conversation that it belongs to.
    """

    temperature: Annotated[float | None, _number(0, 2)]
    top_p: Annotated[float | None, _number(0, 1)]
    max_tokens: Annotated[int | None, _POSITIVE]
    max_completion_tokens: Annotated[int | None, _POSITIVE]
    stop: Annotated[str | list[str] | None, _STOP]
    seed: Annotated[int | None, _INTEGER]
    frequency_penalty: Annotated[float | None, _number(-2, 2)]
    presence_penalty: Annotated[float | None, _number(-2, 2)]
    logit_bias: Annotated[dict[str, float] | None, _OBJECT]
    logprobs: Annotated[bool | None, _FLAG]
    top_logprobs: Annotated[int | None, _whole(0, 20)]
    n: Annotated[int | None, _whole(1, 128)]
    tools: Annotated[list[dict[str, Any]] | None, _LIST]
    tool_choice: Annotated[str | dict[str, Any] | None, _one_of_or_object("none", "auto", "required")]
    parallel_tool_calls: Annotated[bool | None, _FLAG]
    functions: Annotated[list[dict[str, Any]] | None, _LIST]
    function_call: Annotated[str | dict[str, Any] | None, _one_of_or_object("none", "auto")]
    response_format: Annotated[dict[str, Any] | None, _OBJECT]
    reasoning_effort: Annotated[str | None, _TEXT]
    chat_template_kwargs: Annotated[dict[str, Any] | None, _OBJECT]
    skip_special_tokens: Annotated[bool | None, _FLAG]
    stream_options: Annotated[dict[str, Any] | None, _OBJECT]
    metadata: Annotated[dict[str, Any] | None, _OBJECT]
    modalities: Annotated[list[str] | None, _LIST]
    audio: Annotated[dict[str, Any] | None, _OBJECT]
    prediction: Annotated[dict[str, Any] | None, _OBJECT]
    store: Annotated[bool | None, _FLAG]
    user: Annotated[str | None, _TEXT]
    web_search_options: Annotated[dict[str, Any] | None, _OBJECT]
    model: Annotated[str | None, _TEXT]
    thinking: Annotated[bool | None, _FLAG]
    extra_body: Annotated[dict[str, Any] | None, _OBJECT]
    extra_headers: Annotated[dict[str, str] | None, _OBJECT]
    session_affinity: Annotated[str | None, _TEXT]


RULES: Final[Mapping[str, Rule]] = {
    name: annotation.__metadata__[0] for name, annotation in get_type_hints(Options, include_extras=True).items()
}
"""Every name of `Options` with what it may be."""


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """One set of parameters; later layers replace earlier ones, and None counts as absent.

    Raises InvalidRequest, with the name and the range, for a parameter that isn't one or can't be sent.
    """
    parameters: dict[str, Any] = {}
    for layer in layers:
        present = {name: value for name, value in layer.items() if value is not None}
        if not LIMITS.isdisjoint(present):
            parameters = {name: value for name, value in parameters.items() if name not in LIMITS}
        parameters.update(present)
    if parameters.keys() >= LIMITS:
        raise InvalidRequest("pass max_tokens or max_completion_tokens, not both: they are one limit under two names")
    for name, value in parameters.items():
        rule = RULES.get(name)
        if rule is None:
            raise InvalidRequest(f"{name} is not a parameter of this model; {_hint(name)}")
        if not rule.allows(value):
            raise InvalidRequest(f"{name} must be {rule.words}, not {_shown(value)}")
    if secret := secret_in(parameters.get("extra_body", {})):
        raise InvalidRequest(f"extra_body: {secret} looks like a secret, and bodies are logged, by gateways for one")
    return parameters


def unknown_setting(owner: str, name: str, names: Iterable[str]) -> ConfigurationError:
    """The error for an argument that a model of this class doesn't have; `names` are those that it has."""
    return ConfigurationError(
        f"{owner} has no setting {name}; {did_you_mean(name, names)}"
        "Request parameters that only the service knows go into extra_body"
    )


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """A question that names the nearest of these names, with a blank behind it; "" when none is near."""
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]}? " if near else ""


def _shown(value: object) -> str:
    """A number itself; for anything else its type only, since texts may be private."""
    return repr(value) if isinstance(value, int | float | None) else f"a {type(value).__name__}"


def _hint(name: str) -> str:
    if name == "stream":
        return "call stream() for a stream"
    if name in SETTING_NAMES:
        return "it is a setting: give it when the model is made"
    return f"{did_you_mean(name, RULES)}What the schema doesn't have goes into extra_body"
