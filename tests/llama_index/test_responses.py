"""Deltas and completions to LlamaIndex responses: whole, fresh, and the same whether streamed or not."""

import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from cf_gemma import (
    Choice,
    Completion,
    InvalidToolCall,
    ReasoningDelta,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from cf_gemma.errors import ReasoningBudgetExceeded
from cf_gemma.model.completion import Delta
from llama_index_cf_gemma.responses import (
    StreamedChat,
    StreamedCompletion,
    chat_response,
    completion_of,
    completion_response,
)
from tests.alike import alike

USAGE = Usage(prompt_tokens=9, completion_tokens=7, total_tokens=16, cached_tokens=4, reasoning_tokens=3, neurons=2.0)
ADD = ToolCall("c1", "add", '{"a": 1}', {"a": 1})
MUL = ToolCall("c2", "mul", "{}", {})
CUT = InvalidToolCall("c3", "sub", '{"a": ', "cut off")


def completion(**choice: object) -> Completion:
    """An answer with one choice."""
    choice.setdefault("finish_reason", "stop")
    return Completion((Choice(**choice),), usage=USAGE, id="x", model="gemma", headers={"cf-ray": "ray"})


def streamed(pieces: Iterable[Delta | Completion], **options: bool) -> list[ChatResponse]:
    """What a stream of these pieces shows."""
    translate = StreamedChat(**options)
    return [response for piece in pieces if (response := translate(piece)) is not None]


@given(text=st.text(max_size=3), reasoning=st.text(max_size=3), arguments=st.lists(st.text(max_size=3), max_size=3))
def test_a_streamed_message_is_as_its_constructor_makes_it(text: str, reasoning: str, arguments: list[str]) -> None:
    """What is copied from a checked message equals what core makes of the same, and has nothing to share."""
    calls = [ToolCallDelta(index, f"id{index}", "add", piece) for index, piece in enumerate(arguments)]
    *_, response = streamed([ReasoningDelta(reasoning), TextDelta(text), *calls])
    blocks = [
        *([ThinkingBlock(content=reasoning)] if reasoning else []),
        *([TextBlock(text=text)] if text else []),
        *(ToolCallBlock(tool_call_id=call.id, tool_name="add", tool_kwargs=call.arguments) for call in calls),
    ]
    dicts = [
        {"id": call.id, "type": "function", "function": {"name": "add", "arguments": call.arguments}} for call in calls
    ]
    made = ChatMessage(
        role=MessageRole.ASSISTANT, blocks=blocks, additional_kwargs={"tool_calls": dicts} if dicts else {}
    )
    assert alike(response.message, made)
    assert all(map(alike, response.message.blocks, made.blocks))
    *_, other = streamed([ReasoningDelta(reasoning), TextDelta(text), *calls])
    assert not {id(block) for block in response.message.blocks} & {id(block) for block in other.message.blocks}
    assert response.message.additional_kwargs is not other.message.additional_kwargs


def test_a_whole_answer() -> None:
    """Reasoning, text and calls as blocks in this order; calls as plain dicts too; facts and usage beside."""
    response = chat_response(completion(text="Hi", reasoning="hm", calls=(ADD, MUL), finish_reason="tool_calls"))
    assert response.message.blocks == [
        ThinkingBlock(content="hm", num_tokens=3),
        TextBlock(text="Hi"),
        ToolCallBlock(tool_call_id="c1", tool_name="add", tool_kwargs={"a": 1}),
        ToolCallBlock(tool_call_id="c2", tool_name="mul", tool_kwargs={}),
    ]
    assert response.message.additional_kwargs == snapshot(
        {
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
                {"id": "c2", "type": "function", "function": {"name": "mul", "arguments": "{}"}},
            ]
        }
    )
    assert response.additional_kwargs == snapshot(
        {
            "finish_reason": "tool_calls",
            "model": "gemma",
            "request_id": "ray",
            "headers": {"cf-ray": "ray"},
            "prompt_tokens": 9,
            "completion_tokens": 7,
            "total_tokens": 16,
            "cached_tokens": 4,
            "reasoning_tokens": 3,
            "neurons": 2.0,
            "cost": 2.2e-05,
        }
    )
    assert response.raw["choices"][0]["finish_reason"] == "tool_calls"
    assert response.raw["usage"]["prompt_tokens"] == 9
    json.dumps(response.model_dump(mode="json"))


def test_an_answer_with_nothing_in_it() -> None:
    """No empty blocks, no empty lists; content is None."""
    response = chat_response(completion())
    assert response.message.blocks == []
    assert response.message.additional_kwargs == {}
    assert response.message.content is None


