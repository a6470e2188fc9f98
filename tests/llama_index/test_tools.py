"""Tools: what is asked for, what may be executed, and the loop there and back."""

import copy
import json
from typing import Any

import pytest
from inline_snapshot import snapshot
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ImageBlock, TextBlock
from llama_index.core.tools import FunctionTool, ToolMetadata
from llama_index.core.tools.calling import call_tool_with_selection
from pydantic import BaseModel, Field

from cf_gemma import Choice, Completion, InvalidToolCall, TextDelta, ToolCallDelta
from cf_gemma.emulator import Reply, ToolCallSpec
from cf_gemma.errors import InvalidRequest, ToolChoiceNotHonoured
from llama_index_cf_gemma import CloudflareGemma, InvalidOutput
from llama_index_cf_gemma.responses import StreamedChat, chat_response

from .conftest import Call, Connect
from .test_messages import PNG, PNG_URL


def add(a: int, b: int = 0) -> int:
    """Adds two numbers."""
    return a + b


def mul(a: int, b: int) -> int:
    """Multiplies two numbers."""
    return a * b


ADD, MUL = FunctionTool.from_defaults(add), FunctionTool.from_defaults(mul)


@pytest.fixture
def llm() -> CloudflareGemma:
    """A model that is asked for requests, never for answers."""
    return CloudflareGemma(account_id="acct", api_token="token")


def prepared(llm: CloudflareGemma, tools: Any, **options: Any) -> dict[str, Any]:
    """The request for these tools."""
    return llm._prepare_chat_with_tools(tools, user_msg="?", **options)


def test_the_request(llm: CloudflareGemma) -> None:
    """Tools in chat-completions shape, the choice said, parallel calls off unless allowed."""
    request = prepared(llm, [ADD], temperature=0)
    assert request.pop("messages") == [ChatMessage(role="user", content="?")]
    assert request == snapshot(
        {
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "add",
                        "description": """\
add(a: int, b: int = 0) -> int
Adds two numbers.\
""",
                        "parameters": {
                            "properties": {
                                "a": {"title": "A", "type": "integer"},
                                "b": {"default": 0, "title": "B", "type": "integer"},
                            },
                            "required": ["a"],
                            "type": "object",
                        },
                    },
                }
            ],
            "tool_choice": "auto",
            "parallel_tool_calls": False,
            "temperature": 0,
        }
    )


@pytest.mark.parametrize(
    ("options", "choice"),
    [
        ({}, "auto"),
        ({"tool_choice": None}, "auto"),
        ({"tool_required": True}, "required"),
        ({"tool_choice": None, "tool_required": True}, "required"),
        ({"tool_choice": "auto", "tool_required": True}, "auto"),
        ({"tool_choice": "none"}, "none"),
        ({"tool_choice": "required"}, "required"),
        ({"tool_choice": "any"}, "required"),
        ({"tool_choice": "mul"}, {"type": "function", "function": {"name": "mul"}}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "add"}}},
            {"type": "function", "function": {"name": "add"}},
        ),
    ],
)
def test_tool_choice(llm: CloudflareGemma, options: dict, choice: object) -> None:
    """Words, names and dicts; an explicit choice beats tool_required."""
    assert prepared(llm, [ADD, MUL], **options)["tool_choice"] == choice


@pytest.mark.parametrize("parallel", [True, False])
def test_parallel_calls(llm: CloudflareGemma, parallel: bool) -> None:
    """What LlamaIndex allows is what is asked for."""
    assert prepared(llm, [ADD], allow_parallel_tool_calls=parallel)["parallel_tool_calls"] is parallel


@pytest.mark.parametrize("tools", [[], ()])
def test_no_tools(llm: CloudflareGemma, tools: Any) -> None:
    """An agent without tools asks an ordinary question: no empty list, no nulls."""
    assert set(prepared(llm, tools)) == {"messages"}


