"""The request parameters by name, and what each may be. Checked before anything is sent."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from cf_gemma.errors import InvalidRequest
from cf_gemma.secrecy import secret_in
from cf_gemma.settings import SETTING_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


LIMITS: Final = frozenset({"max_tokens", "max_completion_tokens"})
"""Two names of one limit: whoever gives one of them replaces the other."""


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """One set of parameters, later layers above earlier ones; None says nothing.

    Raises InvalidRequest, with the name and the range, for a parameter that isn't one or can't be sent.
    """
    parameters: dict[str, Any] = {}
    for layer in layers:
        said = {name: value for name, value in layer.items() if value is not None}
        if not LIMITS.isdisjoint(said):
            parameters = {name: value for name, value in parameters.items() if name not in LIMITS}
        parameters.update(said)
    if parameters.keys() >= LIMITS:
        raise InvalidRequest("pass max_tokens or max_completion_tokens, not both: they are one limit under two names")
    for name, value in parameters.items():
        rule = RULES.get(name)
        if rule is None:
            raise InvalidRequest(f"{name} is not a parameter of this model; {_hint(name)}")
        if not rule.allows(value):
            raise InvalidRequest(f"{name} must be {rule.told}, not {_shown(value)}")
    if secret := secret_in(parameters.get("extra_body", {})):
        raise InvalidRequest(f"extra_body: {secret} looks like a secret, and bodies are logged, by gateways for one")
    return parameters


def check_within(body: Mapping[str, Any]) -> None:
    """Raises InvalidRequest for a list or an object among a body's parameters that isn't as published."""
    # Here, so that importing this package doesn't read the schema.
    from cf_gemma.request.published import OPTIONS

    for name, value in body.items():
        if isinstance(value, list | dict) and (shape := OPTIONS.fields.get(name)) is not None:
            for problem in shape.problems(value):
                raise InvalidRequest(
                    f"{name} is not as the model's published schema has it: {problem}. "
                    "What the schema doesn't have goes into extra_body"
                )


class _Rule(NamedTuple):
    allows: Callable[[object], bool]
    told: str


def _shown(value: object) -> str:
    """A number as it is, of everything else the kind: texts may be private."""
    return repr(value) if isinstance(value, int | float | None) else f"a {type(value).__name__}"


def _hint(name: str) -> str:
    if name == "stream":
        return "call stream() for a stream"
    if name in SETTING_NAMES:
        return "it is a setting: give it when the model is made"
    near = difflib.get_close_matches(name, RULES, n=1)
    question = f"did you mean {near[0]}? " if near else ""
    return f"{question}What the schema doesn't have goes into extra_body"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_stop(value: object) -> bool:
    if not isinstance(value, list):
        return isinstance(value, str)
    texts = cast("list[object]", value)
    return 1 <= len(texts) <= 4 and all(isinstance(text, str) for text in texts)


def _number(low: float, high: float) -> _Rule:
    def allows(value: object) -> bool:
        return _is_number(value) and low <= cast("float", value) <= high

    return _Rule(allows, f"a number from {low:g} to {high:g}")


def _whole(least: int, most: int) -> _Rule:
    def allows(value: object) -> bool:
        return _is_whole(value) and least <= cast("int", value) <= most

    return _Rule(allows, f"a whole number from {least} to {most}")


def _one_of(*words: str) -> _Rule:
    return _Rule(words.__contains__, f"one of {', '.join(words)}")


def _one_of_or_object(*words: str) -> _Rule:
    def allows(value: object) -> bool:
        return isinstance(value, dict) or value in words

    return _Rule(allows, f"one of {', '.join(words)}, or an object that names a function")


def _a(kind: type, told: str) -> _Rule:
    def allows(value: object) -> bool:
        return isinstance(value, kind)

    return _Rule(allows, told)


def _is_positive(value: object) -> bool:
    return _is_whole(value) and cast("int", value) > 0


_POSITIVE = _Rule(_is_positive, "a whole number above 0")
_INTEGER = _Rule(_is_whole, "a whole number")
_FLAG = _a(bool, "True or False")
_TEXT = _a(str, "a text")
_LIST = _a(list, "a list")
_OBJECT = _a(dict, "a dict")

RULES: Final[Mapping[str, _Rule]] = {
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "max_tokens": _POSITIVE,
    "max_completion_tokens": _POSITIVE,
    "stop": _Rule(_is_stop, "a text, or a list of 1 to 4 texts"),
    "seed": _INTEGER,
    "frequency_penalty": _number(-2, 2),
    "presence_penalty": _number(-2, 2),
    "logit_bias": _OBJECT,
    "logprobs": _FLAG,
    "top_logprobs": _whole(0, 20),
    "n": _whole(1, 128),
    "tools": _LIST,
    "tool_choice": _one_of_or_object("none", "auto", "required"),
    "parallel_tool_calls": _FLAG,
    "functions": _LIST,
    "function_call": _one_of_or_object("none", "auto"),
    "response_format": _OBJECT,
    "reasoning_effort": _one_of("low", "medium", "high"),
    "chat_template_kwargs": _OBJECT,
    "skip_special_tokens": _FLAG,
    "stream_options": _OBJECT,
    "metadata": _OBJECT,
    "modalities": _LIST,
    "audio": _OBJECT,
    "prediction": _OBJECT,
    "store": _FLAG,
    "user": _TEXT,
    "web_search_options": _OBJECT,
    "model": _TEXT,
    "thinking": _FLAG,
    "extra_body": _OBJECT,
    "extra_headers": _OBJECT,
}
"""Every name of `Options` with what it may be (the model's published input schema, 2026-11)."""