def test_unusable_calls_stand_where_nothing_executes_them() -> None:
    """A cut call is neither a block nor among tool_calls, and isn't lost."""
    response = chat_response(completion(calls=(ADD, CUT), finish_reason="length"))
    assert [block.tool_name for block in response.message.blocks] == ["add"]
    assert [call["id"] for call in response.message.additional_kwargs["tool_calls"]] == ["c1"]
    assert response.message.additional_kwargs["invalid_tool_calls"] == [
        {"id": "c3", "name": "sub", "arguments": '{"a": ', "error": "cut off"}
    ]


def test_one_call_where_one_is_allowed() -> None:
    """The second call is dropped in both places; raw keeps all."""
    response = chat_response(completion(calls=(ADD, MUL)), single_call=True)
    assert [block.tool_call_id for block in response.message.blocks] == ["c1"]
    assert [call["id"] for call in response.message.additional_kwargs["tool_calls"]] == ["c1"]
    assert len(response.raw["choices"][0]["message"]["tool_calls"]) == 2


def test_log_probabilities() -> None:
    """A list per token: its alternatives when asked for, else the token itself."""
    content = [
        {"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []},
        {
            "token": "b",
            "logprob": -0.2,
            "bytes": None,
            "top_logprobs": [{"token": "c", "logprob": -2.0, "bytes": None}],
        },
    ]
    logprobs = chat_response(completion(logprobs={"content": content})).logprobs
    assert [[(entry.token, entry.logprob, entry.bytes) for entry in token] for token in logprobs] == [
        [("a", -0.1, [97])],
        [("c", -2.0, [])],
    ]


def test_a_stream_step_by_step() -> None:
    """Each response has the message so far; delta is new text only; new reasoning is where agents look."""
    pieces = [
        ReasoningDelta("h"),
        ReasoningDelta("m"),
        TextDelta("Hi"),
        ToolCallDelta(0, "c1", "add", '{"a"'),
        ToolCallDelta(0, arguments=": 1}"),
        completion(text="Hi", reasoning="hm", calls=(ADD,)),
    ]
    steps = streamed(pieces)
    assert [step.delta for step in steps] == ["", "", "Hi", "", "", ""]
    assert [step.additional_kwargs.get("thinking_delta") for step in steps] == ["h", "m", None, None, None, None]
    assert [len(step.message.blocks) for step in steps] == [1, 1, 2, 3, 3, 3]
    assert [step.message.blocks[2].tool_kwargs for step in steps[3:]] == ['{"a"', '{"a": 1}', {"a": 1}]
    assert [bool(step.message.additional_kwargs.get("tool_calls")) for step in steps] == [False] * 3 + [True] * 3
    assert {step.message.role.value for step in steps} == {"assistant"}
    assert steps[2].raw == {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "Hi"}}]}


def test_the_last_response_is_the_whole_answer() -> None:
    """Observers read the last response only: it equals the answer without streaming, with an empty delta."""
    whole = completion(text="Hi", reasoning="hm", calls=(ADD,))
    last = streamed([TextDelta("Hi"), whole])[-1]
    expected = chat_response(whole)
    expected.delta = ""
    assert last == expected


def test_responses_share_nothing() -> None:
    """A consumer that keeps or changes one response doesn't touch the others."""
    steps = streamed([ReasoningDelta("h"), TextDelta("a"), ToolCallDelta(0, "c", "f", "{"), TextDelta("b")])
    objects = [id(block) for step in steps for block in step.message.blocks]
    objects += [id(step.message.additional_kwargs) for step in steps]
    objects += [id(call) for step in steps for call in step.message.additional_kwargs.get("tool_calls", ())]
    assert len(objects) == len(set(objects))


def test_calls_stand_in_their_places() -> None:
    """A call that gets its name after another one stands before it all the same; one that never does is not shown."""
    pieces = [ToolCallDelta(2, "c3", "mul", "{}"), ToolCallDelta(1, "c2", "add", '{"a": 1}')]
    steps = streamed([*pieces, completion()])
    assert [[block.tool_call_id for block in step.message.blocks] for step in steps[:2]] == [["c3"], ["c2", "c3"]]


def test_one_call_where_one_is_allowed_in_a_stream() -> None:
    """The second call never shows, not even in part."""
    pieces = [
        ToolCallDelta(0, "c1", "add", '{"a": 1}'),
        ToolCallDelta(1, "c2", "mul", "{}"),
        completion(calls=(ADD, MUL)),
    ]
    steps = streamed(pieces, single_call=True)
    assert [[block.tool_call_id for block in step.message.blocks] for step in steps] == [["c1"], ["c1"]]


def test_other_choices_don_t_mix_in() -> None:
    """With n above 1 the message is the first choice's; raw has the others."""
    steps = streamed([TextDelta("a"), TextDelta("X", choice=1), ToolCallDelta(0, "c", "f", choice=1), TextDelta("b")])
    assert [step.message.content for step in steps] == ["a", "ab"]


