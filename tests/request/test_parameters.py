from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_gemma.errors import GemmaError, InvalidRequest
from cf_gemma.request.parameters import RULES, Options, merged

Values = list[Any]

NOT_NUMBERS: Values = ["1", True, [1], {}, math.nan]
WHOLE: Values = [1.0, "1", True, [], {}]
FLAGS: Values = [0, 1, "true", [], {}]
TEXTS: Values = [1, b"x", ["x"], {}]
LISTS: Values = ["x", {}, 1, ()]
DICTS: Values = ["x", [], 1, [("a", 1)]]

TABLE: dict[str, tuple[Values, Values]] = {
    # name: what it may be, what it may not be
    "temperature": ([0, 2, 0.7, 1], [-0.01, 2.01, 3, math.inf, *NOT_NUMBERS]),
    "top_p": ([0, 1, 0.95], [-0.01, 1.01, *NOT_NUMBERS]),
    "max_tokens": ([1, 256_000], [0, -5, *WHOLE]),
    "max_completion_tokens": ([1, 256_000], [0, -5, *WHOLE]),
    "stop": (["x", "", ["x"], ["1", "2", "3", "4"]], [[], ["1", "2", "3", "4", "5"], [1], ["x", None], 1, {}, ("x",)]),
    "seed": ([0, -1, 2**40], WHOLE),
    "frequency_penalty": ([-2, 2, 0.5], [-2.01, 2.01, *NOT_NUMBERS]),
    "presence_penalty": ([-2, 2, 0.5], [-2.01, 2.01, *NOT_NUMBERS]),
    "logit_bias": ([{}, {"5": -100}], DICTS),
    "logprobs": ([True, False], FLAGS),
    "top_logprobs": ([0, 20], [-1, 21, 50, *WHOLE]),
    "n": ([1, 128], [0, 129, *WHOLE]),
    "tools": ([[], [{"type": "function", "function": {"name": "f"}}]], LISTS),
    "tool_choice": (
        ["none", "auto", "required", {"type": "function", "function": {"name": "f"}}],
        ["any", "", 1, True, []],
    ),
    "parallel_tool_calls": ([True, False], FLAGS),
    "functions": ([[{"name": "f"}]], LISTS),
    "function_call": (["none", "auto", {"name": "f"}], ["required", 1, []]),
    "response_format": ([{"type": "text"}], DICTS),
    "reasoning_effort": (["low", "none"], [1, True]),
    "chat_template_kwargs": ([{}, {"enable_thinking": True}], DICTS),
    "skip_special_tokens": ([True, False], FLAGS),
    "stream_options": ([{}, {"include_usage": True}], DICTS),
    "metadata": ([{}], DICTS),
    "modalities": ([["text"]], LISTS),
    "audio": ([{"voice": "x", "format": "wav"}], DICTS),
    "prediction": ([{"type": "content", "content": "x"}], DICTS),
    "store": ([True, False], FLAGS),
    "user": (["x", ""], TEXTS),
    "web_search_options": ([{}], DICTS),
    "model": (["@cf/google/gemma-4-26b-a4b-it"], TEXTS),
    "thinking": ([True, False], FLAGS),
    "extra_body": ([{"top_k": 64}], DICTS),
    "extra_headers": ([{"cf-aig-cache-ttl": "60"}], DICTS),
    "session_affinity": (["thread-7"], TEXTS),
}
GOOD = [(name, value) for name, (good, _) in TABLE.items() for value in good]
BAD = [(name, value) for name, (_, bad) in TABLE.items() for value in bad]


def test_every_option_has_its_rule_and_its_row() -> None:
    """The typed options, the rules that check them and the table here name the same parameters."""
    assert set(RULES) == set(Options.__annotations__) == set(TABLE)


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_what_the_schema_allows_passes(name: str, value: object) -> None:
    """A value within the published range is taken as it is."""
    assert merged({name: value}) == {name: value}


@pytest.mark.parametrize(("name", "value"), BAD)
def test_what_the_schema_forbids_is_refused(name: str, value: object) -> None:
    """A value out of range or of another type is refused by name, with what it may be."""
    with pytest.raises(InvalidRequest, match=f"^{name} must be {re.escape(RULES[name].words)}, not "):
        merged({name: value})


@pytest.mark.parametrize("name", list(RULES))
def test_none_says_nothing(name: str) -> None:
    """None is as good as leaving the parameter out, and doesn't hide what a lower layer says."""
    value = TABLE[name][0][0]
    assert merged({name: None}) == {}
    assert merged({name: value}, {name: None}) == {name: value}


def test_later_layers_beat_earlier_ones() -> None:
    """The options of a call come before those of the constructor."""
    assert merged({"seed": 1, "top_p": 0.5}, {"seed": 2}) == {"seed": 2, "top_p": 0.5}


def test_a_limit_replaces_the_other_name_of_it() -> None:
    """One limit goes out, the call's, whichever of its two names was used; both at once are refused."""
    assert merged({"max_tokens": 1}, {"max_completion_tokens": 2}) == {"max_completion_tokens": 2}
    assert merged({"max_completion_tokens": 1}, {"max_tokens": 2}) == {"max_tokens": 2}
    assert merged({"max_tokens": 1}, {"max_completion_tokens": None}) == {"max_tokens": 1}
    with pytest.raises(InvalidRequest, match="not both"):
        merged({"max_tokens": 1, "max_completion_tokens": 1})


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("temprature", "temperature"),
        ("timeout", "a setting: give it when the model is made"),
        ("max_token", "max_tokens"),
        ("tool_choise", "tool_choice"),
        ("top_k", "extra_body"),
        ("xyzzy", "extra_body"),
        ("stream", r"stream\(\)"),
        ("", "extra_body"),
    ],
)
def test_an_unknown_name_is_refused_with_a_hint(name: str, hint: str) -> None:
    """A typing mistake gets the nearest name, anything else the place where it may go."""
    with pytest.raises(InvalidRequest, match=hint):
        merged({name: 1})


@given(st.sampled_from([*RULES, "other"]), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
))  # fmt: skip
def test_any_value_passes_or_is_refused(name: str, value: object) -> None:
    """No value of any type does anything but pass or be refused."""
    try:
        assert merged({name: value}) in ({}, {name: value})
    except GemmaError as error:
        assert name in str(error)  # noqa: PT017 - both outcomes are right