@pytest.mark.parametrize(
    ("tools", "options", "why"),
    [
        ([ADD], {"tool_choice": "sub"}, "'sub' is none of the tools: add"),
        ([], {"tool_choice": "add"}, "'add' is none of the tools: there are none"),
        ([], {"tool_required": True}, "there are no tools"),
    ],
)
def test_impossible_choices(llm: CloudflareGemma, tools: Any, options: dict, why: str) -> None:
    """Refused with what there is to choose from."""
    with pytest.raises(InvalidRequest, match=why):
        prepared(llm, tools, **options)


def test_strict(llm: CloudflareGemma) -> None:
    """strict=True closes the parameters and requires them all; the tool itself stays as it was."""
    before = copy.deepcopy(ADD.metadata.get_parameters_dict())
    function = prepared(llm, [ADD], strict=True)["tools"][0]["function"]
    assert function["strict"] is True
    assert function["parameters"]["required"] == ["a", "b"]
    assert function["parameters"]["additionalProperties"] is False
    assert ADD.metadata.get_parameters_dict() == before


def test_long_and_missing_descriptions(llm: CloudflareGemma) -> None:
    """More than 1,024 characters are sent; none is left out, since the service refuses null."""
    long = FunctionTool.from_defaults(add, description="x" * 2000)
    nameless = FunctionTool(fn=add, metadata=ToolMetadata(name="add", description=None))
    described, bare = (tool["function"] for tool in prepared(llm, [long, nameless])["tools"])
    assert len(described["description"]) == 2000
    assert "description" not in bare


def test_the_history_is_not_changed(llm: CloudflareGemma) -> None:
    """The user's message is appended to a copy."""
    history = [ChatMessage(role="user", content="earlier")]
    request = prepared(llm, [ADD], chat_history=history)
    assert [message.content for message in request["messages"]] == ["earlier", "?"]
    assert len(history) == 1


def test_a_user_message_object(llm: CloudflareGemma) -> None:
    """A ChatMessage is as good as a text; none at all is fine too."""
    message = ChatMessage(role="user", content="x")
    assert llm._prepare_chat_with_tools([ADD], user_msg=message)["messages"] == [message]
    assert llm._prepare_chat_with_tools([ADD], chat_history=[message])["messages"] == [message]


def selections(llm: CloudflareGemma, response: ChatResponse, **options: bool) -> list[tuple[str, str, dict]]:
    """The calls to execute, as tuples."""
    calls = llm.get_tool_calls_from_response(response, **options)
    return [(call.tool_id, call.tool_name, call.tool_kwargs) for call in calls]


def test_calls_in_the_middle_of_a_stream(llm: CloudflareGemma) -> None:
    """Agents ask at every step: what can be read so far, never an error."""
    translate = StreamedChat()
    pieces = [
        TextDelta("Calling."),
        ToolCallDelta(0, "c1", "add", ""),
        ToolCallDelta(0, arguments='{"a": 12, "b"'),
        ToolCallDelta(0, arguments=': "x'),
        ToolCallDelta(0, arguments='y"}'),
    ]
    seen = [selections(llm, translate(piece), error_on_no_tool_call=False) for piece in pieces]
    assert seen == [
        [],
        [("c1", "add", {})],
        [("c1", "add", {"a": 12})],
        [("c1", "add", {"a": 12, "b": "x"})],
        [("c1", "add", {"a": 12, "b": "xy"})],
    ]


def test_no_call_where_one_is_expected(llm: CloudflareGemma) -> None:
    """An error by default, an empty list where the caller says so."""
    response = chat_response(Completion((Choice(text="No.", finish_reason="stop"),)))
    assert selections(llm, response, error_on_no_tool_call=False) == []
    with pytest.raises(ValueError, match="Expected at least one tool call"):
        llm.get_tool_calls_from_response(response)


@pytest.mark.parametrize("error_on_no_tool_call", [True, False])
def test_only_unusable_calls(llm: CloudflareGemma, error_on_no_tool_call: bool) -> None:
    """An agent must not take a cut call for a final answer that says nothing."""
    cut = InvalidToolCall("c", "add", '{"a": 1', "cut off")
    response = chat_response(Completion((Choice(calls=(cut,), finish_reason="length"),)))
    with pytest.raises(InvalidOutput, match=r"'add': cut off.*max_tokens") as caught:
        selections(llm, response, error_on_no_tool_call=error_on_no_tool_call)
    assert caught.value.partial.finish_reason == "length"


