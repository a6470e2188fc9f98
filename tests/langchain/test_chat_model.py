"""The chat model against the emulator: five ways to one answer, and what an application relies on."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models.chat_model_stream import ChatModelStream
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.runnables import ConfigurableField

from cf_gemma import errors
from cf_gemma.emulator import CUT, Fault, Reply, ScriptedEngine, ToolCallSpec
from cf_gemma.queue.flow import PollPolicy
from langchain_cf_gemma.errors import GemmaError
from tests.langchain.conftest import OTHER_MODEL, watched

if TYPE_CHECKING:
    import threading
    from collections.abc import Awaitable, Callable, Iterator

    from cf_gemma.emulator.chat import ChatRequest
    from cf_gemma.emulator.engines import Event
    from langchain_cf_gemma import ChatCloudflareGemma
    from tests.langchain.conftest import Emulate

# LangChain's event streams (v3) are in beta, and say so at every call.
pytestmark = pytest.mark.filterwarnings("ignore:.*is in beta")

FULL = Reply(
    "Rome is sunny, I'd say.",
    reasoning="Two cities. Ask for both.",
    tool_calls=[ToolCallSpec("weather", {"city": "Rom", "days": [1, 2]}, id="a"), ToolCallSpec("now", "{}", id="b")],
)
REPLIES = {
    "text": Reply("Rome is sunny."),
    "reasoning": Reply("Rome is sunny.", reasoning="Let me think. It's summer."),
    "parallel calls": FULL,
    "same call twice": Reply(tool_calls=[ToolCallSpec("add", {"a": 1}, id="a"), ToolCallSpec("add", {"a": 2}, id="b")]),
    "no arguments": Reply(tool_calls=[ToolCallSpec("now", "", id="a")]),
    "cut call": Reply(
        tool_calls=[ToolCallSpec("add", {"a": 1}, id="a"), ToolCallSpec("delete", '{"path": "/home/an', id="b")],
        finish_reason="length",
    ),
    "cut thinking": Reply("", reasoning="Let me think about", finish_reason="length"),
}


async def _invoke(model: ChatCloudflareGemma) -> AIMessage:
    return model.invoke("Hi")


async def _ainvoke(model: ChatCloudflareGemma) -> AIMessage:
    return await model.ainvoke("Hi")


async def _stream(model: ChatCloudflareGemma) -> AIMessage:
    first, *rest = model.stream("Hi")
    return first + rest


async def _astream(model: ChatCloudflareGemma) -> AIMessage:
    first, *rest = [chunk async for chunk in model.astream("Hi")]
    return first + rest


async def _v3(model: ChatCloudflareGemma) -> AIMessage:
    stream = model.stream_events("Hi", version="v3")
    assert isinstance(stream, ChatModelStream)
    return stream.output


async def _av3(model: ChatCloudflareGemma) -> AIMessage:
    stream = await model.astream_events("Hi", version="v3")
    return await stream.output


WAYS = [_invoke, _ainvoke, _stream, _astream, _v3, _av3]
VARIES = ("id", "created", "request_id", "headers", "output_version", "neurons", "total_cost", "token_usage")


def facts(message: AIMessage) -> dict[str, Any]:
    """What must be the same however the answer was fetched."""
    metadata = {name: value for name, value in message.response_metadata.items() if name not in VARIES}
    assert message.response_metadata.keys() >= {"id", "created", "request_id", "headers", "neurons", "total_cost"}
    return {
        "text": message.text,
        "reasoning": message.additional_kwargs.get("reasoning_content"),
        "tool_calls": message.tool_calls,
        "invalid": [(call["id"], call["name"]) for call in message.invalid_tool_calls],
        "usage": message.usage_metadata,
        "metadata": metadata,
        "blocks": [block["type"] for block in message.content_blocks if "tool_call" not in block["type"]],
    }


@pytest.mark.parametrize("endpoint", ["run", "chat_completions"])
@pytest.mark.parametrize("tool_calls", ["whole", "fragments", "finaliser", "position"])
@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
async def test_one_truth(emulate: Emulate, reply: Reply, tool_calls: str) -> None:
    """Invoked, streamed or as events, in v0 or v1, sync or async: the message is the same."""
    messages: list[dict[str, Any]] = []
    for output_version, wire_streaming in ((None, False), ("v1", "auto")):
        wire = {"output_version": output_version, "wire_streaming": wire_streaming}
        emulated = emulate([reply] * len(WAYS), tool_calls=tool_calls, **wire)
        messages += [facts(await way(emulated.model)) for way in WAYS]
    assert messages[0]["text"] == reply.text
    assert messages[0]["usage"]["output_tokens"] > 0
    assert messages[0]["metadata"]["model_name"] == "@cf/google/gemma-4-26b-a4b-it"
    for way, one in zip([*WAYS, *WAYS], messages, strict=True):
        assert one == messages[0], way.__name__


async def test_cut_call_is_never_valid(emulate: Emulate) -> None:
    """Arguments that `max_tokens` cut off are an invalid call in every way, and the valid call beside it stays."""
    emulated = emulate([REPLIES["cut call"]] * len(WAYS))
    for way in WAYS:
        message = await way(emulated.model)
        assert [call["args"] for call in message.tool_calls] == [{"a": 1}], way.__name__
        (invalid,) = message.invalid_tool_calls
        assert invalid["args"].startswith('{"path": "/home/an'), way.__name__


@pytest.mark.parametrize("way", [_stream, _astream])
async def test_v1_stream_keeps_reasoning_and_call_apart(
    emulate: Emulate, way: Callable[..., Awaitable[AIMessage]]
) -> None:
    """In v1 content a stream's reasoning and its first tool call are two blocks, in the order in which they came."""
    message = await way(emulate([FULL], output_version="v1").model)
    assert [block["type"] for block in message.content_blocks] == ["reasoning", "text", "tool_call", "tool_call"]
    assert message.content == message.content_blocks


