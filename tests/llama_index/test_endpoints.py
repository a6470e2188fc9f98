"""The eight endpoints over real sockets: whole answers, streams, errors at the call, connections that close."""

import asyncio
import gc
import time

import pytest
from inline_snapshot import snapshot
from llama_index.core.base.llms.types import ChatMessage, TextBlock, ThinkingBlock, ToolCallBlock
from llama_index.core.prompts import PromptTemplate

from cf_gemma.emulator import CUT, Fault, Reply, ToolCallSpec
from cf_gemma.errors import CapacityExceeded, InvalidRequest, ReasoningBudgetExceeded, StreamTruncated

from .conftest import Call, Connect, Emulate, Watched, assert_left

HELLO = [ChatMessage(role="user", content="hello")]
RICH = Reply(
    "Two and two make four.",
    reasoning="Add them up.",
    tool_calls=[ToolCallSpec("add", {"a": 2, "b": 2}), ToolCallSpec("add", {"a": 3, "b": 3})],
    usage=(12, 34),
)
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}]


def test_chat(gemma: Connect, call: Call) -> None:
    """Reasoning, text and both calls, with usage, the same over each wire."""
    llm, emulator = gemma([RICH])
    response = call(llm, "chat", HELLO, tools=TOOLS)
    thinking, text, *calls = response.message.blocks
    assert thinking == ThinkingBlock(content="Add them up.")
    assert text == TextBlock(text="Two and two make four.")
    assert [(block.tool_name, block.tool_kwargs) for block in calls] == [
        ("add", {"a": 2, "b": 2}),
        ("add", {"a": 3, "b": 3}),
    ]
    facts = response.additional_kwargs
    assert (facts["prompt_tokens"], facts["completion_tokens"], facts["total_tokens"]) == (12, 34, 46)
    assert facts["finish_reason"] == "tool_calls"
    assert facts["cost"] > 0
    assert response.raw["usage"]["prompt_tokens"] == 12
    assert len(emulator.requests) == 1


def test_stream_chat(gemma: Connect, call: Call) -> None:
    """The stream's last response is the answer that chat gives, and its deltas add up to it."""
    llm, _ = gemma([RICH, RICH])
    whole = call(llm, "chat", HELLO, tools=TOOLS)
    *steps, last = call(llm, "stream_chat", HELLO, tools=TOOLS)
    assert [block.model_dump(exclude={"tool_call_id"}) for block in last.message.blocks] == [
        block.model_dump(exclude={"tool_call_id"}) for block in whole.message.blocks
    ]
    assert "".join(step.delta for step in [*steps, last]) == whole.message.content
    assert "".join(step.additional_kwargs.get("thinking_delta", "") for step in steps) == "Add them up."
    assert last.raw["choices"][0]["finish_reason"] == last.additional_kwargs["finish_reason"] == "tool_calls"
    assert (last.raw["usage"]["prompt_tokens"], last.raw["usage"]["completion_tokens"]) == (12, 34)
    assert last.additional_kwargs["total_tokens"] == 46
    ids = [block.tool_call_id for block in last.message.blocks if isinstance(block, ToolCallBlock)]
    shown = {block.tool_call_id for step in steps for block in step.message.blocks if isinstance(block, ToolCallBlock)}
    assert shown == set(ids)
    assert len(set(ids)) == 2


def test_complete(gemma: Connect, call: Call) -> None:
    """The text; reasoning and usage beside it."""
    llm, _ = gemma([Reply("Four.", reasoning="Add.", usage=(12, 34))])
    response = call(llm, "complete", "2 + 2?")
    assert response.text == "Four."
    assert response.additional_kwargs["total_tokens"] == 46
    assert response.raw["choices"][0]["message"]["reasoning_content"] == "Add."


def test_stream_complete(gemma: Connect, call: Call) -> None:
    """Cumulative text, deltas that add up, usage at the end."""
    llm, _ = gemma([Reply("Four, of course.", reasoning="Add.", usage=(12, 34))])
    steps = call(llm, "stream_complete", "2 + 2?")
    assert "".join(step.delta for step in steps) == steps[-1].text == "Four, of course."
    assert "".join(step.additional_kwargs.get("thinking_delta", "") for step in steps) == "Add."
    assert steps[-1].raw["usage"]["completion_tokens"] == 34


