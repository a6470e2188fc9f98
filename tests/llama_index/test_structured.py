"""Structured output four ways: by schema and by forced tool, whole and streamed, sync and async."""

import asyncio
import json
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.llms.structured_llm import StructuredLLM
from llama_index.core.program.function_program import FunctionCallingProgram
from llama_index.core.program.utils import num_valid_fields
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate
from llama_index.core.prompts.base import SelectorPromptTemplate
from llama_index.core.prompts.utils import is_chat_model
from llama_index.core.types import PydanticProgramMode

from cf_gemma.emulator import Fault, Reply, ToolCallSpec
from cf_gemma.errors import BadRequest, ReasoningBudgetExceeded, ToolChoiceNotHonoured
from llama_index_cf_gemma import InvalidOutput

from .conftest import Call, Calls, Connect, Emulate, Watched, assert_left
from .test_structured_answer import REX, Dog

WAYS = ["structured_predict", "stream_structured_predict"]


def question() -> PromptTemplate:
    """A prompt of each test's own: programs of LlamaIndex's write their parser into the one that they get."""
    return PromptTemplate("A dog from {place}, please.")


def last_of(result: Any) -> Any:
    """What a call returned, or what a stream ended with."""
    return result[-1] if isinstance(result, list) else result


@pytest.mark.parametrize("way", WAYS)
def test_by_schema(gemma: Connect, call: Call, way: str) -> None:
    """The schema is on the wire, thinking is off, the object is whole."""
    llm, emulator = gemma([Reply(REX, reasoning="never shown")])
    dog = last_of(call(llm, way, Dog, question(), place="Oslo"))
    assert dog == Dog.model_validate_json(REX)
    body = emulator.requests[0].json
    schema, asked = body["messages"]
    assert schema["role"] == "system"
    assert schema["content"].startswith("Answer with JSON")
    assert asked == {"role": "user", "content": "A dog from Oslo, please."}
    assert body["response_format"]["json_schema"]["name"] == "Dog"
    assert body["chat_template_kwargs"]["enable_thinking"] is False
    assert "tools" not in body


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "settings",
    [{"pydantic_program_mode": PydanticProgramMode.FUNCTION}, {"should_use_structured_outputs": False}],
    ids=["mode", "flag"],
)
def test_by_tool(gemma: Connect, call: Call, way: str, settings: dict) -> None:
    """The tool is forced in the form that is enforced, in streams too, where core would leave it to the model."""
    llm, emulator = gemma([Reply(tool_calls=[ToolCallSpec("Dog", REX)])], **settings)
    dog = last_of(call(llm, way, Dog, question(), place="Oslo"))
    assert dog == Dog.model_validate_json(REX)
    body = emulator.requests[0].json
    assert body["tool_choice"] == {"type": "function", "function": {"name": "Dog"}}
    assert body["parallel_tool_calls"] is False
    assert body["chat_template_kwargs"]["enable_thinking"] is False
    assert "response_format" not in body


@pytest.mark.parametrize("way", WAYS)
def test_json_as_text_instead_of_a_call(gemma: Connect, call: Call, way: str) -> None:
    """A model that writes the object instead of calling the tool has still given it."""
    llm, _ = gemma([f"Here you are:\n```json\n{REX}\n```"] * 2, pydantic_program_mode=PydanticProgramMode.FUNCTION)
    assert last_of(call(llm, way, Dog, question(), place="Oslo")).name == "Rex"


@pytest.mark.parametrize("way", WAYS)
def test_neither_call_nor_json(gemma: Connect, call: Call, way: str) -> None:
    """The error says that the forced call was not made."""
    llm, _ = gemma(["No dogs here."] * 2, pydantic_program_mode=PydanticProgramMode.FUNCTION)
    with pytest.raises(ToolChoiceNotHonoured):
        call(llm, way, Dog, question(), place="Oslo")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", [PydanticProgramMode.DEFAULT, PydanticProgramMode.FUNCTION, PydanticProgramMode.LLM])
def test_the_system_prompt_is_said(gemma: Connect, call: Call, way: str, mode: PydanticProgramMode) -> None:
    """In all ways, the asynchronous ones too."""
    call_dog = Reply(tool_calls=[ToolCallSpec("Dog", REX)]) if mode is PydanticProgramMode.FUNCTION else REX
    llm, emulator = gemma([call_dog], system_prompt="Only big dogs.", pydantic_program_mode=mode)
    assert last_of(call(llm, way, Dog, question(), place="Oslo")).name == "Rex"
    system = emulator.requests[0].json["messages"][0]
    assert system["role"] == "system"
    assert system["content"].startswith("Only big dogs.")


