"""Tools and a schema at once, over a real socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cf_gemma import Completion
from cf_gemma.emulator import Emulator, Reply, ToolCallSpec
from cf_gemma.model.completion import ReasoningDelta, TextDelta, ToolCallDelta
from tests.transport.callers import ACCOUNT, TOKEN

if TYPE_CHECKING:
    from tests.transport.callers import Caller

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
OPTIONS: dict[str, Any] = {
    "tools": [TOOL],
    "response_format": {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA}},
}
OBJECT = '{"city": "Rome"}'


@pytest.mark.parametrize("asked", ["chat", "stream"])
@pytest.mark.parametrize(
    ("replies", "text"),
    [
        ([Reply(OBJECT, reasoning="Hm.")], OBJECT),
        ([Reply(f"```json\n{OBJECT}\n```", reasoning="Hm.")], OBJECT),
        ([Reply("It is Rome.", reasoning="Hm."), OBJECT], OBJECT),
        ([Reply('{"city": 7}', reasoning="Hm."), OBJECT], OBJECT),
        ([Reply("Let me see.", reasoning="Hm.", tool_calls=[ToolCallSpec("look", {})])], "Let me see."),
        ([Reply('{"city": "R', reasoning="Hm.", finish_reason="length")], '{"city": "R'),
    ],
    ids=["object", "fenced", "text", "another object", "call", "cut"],
)
def test_the_answer_is_the_object(caller: Caller, asked: str, replies: list[Any], text: str) -> None:
    """A call stays a call and an object an object; another text is followed by one request for the object."""
    with Emulator(list(replies), dialect="S", account_id=ACCOUNT, api_token=TOKEN) as emulator:
        model = caller.model(emulator.base_url)
        items = caller.stream(model, **OPTIONS) if asked == "stream" else [caller.chat(model, **OPTIONS)]
        bodies = [request.json for request in emulator.requests]
    *deltas, completion = items
    assert isinstance(completion, Completion)
    assert completion.text == text
    assert completion.reasoning == "Hm."
    assert len(bodies) == len(replies)
    assert "response_format" not in bodies[0]
    if asked == "stream":
        assert "".join(item.text for item in deltas if isinstance(item, TextDelta)) == text
        assert "".join(item.text for item in deltas if isinstance(item, ReasoningDelta)) == "Hm."
        assert any(isinstance(item, ToolCallDelta) for item in deltas) is bool(completion.tool_calls)


def test_the_closing_request(caller: Caller) -> None:
    """It has the answer, no tools and the constraint, and both requests are counted."""
    with Emulator(
        [Reply("It is Rome."), OBJECT, "Rome."], dialect="S", account_id=ACCOUNT, api_token=TOKEN
    ) as emulator:
        model = caller.model(emulator.base_url)
        completion = caller.chat(model, **OPTIONS, temperature=0.5)
        alone = caller.chat(model, [*emulator.requests[1].json["messages"]])
        first, last = (request.json for request in emulator.requests[:2])
    assert [turn["role"] for turn in last["messages"]] == ["system", "user", "assistant", "user"]
    assert last["messages"][:2] == first["messages"]
    assert last["messages"][2]["content"] == "It is Rome."
    assert last["response_format"] == OPTIONS["response_format"]
    assert "tools" not in last
    assert last["temperature"] == 0.5
    assert completion.choices[0].extra["draft"] == "It is Rome."
    assert completion.usage is not None
    assert completion.usage.prompt_tokens > alone.usage.prompt_tokens