@pytest.mark.parametrize("method", ["complete", "stream_complete"])
def test_a_budget_eaten_by_thinking(model: Connect, call: Call, method: str) -> None:
    """An empty string doesn't pass for an answer."""
    llm, _ = model([Reply("never said", reasoning="so many thoughts")])
    with pytest.raises(ReasoningBudgetExceeded, match="max_tokens") as caught:
        call(llm, method, "hard question", max_tokens=2)
    assert caught.value.partial.reasoning == "so many"
    assert caught.value.partial.usage.completion_tokens == 2


@pytest.mark.parametrize("method", ["chat", "stream_chat"])
def test_chat_shows_unfinished_thought(model: Connect, call: Call, method: str) -> None:
    """What there is is returned, with its finish reason."""
    llm, _ = model([Reply("never said", reasoning="so many thoughts")])
    response = call(llm, method, HELLO, max_tokens=2)
    last = response[-1] if isinstance(response, list) else response
    assert last.message.blocks == [ThinkingBlock(content="so many")]
    assert last.additional_kwargs["finish_reason"] == "length"


def test_parameters_by_precedence(model: Connect) -> None:
    """The call beats additional_kwargs, which beat the fields; None says nothing."""
    llm, emulator = model(
        ["Hi"] * 4,
        temperature=0.1,
        top_p=0.5,
        max_tokens=100,
        additional_kwargs={"temperature": 0.2, "seed": 1, "user": "me"},
    )
    llm.complete("a")
    llm.complete("a", temperature=0.0, max_tokens=5)
    llm.chat(HELLO, temperature=None, seed=2)
    llm.temperature = 0.9
    llm.additional_kwargs = {}
    llm.complete("a")
    sent = [
        tuple(request.json.get(name) for name in ("temperature", "max_tokens", "seed", "top_p", "user"))
        for request in emulator.requests
    ]
    assert sent == [
        (0.2, 100, 1, 0.5, "me"),
        (0.0, 5, 1, 0.5, "me"),
        (0.2, 100, 2, 0.5, "me"),
        (0.9, 100, None, 0.5, None),
    ]


def test_what_is_not_set_is_not_sent(model: Connect) -> None:
    """No parameter is made up but those that the service needs."""
    llm, emulator = model(["Hi"])
    llm.complete("a", max_tokens=9)
    body = emulator.requests[0].json
    assert body == snapshot(
        {
            "messages": [{"role": "user", "content": "a"}],
            "max_tokens": 9,
            "chat_template_kwargs": {"enable_thinking": True},
        }
    )


@pytest.mark.parametrize("thinking", [True, False])
def test_thinking_is_always_said(model: Connect, thinking: bool) -> None:
    """A change of the service's default changes nothing here."""
    llm, emulator = model(["Hi"] * 3, thinking=thinking)
    llm.complete("a")
    llm.complete("a", thinking=not thinking)
    modes = [request.json["chat_template_kwargs"]["enable_thinking"] for request in emulator.requests]
    assert modes == [thinking, not thinking]


def test_the_system_prompt(model: Connect, call: Call) -> None:
    """It is said by complete and predict, as LLM's docstring promises; chat leaves the messages to the caller."""
    llm, emulator = model(["Hi"] * 4, system_prompt="Be brief.")
    call(llm, "complete", "a")
    call(llm, "predict", PromptTemplate("a"))
    call(llm, "chat", HELLO)
    call(llm, "complete", "a", formatted=True)
    roles = [[message["role"] for message in request.json["messages"]] for request in emulator.requests]
    assert roles == [["system", "user"], ["system", "user"], ["user"], ["user"]]


def test_completion_to_prompt(model: Connect, call: Call) -> None:
    """A prompt of one's own is applied, unless the prompt is formatted already."""
    llm, emulator = model(["Hi"] * 2, completion_to_prompt=lambda prompt: f"<<{prompt}>>")
    call(llm, "complete", "a")
    call(llm, "complete", "a", formatted=True)
    assert [request.json["messages"][0]["content"] for request in emulator.requests] == ["<<a>>", "a"]


