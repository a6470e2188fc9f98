"""A tool call that isn't whole is never valid, whatever the server made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cf_gemma.errors import StreamTruncated
from cf_gemma.request.http_request import HttpRequest
from cf_gemma.response.stream import Streamed
from tests.engines_bytes.replays import Case
from tests.response.wire import sse

if TYPE_CHECKING:
    from cf_gemma.model.completion import Choice

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "exact": {"type": "boolean"},
        "ratio": {"type": "number", "nullable": True},
        "any": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "list": {"type": "array", "items": {"$ref": "#/$defs/N"}},
    },
    "required": ["city"],
    "$defs": {"N": {"type": "integer"}},
}
TOOLS = {"get_weather": WEATHER, "now": {"type": "object", "properties": {}}, "get_time": {"type": "object"}}
PARIS = '{"city": "Paris"}'


def choice(
    *calls: tuple[str, str | None],
    reason: str = "tool_calls",
    usage: int | None = None,
    limit: int | None = None,
    n: int = 1,
    tools: dict[str, Any] = TOOLS,
    **extra: Any,
) -> Choice:
    """The choice of a stream with these calls: name and arguments."""
    request = HttpRequest("https://x.test", {}, b"{}", stream=True, limit=limit, choices=n, tools=tools)
    entries = [
        {"index": place, "id": f"c{place}", "function": {"name": name, **({} if args is None else {"arguments": args})}}
        for place, (name, args) in enumerate(calls)
    ]
    ends = [{"index": place, "delta": {}, "finish_reason": reason, **extra} for place in range(n)]
    end: dict[str, Any] = {"choices": ends}
    if usage is not None:
        end["usage"] = {"prompt_tokens": 1, "completion_tokens": usage, "total_tokens": usage + 1}
    stream = Streamed(request, {})
    list(stream.feed(sse([{"choices": [{"delta": {"tool_calls": entries}}]}, end])))
    list(stream.close())
    if reason in ("abort", "error"):
        with pytest.raises(StreamTruncated) as caught:
            stream.result()
        assert caught.value.partial is not None
        return caught.value.partial.choices[0]
    return stream.result().choices[0]


@pytest.mark.parametrize("reason", ["length", "abort", "error", "content_filter"])
def test_the_last_call_of_a_cut_answer(reason: str) -> None:
    """Its JSON may parse all the same: servers close it. The calls before it are whole."""
    cut = choice(("now", "{}"), ("get_weather", PARIS), reason=reason)
    assert [call.name for call in cut.tool_calls] == ["now"]
    assert [call.name for call in cut.invalid_tool_calls] == ["get_weather"]
    assert reason in cut.invalid_tool_calls[0].error


@pytest.mark.parametrize(
    ("usage", "limit", "n", "valid"), [(9, 10, 1, True), (10, 10, 1, False), (11, 10, 1, False), (10, 10, 2, True)]
)
def test_an_answer_that_reached_its_limit(usage: int, limit: int, n: int, valid: bool) -> None:
    """Whatever the finish reason says, of as many tokens as were asked for the last call may be cut; of one answer."""
    assert bool(choice(("get_weather", PARIS), usage=usage, limit=limit, n=n).tool_calls) is valid


@pytest.mark.parametrize(
    ("extra", "valid"),
    [({"stop_reason": "Paris"}, False), ({"matched_stop": "Paris"}, False), ({"stop_reason": 50}, True), ({}, True)],
)
def test_a_stop_text_within_a_call(extra: dict[str, Any], valid: bool) -> None:
    """A stop text ends an answer anywhere; the number of a token is the model's own end."""
    assert bool(choice(("get_weather", '{"city": ""}'), **extra).tool_calls) is valid


@pytest.mark.parametrize("arguments", [None, "", " "])
@pytest.mark.parametrize("reason", ["tool_calls", "stop"])
@pytest.mark.parametrize(
    ("name", "valid"), [("get_weather", False), ("now", True), ("get_time", True), ("unknown", False)]
)
def test_arguments_that_never_came(arguments: str | None, reason: str, name: str, valid: bool) -> None:
    """They were lost, unless the tool has no parameters: servers send {} for a call without arguments."""
    got = choice((name, arguments), reason=reason)
    assert bool(got.tool_calls) is valid
    assert all(call.args == {} and call.arguments == "{}" for call in got.tool_calls)


@pytest.mark.parametrize(
    ("arguments", "args"),
    [
        ('{"city": "weather in Tokyo<|\\"|>"}', {"city": "weather in Tokyo"}),
        ('{"city": "Paris", "France<|\\"|>,limit": "5"}', None),
        ('{"city": "<|\\"|", "days": 1}', None),
        ('{"city": "a<|\\"|>b"}', None),
        ('{"city": "x", "list": ["<|\\"|>"]}', None),
        ('{"days": "3<|\\"|>"}', None),
    ],
)
def test_the_models_quote_token(arguments: str, args: dict[str, Any] | None) -> None:
    """In a key or a value it shows that the server misread the arguments; one at a text's end is taken off."""
    got = choice(("get_weather", arguments))
    assert [call.args for call in got.tool_calls] == ([args] if args else [])
    assert all("quote token" in call.error for call in got.invalid_tool_calls)


@pytest.mark.parametrize(("name", "valid"), [("get", False), ("get_w", False), ("got", True), ("get_weather", True)])
def test_a_name_that_is_cut_off(name: str, valid: bool) -> None:
    """A name that is no tool's, and the beginning of one, is cut off; another unknown name is the model's own."""
    assert bool(choice((name, PARIS)).tool_calls) is valid


@pytest.mark.parametrize(
    ("arguments", "args"),
    [
        ('{"city": "x", "days": "3"}', {"city": "x", "days": 3}),
        ('{"city": "x", "days": "1e3"}', {"city": "x", "days": 1000}),
        ('{"city": "x", "days": "a"}', {"city": "x", "days": "a"}),
        ('{"city": "3", "any": "3"}', {"city": "3", "any": "3"}),
        ('{"city": "null", "exact": "true"}', {"city": "null", "exact": True}),
        ('{"city": "x", "ratio": "null"}', {"city": "x", "ratio": None}),
        ('{"city": "x", "ratio": "1e3"}', {"city": "x", "ratio": 1000.0}),
        ('{"city": "x", "list": ["1", 2]}', {"city": "x", "list": [1, 2]}),
        ('{"city": "x", "other": "1"}', {"city": "x", "other": "1"}),
    ],
)
def test_bent_types(arguments: str, args: dict[str, Any]) -> None:
    """A text that stands for a number, a truth value or null is one where the schema allows no text, and only there."""
    assert choice(("get_weather", arguments)).tool_calls[0].args == args


def test_the_reason_is_in_words() -> None:
    """Whoever meets an invalid call learns what happened to it."""
    completion = Case("vllm", "tool_cut_args", streamed=True).read()[1]
    assert "may be cut" in completion.invalid_tool_calls[0].error