async def test_last_chunk(emulate: Emulate) -> None:
    """Usage, and all facts that aren't content, come once, on the chunk that says it is the last."""
    *others, last = emulate([FULL]).model.stream("Hi")
    assert last.chunk_position == "last"
    assert last.usage_metadata is not None
    assert last.response_metadata["finish_reason"] == "tool_calls"
    assert not any(chunk.usage_metadata or "finish_reason" in chunk.response_metadata for chunk in others)
    assert len({chunk.id for chunk in (*others, last)}) == 1


async def test_stream_usage_off(emulate: Emulate) -> None:
    """`stream_usage=False` leaves usage out of streams, for the model or for one call."""
    silent = emulate([FULL] * 2, stream_usage=False).model
    assert (await _stream(silent)).usage_metadata is None
    first, *rest = silent.stream("Hi", stream_usage=True)
    assert (first + rest).usage_metadata is not None
    first, *rest = emulate([FULL]).model.stream("Hi", stream_usage=None)
    assert (first + rest).usage_metadata is not None


@pytest.mark.parametrize("way", WAYS)
async def test_broken_stream(emulate: Emulate, way: Callable[..., Awaitable[AIMessage]]) -> None:
    """An answer that breaks off raises an error of both families that holds what had arrived."""
    emulated = emulate([Reply("Rome is sunny.", error=CUT)], wire_streaming=True)
    with pytest.raises(errors.StreamTruncated) as caught:
        await way(emulated.model)
    assert isinstance(caught.value, GemmaError)
    assert caught.value.partial_message is not None
    assert "Rome is sunny.".startswith(caught.value.partial_message.text)


@pytest.mark.parametrize("way", WAYS)
async def test_refusal_of_the_service(emulate: Emulate, way: Callable[..., Awaitable[AIMessage]]) -> None:
    """What the service says instead of an answer is raised, typed, with its code."""
    emulated = emulate([Fault(429, 4006)], max_retries=2)
    with pytest.raises(errors.QuotaExhausted) as caught:
        await way(emulated.model)
    assert isinstance(caught.value, GemmaError)
    assert (caught.value.status, caught.value.code, caught.value.is_retryable) == (429, 4006, False)
    assert len(emulated.requests) == 1


@pytest.mark.parametrize("way", ["invoke", "stream"])
async def test_refusal_in_a_trace(emulate: Emulate, way: str) -> None:
    """Tracers are told the status, Cloudflare's code, and the id to quote to Cloudflare."""
    metadata: list[dict[str, Any]] = []

    class Tracer(BaseCallbackHandler):
        def on_llm_error(self, error: BaseException, *, response: Any, **_: Any) -> None:
            metadata.append(response.generations[0][0].message.response_metadata)

    model = emulate([Fault(429, 3040)]).model
    with pytest.raises(errors.CapacityExceeded) as caught:
        list(getattr(model, way)("Hi", {"callbacks": [Tracer()]}))
    assert metadata[0]["status_code"] == 429
    assert metadata[0]["body"]["code"] == 3040
    assert metadata[0]["request_id"] == caught.value.request_id


async def test_retries(emulate: Emulate) -> None:
    """`max_retries` is heeded: what may pass is sent again."""
    emulated = emulate([Fault(503, 3050), "Hi!"], max_retries=1)
    assert emulated.model.invoke("Hi").text == "Hi!"
    assert len(emulated.requests) == 2


class Watched(ScriptedEngine):
    """An engine that shows whether it was told to stop."""

    def __init__(self) -> None:
        super().__init__(Reply("word " * 500, gap=0.02), repeat=True)
        self.stops: list[threading.Event] = []

    def generate(self, request: ChatRequest, cancelled: threading.Event) -> Iterator[Event]:
        """The same, and keeps the sign to stop."""
        self.stops.append(cancelled)
        return super().generate(request, cancelled)


