"""The components people build with: agents with tools, and retrieval with a streamed answer, over both back-ends."""

import json
from typing import Any

import pytest
from llama_index.core import Document, get_response_synthesizer
from llama_index.core.agent.workflow import AgentStream, AgentWorkflow, FunctionAgent, ReActAgent, ToolCallResult
from llama_index.core.base.llms.types import ThinkingBlock
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.tools import FunctionTool
from llama_index.core.workflow import Context, JsonSerializer
from llama_index.retrievers.bm25 import BM25Retriever
from pydantic import BaseModel

from cf_gemma.emulator import Reply, ToolCallSpec
from cf_gemma.errors import ConfigurationError, ReasoningBudgetExceeded
from llama_index_cf_gemma import InvalidOutput
from tests.request.template import REVISIONS, rendered

from .conftest import TOKEN, Connect, Emulate, needs

# llama_index/core builds its workflows by reading every attribute of a pydantic object, deprecated ones too.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20"),
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211"),
    pytest.mark.filterwarnings("ignore:is_running called from within a step"),
]

TEXTS = {
    "tides.txt": "Tides are caused by the gravity of the Moon and of the Sun.",
    "bread.txt": "Bread rises because yeast turns sugar into carbon dioxide.",
    "glass.txt": "Glass is made by melting sand with soda and lime.",
}


def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


def weather(city: str) -> str:
    """Tells the weather in a city."""
    return f"Sunny in {city}."


TOOLS = [FunctionTool.from_defaults(add), FunctionTool.from_defaults(weather)]


async def streamed(handler: Any) -> tuple[list[AgentStream], list[ToolCallResult], Any]:
    """What an agent's run shows: the model's steps, the tools' results, the output."""
    events = [event async for event in handler.stream_events()]
    return (
        [event for event in events if type(event) is AgentStream],
        [event for event in events if isinstance(event, ToolCallResult)],
        await handler,
    )