@pytest.mark.parametrize("method", ["chat_with_tools", "stream_chat_with_tools"])
def test_one_call_where_parallel_is_off(gemma: Connect, call: Call, method: str) -> None:
    """The model made two; LlamaIndex sees the first, in streams too."""
    llm, emulator = gemma([Reply(tool_calls=[ToolCallSpec("add", {"a": 1}), ToolCallSpec("mul", {"a": 2, "b": 3})])])
    responses = call(llm, method, [ADD, MUL], user_msg="?")
    for response in responses if isinstance(responses, list) else [responses]:
        names = [name for _, name, _ in selections(llm, response, error_on_no_tool_call=False)]
        assert names in ([], ["add"])
        assert len(response.message.additional_kwargs.get("tool_calls", [])) == len(names)
    assert names == ["add"]
    assert emulator.requests[0].json["parallel_tool_calls"] is False


@pytest.mark.parametrize("method", ["chat_with_tools", "stream_chat_with_tools"])
def test_two_calls_where_parallel_is_on(gemma: Connect, call: Call, method: str) -> None:
    """Both, with ids of their own."""
    llm, _ = gemma([Reply(tool_calls=[ToolCallSpec("add", {"a": 1}), ToolCallSpec("add", {"a": 2, "b": 3})])])
    responses = call(llm, method, [ADD, MUL], user_msg="?", allow_parallel_tool_calls=True)
    last = responses[-1] if isinstance(responses, list) else responses
    (first_id, *first), (second_id, *second) = selections(llm, last)
    assert (first, second) == (["add", {"a": 1}], ["add", {"a": 2, "b": 3}])
    assert first_id != second_id


@pytest.mark.parametrize("method", ["chat_with_tools", "stream_chat_with_tools"])
def test_cut_arguments_are_never_executed(gemma: Connect, call: Call, method: str) -> None:
    """A call that max_tokens cut is no call, although its beginning reads well."""
    llm, _ = gemma([Reply(tool_calls=[ToolCallSpec("add", '{"a": 1, "b": 2')], finish_reason="length")])
    responses = call(llm, method, [ADD], user_msg="?")
    last = responses[-1] if isinstance(responses, list) else responses
    with pytest.raises(InvalidOutput, match="add"):
        selections(llm, last, error_on_no_tool_call=False)
    assert last.message.additional_kwargs["invalid_tool_calls"][0]["arguments"] == '{"a": 1, "b": 2'


def test_predict_and_call(gemma: Connect, call: Call) -> None:
    """The model's call is executed; a required call with one tool goes out in the form that is enforced."""
    llm, emulator = gemma([Reply(tool_calls=[ToolCallSpec("add", {"a": 1, "b": 2})])])
    answer = call(llm, "predict_and_call", [ADD], user_msg="1 + 2?", tool_required=True)
    assert answer.response == "3"
    assert emulator.requests[0].json["tool_choice"] == {"type": "function", "function": {"name": "add"}}


def test_a_required_call_that_the_model_doesn_t_make(gemma: Connect, call: Call) -> None:
    """Asked once more, then a typed error; never an empty answer."""
    llm, emulator = gemma([""] * 2)
    with pytest.raises(ToolChoiceNotHonoured):
        call(llm, "chat_with_tools", [ADD, MUL], user_msg="?", tool_required=True)
    assert len(emulator.requests) == 2


