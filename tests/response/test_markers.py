"""The model's own markers never reach a user, and what is only about them stays."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cf_gemma.request.http_request import HttpRequest
from cf_gemma.response.notation import QUOTE, parse_call
from cf_gemma.response.stream import Streamed
from tests.response.wire import sse

if TYPE_CHECKING:
    from cf_gemma.model.completion import Choice, Completion

TOOLS = {"add": {"type": "object", "properties": {"a": {"type": "integer"}}}}
CALL = "<|tool_call>call:add{a:1}<tool_call|>"


def answer(
    *texts: str, field: str = "content", prompt: str = "hi", tools: dict[str, Any] = TOOLS, reason: str = "stop"
) -> tuple[Choice, str]:
    """The choice that comes of these pieces of text, and the text that was handed out."""
    body = json.dumps({"messages": [{"role": "user", "content": prompt}]}, ensure_ascii=False).encode()
    stream = Streamed(HttpRequest("https://x.test", {}, body, stream=True, tools=tools), {})
    chunks: list[dict[str, Any]] = [{"choices": [{"delta": {field: text}}]} for text in texts]
    wire = sse([*chunks, {"choices": [{"delta": {}, "finish_reason": reason}]}])
    deltas = [*stream.feed(wire), *stream.close()]
    completion: Completion = stream.result()
    return completion.choices[0], "".join(getattr(delta, "text", "") for delta in deltas if hasattr(delta, "text"))


@pytest.mark.parametrize(
    ("text", "expected", "reasoning"),
    [
        ("<|channel>thought\nHm.<channel|>Four.", "Four.", "Hm."),
        ("thought\nHm.<channel|>Four.", "Four.", "Hm."),
        ("One.<|channel>thought\nHm.<channel|>Two.", "One.Two.", "Hm."),
        ("<|channel>thought\n<channel|>Four.", "Four.", ""),
        ("Four.<turn|>", "Four.", ""),
        ("<|turn>model\nFour.", "model\nFour.", ""),
        ("Four.<end_of_turn>", "Four.", ""),
        ("a < b, and <b>c</b>", "a < b, and <b>c</b>", ""),
        ("thoughts are free", "thoughts are free", ""),
        ("thought\nis a word", "thought\nis a word", ""),
        ("<|chan", "<|chan", ""),
    ],
)
@pytest.mark.parametrize("cut", [1, 3, 1_000])
def test_markers_in_text(text: str, expected: str, reasoning: str, cut: int) -> None:
    """Thoughts become reasoning and marks of turns go, however the text is cut; all else is to the letter."""
    pieces = [text[at : at + cut] for at in range(0, len(text), cut)]
    choice, _ = answer(*pieces)
    assert (choice.text, choice.reasoning) == (expected, reasoning)


@pytest.mark.parametrize("field", ["content", "reasoning_content"])
@pytest.mark.parametrize("cut", [1, 5, 1_000])
def test_a_call_in_a_text_is_a_call(field: str, cut: int) -> None:
    """Gemma's notation in content or reasoning becomes a call, when tools were sent."""
    text = f"Let me add.{CALL}"
    choice, _ = answer(*[text[at : at + cut] for at in range(0, len(text), cut)], field=field)
    assert [(call.name, call.args) for call in choice.tool_calls] == [("add", {"a": 1})]
    assert (choice.text or choice.reasoning, choice.finish_reason) == ("Let me add.", "tool_calls")


def test_a_cut_call_in_a_text_is_invalid() -> None:
    """A call whose end never came can't be executed, and doesn't stay in the text."""
    choice, _ = answer("<|tool_call>call:add{a:1", reason="length")
    assert (choice.text, choice.tool_calls) == ("", ())
    assert [(call.name, bool(call.error)) for call in choice.invalid_tool_calls] == [("add", True)]


def test_a_call_that_is_cut_right_at_its_beginning() -> None:
    """Nothing that the model said vanishes: a call of which only the marker came is an invalid one."""
    choice, _ = answer("Let me see.<|tool_call>", reason="length")
    assert (choice.text, len(choice.invalid_tool_calls), choice.tool_calls) == ("Let me see.", 1, ())


def test_without_tools_there_are_no_calls() -> None:
    """Where no tool may be called, a text about calls is a text."""
    assert answer(CALL, tools={})[0].text == CALL


@pytest.mark.parametrize("marker", ["<turn|>", "<|tool_call>", "<channel|>", "<|think|>"])
def test_what_the_user_speaks_about_stays(marker: str) -> None:
    """A question about a marker is answered with it."""
    text = f"The marker {marker} is one token."
    assert answer(text, prompt=f"What is {marker}?")[0].text == text


def test_text_is_handed_out_at_once() -> None:
    """Only what may be the beginning of a marker is held back."""
    stream = Streamed(HttpRequest("https://x.test", {}, b"{}", stream=True), {})
    fed = [
        "".join(delta.text for delta in stream.feed(sse([{"choices": [{"delta": {"content": text}}]}], done=False)))  # type: ignore[union-attr]
        for text in ("a <", "|tool", "box| b", " <b> c")
    ]
    assert fed == ["a ", "", "<|toolbox| b", " <b> c"]


SCALARS = (
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.text(max_size=8).filter(lambda t: QUOTE not in t)
)
KEYS = st.text(alphabet="abcXYZ_09-é", min_size=1, max_size=6)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=12
)


def written(value: Any) -> str:
    """A value in Gemma's notation, as the chat template writes it."""
    if isinstance(value, str):
        return f"{QUOTE}{value}{QUOTE}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{name}:{written(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    return json.dumps(value)


@given(st.dictionaries(KEYS, VALUES, max_size=4), st.data())
def test_the_notation_is_read_as_it_is_written(args: dict[str, Any], data: st.DataObject) -> None:
    """Whatever is written is read back; a beginning of it is never taken for a whole call."""
    text = f"call:book{written(args)}"
    assert parse_call(text) == ("book", args)
    end = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(ValueError, match=r"call|cut|missing|nested|text"):
        parse_call(text[:end])