@given(st.lists(st.tuples(st.sampled_from("rtc"), st.text(max_size=4)), max_size=20))
def test_deltas_add_up(script: list[tuple[str, str]]) -> None:
    """The deltas, joined, are the last message's text and reasoning, however they are mixed."""
    kinds = {"r": ReasoningDelta, "t": TextDelta}
    begun = False
    pieces: list[Delta] = []
    for kind, text in script:
        if kind == "c":
            pieces.append(ToolCallDelta(0, arguments=text) if begun else ToolCallDelta(0, "c", "f", text))
            begun = True
        else:
            pieces.append(kinds[kind](text))
    steps = streamed(pieces)
    assert len(steps) == len(pieces)
    for count, step in enumerate(steps, 1):
        arrived = pieces[:count]
        text = "".join(piece.text for piece in arrived if isinstance(piece, TextDelta))
        assert (step.message.content or "") == text
        assert "".join(part.delta for part in steps[:count]) == text
        thought = "".join(piece.text for piece in arrived if isinstance(piece, ReasoningDelta))
        assert "".join(part.additional_kwargs.get("thinking_delta", "") for part in steps[:count]) == thought
        blocks = step.message.blocks
        assert "".join(block.content for block in blocks if isinstance(block, ThinkingBlock)) == thought


def test_a_completion() -> None:
    """Text, with reasoning kept in raw and the facts in additional_kwargs."""
    response = completion_response(completion(text="Hi", reasoning="hm"))
    assert response.text == "Hi"
    assert response.raw["choices"][0]["message"]["reasoning_content"] == "hm"
    assert response.additional_kwargs["total_tokens"] == 16


def test_a_streamed_completion() -> None:
    """Cumulative text, deltas, reasoning beside, and a last response with everything."""
    translate = StreamedCompletion()
    whole = completion(text="Hi!", reasoning="hm")
    pieces = [ReasoningDelta("hm"), TextDelta("Hi"), ToolCallDelta(0, "c", "f"), TextDelta("!"), whole]
    steps = [step for piece in pieces if (step := translate(piece)) is not None]
    assert [(step.text, step.delta) for step in steps] == [("", ""), ("Hi", "Hi"), ("Hi!", "!"), ("Hi!", "")]
    assert steps[0].additional_kwargs == {"thinking_delta": "hm"}
    assert steps[-1].raw == whole.to_dict()


@pytest.mark.parametrize("text", ["", " \n"])
def test_a_budget_eaten_by_thinking(text: str) -> None:
    """complete() raises with the numbers, the remedy and what had arrived; chat shows the message."""
    lost = completion(text=text, reasoning="hm hm", finish_reason="length")
    with pytest.raises(ReasoningBudgetExceeded, match=r"7 tokens.*raise max_tokens, or set thinking=False") as caught:
        completion_response(lost)
    assert caught.value.partial is lost
    assert caught.value.request_id == "ray"
    with pytest.raises(ReasoningBudgetExceeded):
        StreamedCompletion()(lost)
    assert chat_response(lost).additional_kwargs["finish_reason"] == "length"


@pytest.mark.parametrize(
    "choice",
    [
        {"text": "half an answ", "reasoning": "hm", "finish_reason": "length"},
        {"reasoning": "hm", "finish_reason": "stop"},
        {"finish_reason": "length"},
    ],
    ids=["cut-answer", "ended-by-itself", "no-reasoning"],
)
def test_what_is_no_lost_budget(choice: dict) -> None:
    """A cut answer, or silence that thinking didn't cause, is what the model said."""
    assert completion_response(completion(**choice)).text == choice.get("text", "")


def test_the_completion_behind_a_response() -> None:
    """Errors that are found after the call can still show what had arrived."""
    whole = completion(text="Hi", reasoning="hm", finish_reason="length")
    behind = completion_of(chat_response(whole))
    assert (behind.text, behind.reasoning, behind.finish_reason) == ("Hi", "hm", "length")
    assert behind.usage == USAGE
    assert behind.request_id == "ray"


@pytest.mark.parametrize("content", [[{"tok": "x"}], ["x"], 7, [{"token": 1}]])
def test_unreadable_logprobs_cost_nothing(content: object) -> None:
    """What can't be read of the log probabilities is left out; the text and the rest come as ever."""
    logprobs = {"content": content}
    response = chat_response(Completion((Choice(text="Hi", finish_reason="stop", logprobs=logprobs),)))
    assert (response.message.content, response.logprobs) == ("Hi", None)
    assert response.raw["choices"][0]["logprobs"] == logprobs