def test_empty_messages(model: Connect, call: Call) -> None:
    """Refused before any I/O."""
    llm, emulator = model(["Hi"])
    with pytest.raises(InvalidRequest, match="empty"):
        call(llm, "chat", [])
    assert emulator.requests == []


@pytest.mark.parametrize("method", ["chat", "complete", "stream_chat", "stream_complete"])
def test_errors_come_at_the_call(model: Connect, method: str) -> None:
    """Not at the first step of the stream: wrappers that retry or fail over see them."""
    llm, _ = model([Fault(429, 3040)] * 2, max_retries=0)
    argument = HELLO if "chat" in method else "hello"
    with pytest.raises(CapacityExceeded) as caught:
        getattr(llm, method)(argument)
    assert caught.value.status_code == 429

    async def run() -> None:
        with pytest.raises(CapacityExceeded):
            await getattr(llm, f"a{method}")(argument)

    asyncio.run(run())


def test_a_cut_stream(gemma: Connect, call: Call) -> None:
    """A stream that was cut is an error that holds what had arrived, not a short answer."""
    llm, _ = gemma([Reply("one two three", error=CUT)])
    with pytest.raises(StreamTruncated) as caught:
        call(llm, "stream_chat", HELLO)
    assert caught.value.partial.text.startswith("one")


def test_an_error_in_mid_stream(gemma: Connect, call: Call) -> None:
    """An error event raises its type; what came before has been handed out."""
    llm, _ = gemma([Reply("one two", error=Fault(429, 3040))])
    with pytest.raises(CapacityExceeded) as caught:
        call(llm, "stream_chat", HELLO)
    assert caught.value.partial.text == "one two"


def test_an_early_break_closes_the_connection(emulate: Emulate, connect: Connect) -> None:
    """Tokens that nobody reads are not generated, and not paid for."""
    engine = Watched()
    llm = connect(emulate(engine))
    for response in llm.stream_chat(HELLO):
        if response.delta:
            break
    del response
    gc.collect()
    assert_left(engine)


def test_a_stream_that_is_never_read_closes_its_connection(emulate: Emulate, connect: Connect) -> None:
    """The request has gone out at the call; dropping the stream ends it."""
    engine = Watched()
    llm = connect(emulate(engine))
    stream = llm.stream_complete("hello")
    del stream
    gc.collect()
    assert_left(engine)


@pytest.mark.parametrize("how", ["aclose", "break", "cancel", "unread"])
def test_leaving_an_asynchronous_stream(emulate: Emulate, connect: Connect, how: str) -> None:
    """aclose(), leaving the loop, cancelling the task and never reading each close the connection."""
    engine = Watched()
    llm = connect(emulate(engine))

    async def read() -> None:
        stream = await llm.astream_chat(HELLO)
        if how == "unread":
            return
        async for response in stream:
            if response.delta and how != "cancel":
                break
        if how == "aclose":
            await stream.aclose()

    async def run() -> None:
        task = asyncio.create_task(read())
        if how == "cancel":
            await asyncio.sleep(0.1)
            task.cancel()
        await asyncio.wait([task])
        gc.collect()
        assert await asyncio.to_thread(engine.left.wait, 1.0)
        assert task.cancelled() == (how == "cancel")

    asyncio.run(run())
    assert_left(engine)


def test_three_event_loops_three_requests(model: Connect) -> None:
    """Evaluators and extractors run one loop after the other; no call is sent twice, and none fails."""
    llm, emulator = model(["one", "two", "three"])
    assert [asyncio.run(llm.acomplete("?")).text for _ in range(3)] == ["one", "two", "three"]
    assert len(emulator.requests) == 3


def test_the_first_token_is_not_held_back(model: Connect) -> None:
    """A stream is handed on as it comes."""
    llm, _ = model([Reply("one two three", gap=0.1)])
    stream = llm.stream_chat(HELLO)
    next(response for response in stream if response.delta)
    began = time.perf_counter()
    rest = list(stream)
    assert time.perf_counter() - began > 0.1
    assert rest[-1].message.content == "one two three"