async def test_function_agent(gemma: Connect) -> None:
    """Two tools at once, then the answer; thinking and text visible as they come; the reasoning goes back."""
    llm, emulator = gemma(
        [
            Reply(
                reasoning="Both tools are needed.",
                tool_calls=[ToolCallSpec("add", {"a": 2, "b": 3}), ToolCallSpec("weather", {"city": "Oslo"})],
            ),
            Reply("It is 5, and sunny.", reasoning="Now say it."),
        ]
    )
    agent = FunctionAgent(tools=TOOLS, llm=llm, system_prompt="Use the tools.")
    steps, results, output = await streamed(agent.run("2 + 3? And Oslo?"))
    assert str(output) == "It is 5, and sunny."
    assert sorted(str(result.tool_output) for result in results) == ["5", "Sunny in Oslo."]
    assert "".join(step.thinking_delta or "" for step in steps) == "Both tools are needed.Now say it."
    assert "".join(step.delta for step in steps) == "It is 5, and sunny."
    assert isinstance(output.response.blocks[0], ThinkingBlock)
    assert output.raw["usage"]["total_tokens"] > 0
    first, second = (request.json for request in emulator.requests)
    assert [tool["function"]["name"] for tool in first["tools"]] == ["add", "weather"]
    assert first["parallel_tool_calls"] is True
    roles = [message["role"] for message in second["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "tool"]
    assert second["messages"][2]["reasoning_content"] == "Both tools are needed."
    called = [call["id"] for call in second["messages"][2]["tool_calls"]]
    assert sorted(message["tool_call_id"] for message in second["messages"][3:]) == sorted(called)


async def test_function_agent_without_streaming(gemma: Connect) -> None:
    """The same loop with whole answers."""
    llm, emulator = gemma([Reply(tool_calls=[ToolCallSpec("add", {"a": 2, "b": 3})]), "It is 5."])
    output = await FunctionAgent(tools=TOOLS, llm=llm, streaming=False).run("2 + 3?")
    assert str(output) == "It is 5."
    assert len(emulator.requests) == 2


async def test_function_agent_without_tools(gemma: Connect) -> None:
    """No tools, no tool fields on the wire."""
    llm, emulator = gemma(["Hello."])
    assert str(await FunctionAgent(tools=[], llm=llm).run("Hi")) == "Hello."
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & emulator.requests[0].json.keys()


async def test_the_first_tool_can_be_chosen(gemma: Connect) -> None:
    """`initial_tool_choice` is a tool's name; later turns are free."""
    llm, emulator = gemma([Reply(tool_calls=[ToolCallSpec("add", {"a": 2, "b": 3})]), "It is 5."])
    agent = FunctionAgent(tools=TOOLS, llm=llm, initial_tool_choice="add")
    assert str(await agent.run("2 + 3?")) == "It is 5."
    choices = [request.json["tool_choice"] for request in emulator.requests]
    assert choices == [{"type": "function", "function": {"name": "add"}}, "auto"]


async def test_an_agent_is_not_fooled_by_a_cut_call(gemma: Connect) -> None:
    """A call that the limit cut ends the run with an error, not with an empty answer, and runs nothing."""
    llm, _ = gemma([Reply(tool_calls=[ToolCallSpec("add", '{"a": 2, "b"')], finish_reason="length")])
    with pytest.raises(InvalidOutput, match="max_tokens"):
        await FunctionAgent(tools=TOOLS, llm=llm).run("2 + 3?")


@pytest.mark.parametrize("streaming", [True, False])
async def test_an_agent_is_not_fooled_by_an_unfinished_thought(gemma: Connect, streaming: bool) -> None:
    """Thinking that left no room for an answer ends the run with an error, not with an empty answer."""
    llm, _ = gemma([Reply("Five.", reasoning="One two three four five six")], max_tokens=3)
    with pytest.raises(ReasoningBudgetExceeded, match="max_tokens"):
        await FunctionAgent(tools=TOOLS, llm=llm, streaming=streaming).run("2 + 3?")


class Sum(BaseModel):
    """The result of an addition."""

    value: int


async def test_an_agent_with_an_output_class(gemma: Connect) -> None:
    """The final answer is turned into an object by schema."""
    llm, emulator = gemma([Reply(tool_calls=[ToolCallSpec("add", {"a": 2, "b": 3})]), "It is 5.", '{"value": 5}'])
    output = await FunctionAgent(tools=TOOLS, llm=llm, output_cls=Sum).run("2 + 3?")
    assert output.get_pydantic_model(Sum) == Sum(value=5)
    assert emulator.requests[2].json["response_format"]["json_schema"]["name"] == "Sum"


async def test_react_agent(gemma: Connect) -> None:
    """Text-driven agents read the text alone: reasoning never mixes in."""
    llm, _ = gemma(
        [
            Reply(
                'Thought: I need a tool.\nAction: add\nAction Input: {"a": 2, "b": 3}',
                reasoning="Thought: not this one",
            ),
            "Thought: I can answer without using any more tools.\nAnswer: 5",
        ]
    )
    steps, results, output = await streamed(ReActAgent(tools=TOOLS, llm=llm).run("2 + 3?"))
    assert str(output) == "5"
    assert [str(result.tool_output) for result in results] == ["5"]
    assert "not this one" in "".join(step.thinking_delta or "" for step in steps)


async def test_agent_workflow_with_hand_off(gemma: Connect) -> None:
    """One agent hands over to another, which answers."""
    hand_off = Reply(tool_calls=[ToolCallSpec("handoff", {"to_agent": "poet", "reason": "verse"})])
    llm, _ = gemma([hand_off, "Roses are red."])
    clerk = FunctionAgent(name="clerk", description="Greets.", tools=[], llm=llm, can_handoff_to=["poet"])
    poet = FunctionAgent(name="poet", description="Writes.", tools=[], llm=llm)
    output = await AgentWorkflow(agents=[clerk, poet], root_agent="clerk").run("A poem, please.")
    assert str(output) == "Roses are red."
    assert output.current_agent_name == "poet"


def engine(llm: Any, **synthesis: Any) -> RetrieverQueryEngine:
    """A query engine over the three texts."""
    documents = [Document(text=text, metadata={"file_name": name}) for name, text in TEXTS.items()]
    nodes = SentenceSplitter().get_nodes_from_documents(documents)
    retriever = BM25Retriever.from_defaults(nodes=nodes, similarity_top_k=1)
    return RetrieverQueryEngine(retriever, get_response_synthesizer(llm=llm, **synthesis))


def test_rag_streamed(gemma: Connect) -> None:
    """Retrieved text in the prompt, the answer whole, its source beside it, the usage exact."""
    counter = TokenCountingHandler(tokenizer=lambda text: pytest.fail("counted, though the service told"))
    llm, emulator = gemma(
        [Reply("The Moon and the Sun.", reasoning="It says so.", usage=(50, 9))],
        callback_manager=CallbackManager([counter]),
    )
    response = engine(llm, streaming=True, callback_manager=llm.callback_manager).query("What causes tides?")
    assert "".join(response.response_gen) == "The Moon and the Sun."
    assert [node.metadata["file_name"] for node in response.source_nodes] == ["tides.txt"]
    assert TEXTS["tides.txt"] in str(emulator.requests[0].json["messages"])
    assert (counter.prompt_llm_token_count, counter.completion_llm_token_count) == (50, 9)


@needs(
    "llama-index-core",
    "0.14.25",
    "0.14.22 to 0.14.24 keep the answer until it is whole: https://github.com/run-llama/llama_index/issues/22831",
)
def test_rag_streamed_token_by_token(model: Connect) -> None:
    """An engine hands on what arrives when it arrives."""
    llm, _ = model(["The Moon and the Sun."])
    tokens = engine(llm, streaming=True).query("What causes tides?").response_gen
    assert len([token for token in tokens if token]) > 1


async def test_rag_streamed_async(gemma: Connect) -> None:
    """The same, asynchronous."""
    llm, _ = gemma(["The Moon and the Sun."])
    response = await engine(llm, streaming=True).aquery("What causes tides?")
    assert "".join([token async for token in response.async_response_gen()]) == "The Moon and the Sun."


@pytest.mark.parametrize("mode", [ResponseMode.COMPACT, ResponseMode.REFINE, ResponseMode.TREE_SUMMARIZE])
def test_rag_into_an_object(gemma: Connect, mode: ResponseMode) -> None:
    """A synthesizer with an output class gets a whole object."""

    class Cause(BaseModel):
        """What causes it."""

        bodies: list[str]

    llm, emulator = gemma(['{"bodies": ["Moon", "Sun"]}'])
    response = engine(llm, response_mode=mode, output_cls=Cause).query("What causes tides?")
    assert response.response == Cause(bodies=["Moon", "Sun"])
    assert "response_format" in emulator.requests[0].json


async def test_five_rounds_of_words_and_calls(gemma: Connect) -> None:
    """At each step of an agent that talks while it works, the model's turn is open, in every template revision."""
    call = [ToolCallSpec("add", {"a": 1, "b": 2})]
    calls = [Reply(f"Words {step}.", reasoning=f"Thought {step}.", tool_calls=call) for step in range(5)]
    llm, emulator = gemma([*calls, "Done."])
    workflow = AgentWorkflow.from_tools_or_functions(TOOLS, llm=llm)
    assert str(await workflow.run("Add.")) == "Done."
    assert len(emulator.requests) == 6
    for step, request in enumerate(emulator.requests):
        for revision in REVISIONS:
            prompt = rendered(request.json, revision)
            turn = prompt[prompt.rindex("<|turn>model\n") :]
            assert "<turn|>" not in turn
            if revision not in ("gemma4_v2", "gemma4_v3"):
                seen = [f"Words {number}.\n<channel|><|tool_call>" in turn for number in range(step)]
                assert all(seen)


def now() -> str:
    """Tells the time."""
    return "noon"


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("workflow", [False, True])
async def test_a_slip_goes_back_to_the_model(gemma: Connect, streaming: bool, workflow: bool) -> None:
    """Of two calls the badly written one isn't run, and the model is told why; its next try is."""
    bad, good = ToolCallSpec("add", '{"a": 2, "b"', id="x"), ToolCallSpec("weather", {"city": "Rome"}, id="y")
    script = [
        Reply(tool_calls=[bad, good]),
        Reply(tool_calls=[bad]),
        Reply(tool_calls=[ToolCallSpec("add", FIVE)]),
        "5.",
    ]
    llm, emulator = gemma(script, max_retries=0)
    agent: Any = FunctionAgent(name="a", description="d", tools=TOOLS, llm=llm, streaming=streaming)
    _, results, output = await streamed((AgentWorkflow([agent]) if workflow else agent).run("2 + 3?"))
    assert str(output) == "5."
    assert [str(result.tool_output) for result in results if not result.tool_output.is_error] == ["Sunny in Rome.", "5"]
    contents = {turn["tool_call_id"]: turn["content"] for turn in emulator.requests[1].json["messages"][2:]}
    assert contents["y"] == "Sunny in Rome."
    assert "add was not run: the arguments are not a complete JSON object" in contents["x"]
    (call, _) = sorted(emulator.requests[1].json["messages"][1]["tool_calls"], key=lambda call: call["id"])
    assert json.loads(call["function"]["arguments"]) == {"invalid": '{"a": 2, "b"'}


FIVE = {"a": 2, "b": 3}


async def test_null_stands_for_no_arguments(gemma: Connect) -> None:
    """A tool without parameters is called although the model wrote null."""
    llm, _ = gemma([Reply(tool_calls=[ToolCallSpec("now", "null")]), "Noon."], max_retries=0)
    _, results, _ = await streamed(FunctionAgent(tools=[FunctionTool.from_defaults(now)], llm=llm).run("Time?"))
    assert [str(result.tool_output) for result in results] == ["noon"]


async def test_a_dropped_call_is_told(gemma: Connect, caplog: pytest.LogCaptureFixture) -> None:
    """Where only one call at a time is run, the model learns that the other wasn't, and the log says so."""
    calls = [ToolCallSpec("add", FIVE, id="x"), ToolCallSpec("weather", {"city": "Rome"}, id="y")]
    llm, emulator = gemma([Reply(tool_calls=calls), "5."])
    await FunctionAgent(tools=TOOLS, llm=llm, allow_parallel_tool_calls=False).run("2 + 3?")
    results = {turn["tool_call_id"]: turn["content"] for turn in emulator.requests[1].json["messages"][2:]}
    assert results == {"x": "5", "y": "no result: the call was not run"}
    assert "dropped_tool_calls: 'weather'" in caplog.text


@pytest.mark.parametrize(
    ("reply", "error", "cause"),
    [
        (Reply("5", reasoning="One two three four five"), ReasoningBudgetExceeded, "raise max_tokens"),
        (Reply(""), InvalidOutput, "nothing, twice in a row"),
    ],
)
@pytest.mark.parametrize("streaming", [True, False])
async def test_empty_rounds_end_with_their_cause(
    gemma: Connect, streaming: bool, reply: Reply, error: type[Exception], cause: str
) -> None:
    """ReActAgent asks again after an empty answer; where the next one is empty, too, the run ends, and says why."""
    llm, emulator = gemma([reply] * 3, max_tokens=3, max_retries=0)
    with pytest.raises(error, match=cause):
        await ReActAgent(tools=TOOLS, llm=llm, streaming=streaming).run("2 + 3?")
    assert len(emulator.requests) == 2


async def test_a_context_is_restored_without_the_environment(emulate: Emulate, connect: Connect) -> None:
    """A workflow's Context that holds the model is restored where there is no token; the first call asks for it."""
    llm = connect(emulate(["Hi"]), temperature=0.5)
    agent = FunctionAgent(tools=[], llm=llm)
    context: Any = Context(agent)
    await context.store.set("llm", llm)
    serialized = context.to_dict(serializer=JsonSerializer())
    assert TOKEN not in json.dumps(serialized)
    restored = await Context.from_dict(agent, serialized, serializer=JsonSerializer()).store.get("llm")
    assert restored.to_dict() == llm.to_dict()
    with pytest.raises(ConfigurationError, match="api_token is missing"):
        restored.complete("hello")