def test_there_and_back(gemma: Connect, call: Call) -> None:
    """Call, execution, result, answer: the reasoning goes back with the call, the ids match, the roles are right."""
    llm, emulator = gemma([Reply(reasoning="Add.", tool_calls=[ToolCallSpec("add", {"a": 1, "b": 2})]), "It is 3."])
    history = [ChatMessage(role="user", content="1 + 2?")]
    response = call(llm, "chat_with_tools", [ADD], chat_history=history)
    (selection,) = llm.get_tool_calls_from_response(response)
    output = call_tool_with_selection(selection, [ADD])
    result = ChatMessage(role="tool", blocks=output.blocks, additional_kwargs={"tool_call_id": selection.tool_id})
    final = call(llm, "chat_with_tools", [ADD], chat_history=[*history, response.message, result])
    assert final.message.content == "It is 3."
    asked, called, answered = emulator.requests[1].json["messages"]
    assert asked == {"role": "user", "content": "1 + 2?"}
    assert called["reasoning"] == called["reasoning_content"] == "Add."
    assert json.loads(called["tool_calls"][0]["function"]["arguments"]) == {"a": 1, "b": 2}
    assert answered == {"role": "tool", "tool_call_id": selection.tool_id, "name": "add", "content": "3"}


def test_images_of_parallel_results(gemma: Connect, call: Call) -> None:
    """Results stay together; their images follow in one user turn, and say whose they are."""
    llm, emulator = gemma(["A chart."])
    calls = [{"id": f"c{number}", "function": {"name": "plot", "arguments": "{}"}} for number in (1, 2)]
    results = [
        ChatMessage(
            role="tool",
            blocks=[TextBlock(text="plotted"), ImageBlock(image=PNG)],
            additional_kwargs={"tool_call_id": f"c{number}"},
        )
        for number in (1, 2)
    ]
    history = [
        ChatMessage(role="user", content="Plot."),
        ChatMessage(role="assistant", additional_kwargs={"tool_calls": calls}),
        *results,
    ]
    call(llm, "chat", history)
    messages = emulator.requests[0].json["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "tool", "user"]
    shown = [part for part in messages[-1]["content"] if part["type"] == "image_url"]
    assert [part["image_url"]["url"] for part in shown] == [PNG_URL] * 2
    labels = [part["text"] for part in messages[-1]["content"] if part["type"] == "text"]
    assert ["c1" in labels[0], "c2" in labels[1]] == [True, True]


class Node(BaseModel):
    """A tree, whose schema refers to itself."""

    name: str = Field(description="What it is called")
    children: list["Node"] = []


def test_a_recursive_tool_schema(gemma: Connect, call: Call) -> None:
    """Its own fields and what recurs travel with the tool, and nested arguments come back."""
    tool = FunctionTool.from_defaults(lambda **node: Node(**node), name="plant", description="", fn_schema=Node)
    tree = {"name": "root", "children": [{"name": "leaf", "children": []}]}
    llm, emulator = gemma([Reply(tool_calls=[ToolCallSpec("plant", tree)])])
    response = call(llm, "chat_with_tools", [tool], user_msg="?")
    (selection,) = llm.get_tool_calls_from_response(response)
    assert selection.tool_kwargs == tree
    parameters = emulator.requests[0].json["tools"][0]["function"]["parameters"]
    assert list(parameters["properties"]) == ["name", "children"]
    assert parameters["properties"]["name"]["description"] == "What it is called"
    assert parameters["properties"]["children"]["items"]["$ref"].removeprefix("#/$defs/") in parameters["$defs"]


def test_messages_survive_a_store(gemma: Connect, call: Call) -> None:
    """What the model said goes to JSON, as chat stores write it, and back onto the wire unchanged."""
    llm, emulator = gemma([Reply("Adding.", reasoning="Add.", tool_calls=[ToolCallSpec("add", {"a": 1})]), "1", "1"])
    question = ChatMessage(role="user", content="1 + 0?")
    response = call(llm, "chat_with_tools", [ADD], chat_history=[question])
    (selection,) = llm.get_tool_calls_from_response(response)
    result = ChatMessage(role="tool", content="1", additional_kwargs={"tool_call_id": selection.tool_id})
    history = [question, response.message, result]
    call(llm, "chat", history)
    call(llm, "chat", [ChatMessage.model_validate_json(message.model_dump_json()) for message in history])
    _, direct, stored = emulator.requests
    assert stored.json["messages"] == direct.json["messages"]
