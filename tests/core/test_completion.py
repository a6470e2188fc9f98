from __future__ import annotations

import pickle

import pytest

from cf_gemma.model.completion import Choice, Completion, InvalidToolCall, ToolCall, Usage
from cf_gemma.model.facts import PRICE

CALL = ToolCall("1", "f", '{"x": 1}', {"x": 1})
BROKEN = InvalidToolCall("2", "g", '{"x', "cut")
FIRST = Choice(0, "text", "thought", (CALL, BROKEN), "tool_calls", {"content": []}, {"matched_stop": 106})
WHOLE = Completion(
    choices=(FIRST, Choice(1, "other", finish_reason="stop")),
    usage=Usage(10, 5, 15, cached_tokens=4, reasoning_tokens=2, neurons=0.5),
    id="a",
    model="m",
    created=7,
    headers={"cf-ray": "ray"},
    extra={"system_fingerprint": "fp"},
)


def test_the_first_choice_speaks_for_the_completion() -> None:
    """What a completion says at its top is what its first choice says."""
    assert (WHOLE.text, WHOLE.reasoning, WHOLE.finish_reason) == ("text", "thought", "tool_calls")
    assert (WHOLE.tool_calls, WHOLE.invalid_tool_calls) == ((CALL,), (BROKEN,))


@pytest.mark.parametrize(
    ("headers", "request_id"),
    [({}, None), ({"cf-ray": "ray"}, "ray"), ({"cf-ai-req-id": "req", "cf-ray": "ray"}, "req")],
)
def test_request_id(headers: dict[str, str], request_id: str | None) -> None:
    """The id to quote is the service's own, else the edge's."""
    assert Completion((Choice(),), headers=headers).request_id == request_id


def test_as_a_chat_completion() -> None:
    """`to_dict` is the plain `chat.completion`, with all that was said."""
    assert WHOLE.to_dict() == {
        "id": "a",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "system_fingerprint": "fp",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "text",
                    "reasoning_content": "thought",
                    "tool_calls": [
                        {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
                        {"id": "2", "type": "function", "function": {"name": "g", "arguments": '{"x'}},
                    ],
                },
                "finish_reason": "tool_calls",
                "logprobs": {"content": []},
                "matched_stop": 106,
            },
            {
                "index": 1,
                "message": {"role": "assistant", "content": "other"},
                "finish_reason": "stop",
                "logprobs": None,
            },
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 2},
            "neurons": 0.5,
        },
    }


def test_what_was_not_said_is_absent() -> None:
    """Usage that wasn't reported isn't shown, neither as a whole nor in its details."""
    assert "usage" not in Completion((Choice(),)).to_dict()
    assert Usage(1, 2, 3).to_dict() == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def test_completions_can_be_pickled_and_cannot_be_changed() -> None:
    """An answer goes into another process as it is, and stays as it is."""
    assert pickle.loads(pickle.dumps(WHOLE)) == WHOLE  # noqa: S301 - our own
    with pytest.raises(AttributeError):
        setattr(WHOLE, "id", "b")  # noqa: B010 - written so that no type checker stops it


@pytest.mark.parametrize(
    ("prompt", "completion", "neurons", "dollars"),
    [(1_000_000, 0, None, 0.1), (0, 1_000_000, None, 0.3), (7, 7, 1_000.0, 0.011), (7, 7, 0.0, 0.0), (0, 0, None, 0.0)],
)
def test_price(prompt: int, completion: int, neurons: float | None, dollars: float) -> None:
    """The published prices: by neurons where the service reports them, else by tokens."""
    assert PRICE.cost(prompt, completion, neurons) == pytest.approx(dollars)