@pytest.mark.parametrize("way", ["stream", "astream", _ainvoke, _astream, "events", "aevents"])
async def test_left_stream_stops_the_service(emulate: Emulate, way: Any) -> None:
    """Who leaves a stream early, or cancels its task, closes the connection, so that the service stops."""
    engine = Watched()
    model = emulate(engine).model
    if way == "stream":
        stream = model.stream("Hi")
        next(stream)
        stream.close()
    elif way == "astream":
        astream = model.astream("Hi")
        await anext(astream)
        await astream.aclose()
    elif callable(way):
        task = asyncio.create_task(way(model))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait([task])
    elif way == "events":
        events = iter(model.stream_events("Hi", version="v3"))
        next(events)
        del events
        gc.collect()
    else:
        async with await model.astream_events("Hi", version="v3") as aevents:
            await anext(aiter(aevents))
    stopped = await asyncio.to_thread(engine.stops[0].wait, 2)
    assert stopped


@pytest.mark.parametrize("way", [_ainvoke, _astream, _av3])
async def test_loop_is_never_blocked(emulate: Emulate, way: Callable[..., Awaitable[AIMessage]]) -> None:
    """While an answer comes, other tasks of the event loop run, from the model's first call on."""
    answer, longest, _ = await watched(way(emulate([Reply("word " * 20, gap=0.03)]).model))
    assert answer.text == "word " * 20
    assert longest < 0.25  # of 0.6 s that the answer takes


async def test_parameters(emulate: Emulate) -> None:
    """Fields and call arguments go out under the service's names; a call's own come first, and `stop=[]` is none."""
    emulated = emulate(["Hi!"] * 3, temperature=0.5, max_tokens=100, stop=[], seed=7, extra_body={"top_k": 3})
    emulated.model.invoke("Hi")
    body = emulated.body
    assert {name: body[name] for name in ("temperature", "max_tokens", "seed", "top_k")} == {
        "temperature": 0.5,
        "max_tokens": 100,
        "seed": 7,
        "top_k": 3,
    }
    assert "stop" not in body
    emulated.model.invoke("Hi", stop=["."], temperature=0, max_completion_tokens=50)
    assert (emulated.body["stop"], emulated.body["temperature"], emulated.body["max_tokens"]) == (["."], 0, 50)
    emulated.model.temperature = 0.9
    emulated.model.invoke("Hi", stop_sequences=["!"])
    assert (emulated.body["stop"], emulated.body["temperature"]) == (["!"], 0.9)


async def test_same_call_same_body(emulate: Emulate) -> None:
    """The same call sends the same bytes, so that recordings match."""
    emulated = emulate(["Hi!"] * 2)
    history = [HumanMessage("Hi"), AIMessage("", tool_calls=[{"name": "now", "args": {}, "id": None}])]
    for _ in range(2):
        emulated.model.invoke(history)
    first, second = (json.dumps(request.json) for request in emulated.requests)
    assert first == second


async def test_model_per_call(emulate: Emulate) -> None:
    """`model=` of a call reaches the wire, and the message says so."""
    emulated = emulate(["Hi!"] * 2)
    assert emulated.model.invoke("Hi", model=OTHER_MODEL).response_metadata["model_name"] == OTHER_MODEL
    assert emulated.requests[0].path.endswith(OTHER_MODEL)


@pytest.mark.parametrize(
    "arguments", [{"temprature": 1}, {"api_key": "canary"}, {"temperature": 3}, {"stop": list("abcde")}]
)
async def test_bad_call_argument(emulate: Emulate, arguments: dict[str, Any]) -> None:
    """An unknown or impossible argument of a call is refused before anything is sent."""
    emulated = emulate(["Hi!"])
    with pytest.raises(errors.InvalidRequest) as caught:
        emulated.model.invoke("Hi", **arguments)
    assert isinstance(caught.value, GemmaError)
    assert "canary" not in str(caught.value)
    assert emulated.requests == []


async def test_several_answers(emulate: Emulate) -> None:
    """`n` answers come as generations, and are refused in a stream, which could show one only."""
    emulated = emulate(["A", "B"], n=2)
    result = emulated.model.generate([[HumanMessage("Hi")]])
    assert len(result.generations[0]) == 2
    with pytest.raises(errors.InvalidRequest, match="n must be 1"):
        next(emulated.model.stream("Hi"))