@pytest.mark.parametrize("by_tool", [False, True], ids=["schema", "tool"])
def test_partial_objects_grow(gemma: Connect, call: Call, by_tool: bool) -> None:
    """Several partial objects, none poorer than the one before, none of them blank; the last is a Dog."""
    reply = Reply(tool_calls=[ToolCallSpec("Dog", REX)]) if by_tool else Reply(REX)
    llm, _ = gemma([reply], should_use_structured_outputs=not by_tool)
    *partials, dog = call(llm, "stream_structured_predict", Dog, question(), place="Oslo")
    richness = [num_valid_fields(partial) for partial in partials]
    assert richness == sorted(richness)
    assert richness[0] > 0
    assert isinstance(dog, Dog)


@pytest.mark.parametrize("way", WAYS)
def test_cut_by_the_limit(gemma: Connect, call: Call, way: str) -> None:
    """The limit is named; partial objects don't pass for the object."""
    llm, _ = gemma([REX])
    with pytest.raises(InvalidOutput, match="max_tokens"):
        call(llm, way, Dog, question(), {"max_tokens": 4}, place="Oslo")


@pytest.mark.parametrize("way", WAYS)
def test_a_budget_eaten_by_thinking(gemma: Connect, call: Call, way: str) -> None:
    """A caller who asks for thinking is told when it left nothing."""
    llm, emulator = gemma([Reply(REX, reasoning="what dogs are there in Oslo")])
    with pytest.raises(ReasoningBudgetExceeded):
        call(llm, way, Dog, question(), {"thinking": True, "max_tokens": 3}, place="Oslo")
    assert emulator.requests[0].json["chat_template_kwargs"]["enable_thinking"] is True


@pytest.mark.parametrize("by_tool", [False, True], ids=["schema", "tool"])
def test_thinking_that_was_asked_for_stays(gemma: Connect, call: Call, by_tool: bool) -> None:
    """Set on the model, it holds for structured output too."""
    reply = Reply(tool_calls=[ToolCallSpec("Dog", REX)]) if by_tool else Reply(REX)
    llm, emulator = gemma([reply], thinking=True, should_use_structured_outputs=not by_tool)
    assert call(llm, "structured_predict", Dog, question(), place="Oslo").name == "Rex"
    assert emulator.requests[0].json["chat_template_kwargs"]["enable_thinking"] is True


@pytest.mark.parametrize("way", WAYS)
def test_what_doesn_t_pass_the_validators(gemma: Connect, call: Call, way: str) -> None:
    """The schema can't say everything; the class's own word is the last."""
    llm, _ = gemma(['{"name": "Rex", "age": 300, "toys": [], "nick": null}'])
    with pytest.raises(InvalidOutput, match="no dog is that old"):
        call(llm, way, Dog, question(), place="Oslo")


@pytest.mark.parametrize("way", WAYS)
def test_the_service_s_errors_pass_through(gemma: Connect, call: Call, way: str) -> None:
    """They keep their type."""
    llm, _ = gemma([Fault(400, 5006)])
    with pytest.raises(BadRequest):
        call(llm, way, Dog, question(), place="Oslo")


@pytest.mark.parametrize("way", WAYS)
def test_events(gemma: Connect, call: Call, way: str, events: list[Any]) -> None:
    """One structured start and end, one LLM call within; partial objects are told of in streams."""
    calls = Calls()
    llm, _ = gemma([REX])
    llm.callback_manager.add_handler(calls)
    dog = last_of(call(llm, way, Dog, question(), place="Oslo"))
    names = [type(event).__name__ for event in events]
    for name in (
        "LLMStructuredPredictStartEvent",
        "LLMStructuredPredictEndEvent",
        "LLMChatStartEvent",
        "LLMChatEndEvent",
    ):
        assert names.count(name) == 1, name
    assert ("LLMStructuredPredictInProgressEvent" in names) == way.startswith("stream")
    assert next(event.output for event in events if type(event).__name__ == "LLMStructuredPredictEndEvent") == dog
    assert calls.ended == 1


