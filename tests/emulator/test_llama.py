"""A real language model behind the emulator: SmolLM2, 135M parameters, which stands in for Gemma 4."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from cf_gemma.emulator import LlamaEngine
from cf_gemma.emulator.chat import ChatRequest
from cf_gemma.emulator.engines import Ending, Engine, Opening, Step
from cf_gemma.emulator.engines.model_file import find_model
from cf_gemma.emulator.faults import Refusal
from cf_gemma.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Caller

PARAMETERS = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
}
MULTIPLY = {"type": "function", "function": {"name": "multiply", "description": "Multiply.", "parameters": PARAMETERS}}
CITY = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 30}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "Weather.", "parameters": CITY}}
PRODUCT = [{"role": "user", "content": "What is 6 times 7?"}]


@pytest.fixture(scope="module")
def engine() -> Iterator[LlamaEngine]:
    """The model, loaded once."""
    with LlamaEngine() as engine:
        yield engine


def answer(response: Any) -> dict[str, Any]:
    """The first choice of a whole answer."""
    assert response.status_code == 200, response.text
    return response.json()["result"]["choices"][0]


def test_is_an_engine(engine: LlamaEngine) -> None:
    """The engine fits the protocol and is called by its model's file."""
    assert isinstance(engine, Engine)
    assert engine.name == "SmolLM2-135M-Instruct.Q4_1.gguf"


def test_answers(serve: Callable[..., Caller], engine: LlamaEngine) -> None:
    """It speaks, twice the same at temperature 0, and neither its path nor its timings show."""
    caller = serve(engine)
    first, second = (caller.run(max_tokens=8, temperature=0) for _ in range(2))
    assert answer(first)["message"]["content"] == answer(second)["message"]["content"] != ""
    usage = first.json()["result"]["usage"]
    assert usage["prompt_tokens"] > 0
    assert 0 < usage["completion_tokens"] <= 8
    assert first.headers["x-emulator-engine"] == engine.name
    assert not {"gguf", "timings"} & set(first.text.replace(".", " ").replace('"', " ").split())


def test_streams(serve: Callable[..., Caller], engine: LlamaEngine) -> None:
    """The stream says what the whole answer says, a token at a time, with the same usage."""
    caller = serve(engine, dialect="S")
    whole = caller.run(max_tokens=8, temperature=0).json()["result"]
    events = caller.events(caller.run(max_tokens=8, temperature=0, stream=True))
    deltas = [event["choices"][0]["delta"].get("content") or "" for event in events[1:-3]]
    assert "".join(deltas) == whole["choices"][0]["message"]["content"]
    assert len([delta for delta in deltas if delta]) >= 4
    assert events[-2]["usage"]["total_tokens"] == whole["usage"]["total_tokens"]


@pytest.mark.parametrize("tools", [[MULTIPLY], [MULTIPLY, WEATHER]])
def test_required_call(serve: Callable[..., Caller], engine: LlamaEngine, tools: list[Any]) -> None:
    """A required call is made, of one tool or of one among several, with arguments that fit its schema."""
    choice = answer(
        serve(engine).run(messages=PRODUCT, tools=tools, tool_choice="required", temperature=0, max_tokens=80)
    )
    assert choice["finish_reason"] == "tool_calls"
    (call,) = choice["message"]["tool_calls"]
    schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in tools}
    jsonschema.validate(json.loads(call["function"]["arguments"]), schemas[call["function"]["name"]])


def test_named_call_streamed(serve: Callable[..., Caller], engine: LlamaEngine) -> None:
    """A named call streams its arguments, which come from the question."""
    named = {"type": "function", "function": {"name": "multiply"}}
    caller = serve(engine, dialect="V", tool_calls="fragments")
    asked: dict[str, Any] = {"messages": PRODUCT, "tools": [MULTIPLY, WEATHER], "tool_choice": named, "temperature": 0}
    events = caller.events(caller.run(**asked, chat_template_kwargs={"enable_thinking": False}, stream=True))
    calls = [
        call for event in events[:-2] for choice in event["choices"] for call in choice["delta"].get("tool_calls", [])
    ]
    assert calls[0]["function"] == {"name": "multiply"}
    assert json.loads("".join(call["function"]["arguments"] for call in calls[1:])) == {"a": 6, "b": 7}
    assert len(calls) > 3


def test_answer_after_a_result(serve: Callable[..., Caller], engine: LlamaEngine) -> None:
    """With the tool's result in the conversation it answers in text, with the result in it."""
    call = {"id": "c", "type": "function", "function": {"name": "multiply", "arguments": '{"a": 6, "b": 7}'}}
    messages = [
        *PRODUCT,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "42"},
    ]
    choice = answer(serve(engine).run(messages=messages, tools=[MULTIPLY], temperature=0, max_tokens=40))
    assert choice["finish_reason"] == "stop"
    assert "42" in choice["message"]["content"]