async def test_batch_sums_its_usage(emulate: Emulate) -> None:
    """`generate` of several prompts tells their usage together."""
    emulated = emulate([Reply("A", usage=(1, 2)), Reply("B", usage=(3, 4))])
    result = emulated.model.generate([[HumanMessage("Hi")], [HumanMessage("Hi")]])
    assert result.llm_output is not None
    assert result.llm_output["token_usage"]["total_tokens"] == 10
    assert result.llm_output["token_usage"]["prompt_tokens_details"] == {"cached_tokens": 0}


async def test_thinking(emulate: Emulate) -> None:
    """`thinking` is explicit on the wire, per model and per call."""
    emulated = emulate(["Hi!"] * 2)
    emulated.model.invoke("Hi")
    assert emulated.body["chat_template_kwargs"]["enable_thinking"] is True
    emulated.model.invoke("Hi", thinking=False)
    assert emulated.body["chat_template_kwargs"]["enable_thinking"] is False


@pytest.mark.parametrize("output_version", ["v0", "v1"])
async def test_own_message_goes_back(emulate: Emulate, output_version: str) -> None:
    """A message of ours goes back in a tool loop whole, and without its reasoning after the loop."""
    emulated = emulate([FULL, "Sunny.", "Bye."], output_version=output_version)
    asked = HumanMessage("Weather?")
    answer = await _stream(emulated.model)
    results = [ToolMessage("sun", tool_call_id="a"), ToolMessage("noon", tool_call_id="b")]
    emulated.model.invoke([asked, answer, *results])
    sent = emulated.body["messages"][1]
    assert sent["content"] == ""
    assert sent["reasoning_content"] == sent["reasoning"] == f"{FULL.reasoning}\n{FULL.text}"
    assert [call["id"] for call in sent["tool_calls"]] == ["a", "b"]
    emulated.model.invoke([asked, answer, *results, HumanMessage("Thanks.")])
    assert "reasoning_content" not in emulated.body["messages"][1]
    assert emulated.body["messages"][1]["content"] == FULL.text


TOOLS = [{"name": name, "description": "Adds.", "parameters": {"type": "object"}} for name in ("add", "now")]


@pytest.mark.parametrize("way", [_invoke, _ainvoke, _stream, _astream, _v3, _av3])
async def test_required_call_that_is_not_made(emulate: Emulate, way: Callable[..., Awaitable[AIMessage]]) -> None:
    """A required call that doesn't come is asked for once more, unless something was shown; then it is an error."""
    emulated = emulate([Reply(""), FULL, "No.", "No!"], max_retries=2)
    model: Any = emulated.model.bind_tools(TOOLS, tool_choice="any")
    assert len((await way(model)).tool_calls) == 2
    with pytest.raises(errors.ToolChoiceNotHonoured) as caught:
        await way(model)
    assert isinstance(caught.value, GemmaError)
    assert caught.value.partial_message is not None
    assert caught.value.partial_message.text.startswith("No")
    assert len(emulated.requests) == (4 if way in (_invoke, _ainvoke) else 3)


@pytest.mark.parametrize("switch", [{"streaming": False}, {"disable_streaming": True}])
async def test_streaming_switches(emulate: Emulate, switch: dict[str, bool]) -> None:
    """`streaming=False` and `disable_streaming` give one whole message from `stream`."""
    (message,) = emulate([FULL], **switch).model.stream("Hi")
    assert message.text == FULL.text
    assert not isinstance(message, AIMessageChunk)


async def test_streaming_survives_configuration(emulate: Emulate) -> None:
    """A model that LangChain rebuilds with other fields streams as before, or not, if that was asked for."""
    for streaming, chunks in (({}, True), ({"streaming": None}, True), ({"streaming": False}, False)):
        model = emulate([FULL], **streaming).model.configurable_fields(temperature=ConfigurableField(id="heat"))
        assert (len(list(model.stream("Hi", {"configurable": {"heat": 0.3}}))) > 1) is chunks


async def test_queue_frees_json_of_its_fence(emulate: Emulate, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON that was asked for comes out of the queue without its fence, too; other text stays as it is."""
    monkeypatch.setattr("cf_gemma.queue.batch.Batch.policy", PollPolicy(first=0.01, longest=0.01))
    fenced = '```json\n{"a": 1}\n```'
    model = emulate([Reply(fenced)] * 2).model
    (free,) = model.batch_queue(["Hi"], response_format={"type": "json_object"})
    (kept,) = model.batch_queue(["Hi"])
    assert isinstance(free, AIMessage)
    assert isinstance(kept, AIMessage)
    assert (free.text, kept.text) == ('{"a": 1}', fenced)


async def test_no_streaming_with_tools(emulate: Emulate) -> None:
    """`disable_streaming="tool_calling"` streams until tools are bound."""
    model = emulate([FULL] * 2, disable_streaming="tool_calling").model
    assert len(list(model.stream("Hi"))) > 1
    assert len(list(model.bind_tools(TOOLS).stream("Hi"))) == 1