def test_llm_kwargs_are_not_changed(gemma: Connect, call: Call) -> None:
    """The caller's dict stays the caller's; what programs take out of it doesn't reach the wire."""
    llm, emulator = gemma([REX])
    options = {"temperature": 0.3, "tool_choice": "required", "tool_required": True, "allow_parallel_tool_calls": True}
    before = dict(options)
    call(llm, "structured_predict", Dog, question(), options, place="Oslo")
    assert options == before
    assert emulator.requests[0].json["temperature"] == 0.3
    assert "tool_choice" not in emulator.requests[0].json


def test_a_prompt_that_chooses_by_model(gemma: Connect, call: Call) -> None:
    """The prompt is told which model it is for, so it chooses its chat variant."""
    chat = ChatPromptTemplate([ChatMessage(role="user", content="chat variant")])
    prompt = SelectorPromptTemplate(PromptTemplate("text variant"), [(is_chat_model, chat)])
    llm, emulator = gemma([REX])
    call(llm, "structured_predict", Dog, prompt)
    assert emulator.requests[0].json["messages"][-1]["content"] == "chat variant"


# core's wrapper calls .json() on partial objects, which pydantic deprecates.
@pytest.mark.filterwarnings("ignore:The `json` method is deprecated")
@pytest.mark.parametrize("streaming", [False, True], ids=["chat", "stream"])
def test_as_structured_llm(gemma: Connect, call: Call, streaming: bool) -> None:
    """The wrapper that agents and engines use; braces in the user's text are no placeholders."""
    llm, emulator = gemma([REX])
    structured = llm.as_structured_llm(Dog)
    assert isinstance(structured, StructuredLLM)
    messages = [ChatMessage(role="user", content='A dog like {"name": "Bo"}')]
    response = last_of(call(structured, "stream_chat" if streaming else "chat", messages))
    assert json.loads(response.message.content) == json.loads(REX)
    assert response.raw == Dog.model_validate_json(REX)
    assert emulator.requests[0].json["messages"][-1]["content"] == 'A dog like {"name": "Bo"}'


@pytest.mark.parametrize("way", ["call", "stream"])
def test_core_s_own_programs(gemma: Connect, way: str) -> None:
    """Refine filters and selectors go through these whatever the settings: the calls are where they look for them."""
    llm, emulator = gemma([Reply(tool_calls=[ToolCallSpec("Dog", REX)])])
    program = FunctionCallingProgram.from_defaults(Dog, llm=llm, prompt=question())
    if way == "call":
        assert program(place="Oslo") == Dog.model_validate_json(REX)
        assert emulator.requests[0].json["tool_choice"] == {"type": "function", "function": {"name": "Dog"}}
    else:
        objects = list(program.stream_call(place="Oslo"))
        assert objects[-1] == Dog.model_validate_json(REX)


def test_several_objects_at_once(gemma: Connect) -> None:
    """A named tool is called once only, so several objects are asked for by `required`."""
    llm, emulator = gemma([Reply(tool_calls=[ToolCallSpec("Dog", REX), ToolCallSpec("Dog", REX)])])
    program = FunctionCallingProgram.from_defaults(Dog, llm=llm, prompt=question(), allow_parallel_tool_calls=True)
    assert program(place="Oslo") == [Dog.model_validate_json(REX)] * 2
    assert emulator.requests[0].json["tool_choice"] == "required"
    assert emulator.requests[0].json["parallel_tool_calls"] is True


@pytest.mark.parametrize(("settings", "thinks"), [({}, False), ({"thinking": True}, True)])
def test_forced_programs_do_not_think(gemma: Connect, settings: dict[str, Any], thinks: bool) -> None:
    """A program that forces its call switches thinking off, as structured_predict does, unless it was set."""
    llm, emulator = gemma([Reply(tool_calls=[ToolCallSpec("Dog", REX)])], **settings)
    FunctionCallingProgram.from_defaults(Dog, llm=llm, prompt=question())(place="Oslo")
    assert emulator.requests[0].json["chat_template_kwargs"]["enable_thinking"] is thinks


def test_leaving_a_structured_stream(emulate: Emulate, connect: Connect) -> None:
    """Closing it early, sync and async, closes the connection."""
    engine = Watched(json.dumps({"name": "word " * 200}))
    llm = connect(emulate(engine))
    stream = llm.stream_structured_predict(Dog, question(), place="Oslo")
    next(stream)
    stream.close()
    assert_left(engine)
    engine = Watched(json.dumps({"name": "word " * 200}))
    llm = connect(emulate(engine))

    async def run() -> None:
        astream = await llm.astream_structured_predict(Dog, question(), place="Oslo")
        await anext(astream)
        await astream.aclose()

    asyncio.run(run())
    assert_left(engine)