@pytest.mark.parametrize("wrapped", [True, False])
def test_json_schema(serve: Callable[..., Caller], engine: LlamaEngine, *, wrapped: bool) -> None:
    """An answer in a schema, wrapped or bare, fits it."""
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
        "required": ["name", "age"],
    }
    response_format = {"type": "json_schema", "json_schema": {"name": "p", "schema": schema} if wrapped else schema}
    messages = [{"role": "user", "content": "Anna is 31 years old."}]
    choice = answer(serve(engine).run(messages=messages, response_format=response_format, temperature=0, max_tokens=60))
    assert json.loads(choice["message"]["content"]) == {"name": "Anna", "age": 31}


def test_refusals(serve: Callable[..., Caller], engine: LlamaEngine) -> None:
    """A schema that is none is the client's error, and so is a prompt over the model's own window."""
    caller = serve(engine)
    banana = {"type": "json_schema", "json_schema": {"type": "banana"}}
    assert caller.run(response_format=banana).json()["errors"][0]["code"] == 8001
    response = caller.run(messages=[{"role": "user", "content": "hi " * 9000}])
    assert (response.status_code, response.json()["errors"][0]["code"]) == (413, 5021)


def test_leaving_frees_the_model(serve: Callable[..., Caller], engine: LlamaEngine) -> None:
    """A client that leaves a long answer, or a long prompt, doesn't keep the next one waiting."""
    caller = serve(engine)
    url = f"{caller.ai}/run/@cf/google/gemma-4-26b-a4b-it"
    long = {"messages": [{"role": "user", "content": "word " * 4500}], "stream": True, "max_tokens": 3000}
    with caller.http.stream("POST", url, json=long) as response:
        next(response.iter_bytes())
    began = time.monotonic()
    answer(caller.run(max_tokens=1))
    assert time.monotonic() - began < 15  # reading that prompt takes 24 to 120 s


def test_choices(serve: Callable[..., Caller], engine: LlamaEngine) -> None:
    """Two choices come one after the other and count their prompt once."""
    result = serve(engine).run(n=2, max_tokens=3, seed=1).json()["result"]
    assert [choice["index"] for choice in result["choices"]] == [0, 1]
    assert result["usage"]["completion_tokens"] <= 6


def test_the_stand_in_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in's answers end after so many tokens, however many were asked for; fewer are fewer."""
    monkeypatch.setattr("cf_gemma.emulator.engines.llama.STAND_IN_TOKENS", 5)
    with LlamaEngine(context=512) as engine:
        assert [made(engine, max_tokens)[1:] for max_tokens in (3, 3_000)] == [("length", 3), ("length", 5)]


def test_a_context_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of one's own may fill its context: that ends the answer, and every token of it is counted."""
    monkeypatch.setenv("CF_GEMMA_MODEL", str(find_model()))
    monkeypatch.setattr("cf_gemma.emulator.engines.llama.STAND_IN_TOKENS", 5)
    with LlamaEngine(context=256) as engine:
        prompt, reason, tokens = made(engine, 3_000, "Tell me a long story. " * 33)
    assert (reason, prompt + tokens) == ("length", 256)
    assert tokens > 5


def made(engine: LlamaEngine, max_tokens: int, prompt: str = "Tell me a long story.") -> tuple[int, str, int]:
    """The tokens of a prompt, how its answer ended, and after how many tokens."""
    request = ChatRequest.from_body({"prompt": prompt, "max_tokens": max_tokens, "temperature": 0})
    opening, *steps, ending = list(engine.generate(request, threading.Event()))
    assert isinstance(opening, Opening)
    assert isinstance(ending, Ending)
    made = ending.tokens + sum(step.tokens for step in steps if isinstance(step, Step))
    return opening.prompt_tokens, ending.finish_reason, made


def test_close_at_once() -> None:
    """An engine that is closed as soon as it was made, or in the middle of an answer, closes; and again."""
    LlamaEngine().close()
    engine = LlamaEngine()
    request = ChatRequest.from_body({"prompt": "Tell me a story.", "max_tokens": 2000})
    events = engine.generate(request, threading.Event())
    assert isinstance(next(events), Opening)
    engine.close()
    engine.close()
    with pytest.raises(Refusal, match="the model was closed"):
        list(events)


def test_unloadable_model(tmp_path: Path) -> None:
    """A file that only looks like a model is named in the error."""
    fake = tmp_path / "fake.gguf"
    fake.write_bytes(b"GGUF\3\0\0\0")
    with pytest.raises(ConfigurationError, match=r"llama\.cpp can't load .*fake\.gguf"):
        LlamaEngine(fake)
