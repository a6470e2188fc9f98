"""LangChain messages as they go over the wire."""

from __future__ import annotations

import base64
import json
from datetime import date
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)

from cf_gemma.errors import InvalidRequest, UnsupportedContent
from cf_gemma.model.estimate import estimate_request
from cf_gemma.request.messages import wire_messages
from langchain_cf_gemma.messages import reasoning_of, to_wire

CALL = {"name": "weather", "args": {"city": "Zürich"}, "id": "call_1", "type": "tool_call"}
WIRE_CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Zürich"}'},
}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
DATA_URL = f"data:image/png;base64,{PNG}"

SERVER_TOOLS: list[dict[str, Any]] = [
    {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "cats"}},
    {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": []},
    {"type": "mcp_tool_use", "id": "mcp_1", "name": "echo", "server_name": "s", "input": {}},
    {"type": "server_tool_call", "id": "srv_2", "name": "web_search", "args": {}},
    {"type": "server_tool_result", "tool_call_id": "srv_2", "status": "success"},
]


def kind(block: dict[str, Any]) -> dict[str, Any]:
    """A block that is passed on by its type only."""
    return {"type": block["type"]}


TURNS: list[tuple[str, BaseMessage, dict[str, Any]]] = [
    ("system", SystemMessage("Be brief."), {"role": "system", "content": "Be brief."}),
    ("human", HumanMessage("Hi"), {"role": "user", "content": "Hi"}),
    ("human with a name", HumanMessage("Hi", name="ada"), {"role": "user", "content": "Hi", "name": "ada"}),
    ("chat", ChatMessage("Hi", role="developer"), {"role": "developer", "content": "Hi"}),
    ("function", FunctionMessage("7", name="add"), {"role": "function", "content": "7", "name": "add"}),
    ("ai", AIMessage("Hello."), {"role": "assistant", "content": "Hello."}),
    ("ai chunk", AIMessageChunk("Hello."), {"role": "assistant", "content": "Hello."}),
    (
        "ai with a tool call alone",
        AIMessage("", tool_calls=[CALL]),
        {"role": "assistant", "content": "", "tool_calls": [WIRE_CALL]},
    ),
    (
        "ai with a tool call without an id",
        AIMessage("", tool_calls=[{**CALL, "id": None}]),
        {"role": "assistant", "content": "", "tool_calls": [{**WIRE_CALL, "id": "call_0"}]},
    ),
    (
        "ai with Anthropic's tool_use beside the same call",
        AIMessage(
            [
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "call_1", "name": "weather", "input": {}},
            ],
            tool_calls=[CALL],
        ),
        {"role": "assistant", "content": "Let me see.", "tool_calls": [WIRE_CALL]},
    ),
    (
        "ai with a date in a call",
        AIMessage("", tool_calls=[{**CALL, "args": {"day": date(2026, 11, 25)}}]),
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {**WIRE_CALL, "function": {"name": "weather", "arguments": '{"day": "2026-11-25"}'}},
            ],
        },
    ),
    (
        "ai with another provider's own tools",
        AIMessage([*SERVER_TOOLS, {"type": "text", "text": "Cats sleep."}]),
        {"role": "assistant", "content": [{"type": "text", "text": "Cats sleep."}, *map(kind, SERVER_TOOLS)]},
    ),
    (
        "ai with reasoning beside its text",
        AIMessage("", additional_kwargs={"reasoning_content": "Hm."}, tool_calls=[CALL]),
        {"role": "assistant", "content": "", "tool_calls": [WIRE_CALL], "reasoning_content": "Hm."},
    ),
    (
        "ai with v1 content as this package streams it",
        AIMessage(
            [
                {"type": "reasoning", "reasoning": "Hm.", "index": "lc_rs_0"},
                {"type": "text", "text": "Let me ", "index": "lc_txt_0"},
                {"type": "text", "text": "see."},
                {"type": "tool_call", "id": "call_1", "name": "weather", "args": {"city": "Zürich"}},
            ],
            tool_calls=[CALL],
        ),
        {"role": "assistant", "content": "Let me see.", "tool_calls": [WIRE_CALL], "reasoning_content": "Hm."},
    ),
    (
        "ai with Anthropic's thinking",
        AIMessage([{"type": "thinking", "thinking": "Hm.", "signature": "x"}, {"type": "text", "text": "Hello."}]),
        {"role": "assistant", "content": "Hello.", "reasoning_content": "Hm."},
    ),
    (
        "ai with a refusal",
        AIMessage([{"type": "refusal", "refusal": "I won't."}]),
        {"role": "assistant", "content": "I won't."},
    ),
    ("tool", ToolMessage("7", tool_call_id="call_1"), {"role": "tool", "tool_call_id": "call_1", "content": "7"}),
    (
        "tool with a name",
        ToolMessage("7", tool_call_id="call_1", name="add"),
        {"role": "tool", "tool_call_id": "call_1", "content": "7", "name": "add"},
    ),
    (
        "tool that failed",
        ToolMessage("no such city", tool_call_id="call_1", status="error"),
        {"role": "tool", "tool_call_id": "call_1", "content": "Error: no such city"},
    ),
    (
        "tool that failed and says so",
        ToolMessage("Error: no such city", tool_call_id="call_1", status="error"),
        {"role": "tool", "tool_call_id": "call_1", "content": "Error: no such city"},
    ),
    (
        "tool with a date in its data",
        ToolMessage([{"day": date(2026, 11, 25)}], tool_call_id="call_1"),
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": '{"day": "2026-11-25"}'}]},
    ),
    (
        "tool with blocks, one of which is data",
        ToolMessage([{"type": "text", "text": "Found:"}, {"title": "Zürich"}], tool_call_id="call_1", status="error"),
        {
            "role": "tool",
            "tool_call_id": "call_1",
            "content": [
                {"type": "text", "text": "Error:"},
                {"type": "text", "text": "Found:"},
                {"type": "text", "text": '{"title": "Zürich"}'},
            ],
        },
    ),
]


@pytest.mark.parametrize(("message", "wire"), [row[1:] for row in TURNS], ids=[row[0] for row in TURNS])
def test_turn(message: BaseMessage, wire: dict[str, Any]) -> None:
    """Each kind of message becomes the chat-completions message that says the same, without nulls."""
    assert to_wire([message]) == [wire]


IMAGE = {"type": "image_url", "image_url": {"url": DATA_URL}}
IMAGE_AS_BASE64 = {"type": "image_url", "image_url": {"url": PNG}}

PARTS: list[tuple[str, Any, dict[str, Any]]] = [
    ("plain string", "a cat", {"type": "text", "text": "a cat"}),
    (
        "text with Anthropic's cache mark",
        {"type": "text", "text": "a", "cache_control": {}},
        {"type": "text", "text": "a"},
    ),
    ("v1 plain text", {"type": "text-plain", "text": "a", "mime_type": "text/plain"}, {"type": "text", "text": "a"}),
    (
        "Anthropic's text document",
        {"type": "document", "source": {"type": "text", "data": "a", "media_type": "text/plain"}},
        {"type": "text", "text": "a"},
    ),
    ("chat completions' image", {"type": "image_url", "image_url": {"url": DATA_URL}}, IMAGE),
    ("chat completions' image, short", {"type": "image_url", "image_url": DATA_URL}, IMAGE),
    ("v1 image", {"type": "image", "base64": PNG, "mime_type": "image/png", "id": "lc_1"}, IMAGE_AS_BASE64),
    ("v1 image with a data URL", {"type": "image", "url": DATA_URL}, IMAGE),
    ("v0 image", {"type": "image", "source_type": "base64", "data": PNG, "mime_type": "image/png"}, IMAGE_AS_BASE64),
    (
        "bytes",
        {"type": "image", "base64": base64.b64decode(PNG), "mime_type": "image/png"},
        {"type": "image_url", "image_url": {"url": base64.b64decode(PNG)}},
    ),
    (
        "Anthropic's image",
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        IMAGE_AS_BASE64,
    ),
    ("Google's image", {"type": "media", "mime_type": "image/png", "data": PNG}, IMAGE_AS_BASE64),
    (
        "image with its detail",
        {"type": "image", "url": DATA_URL, "extras": {"detail": "low"}},
        {"type": "image_url", "image_url": {"url": DATA_URL, "detail": "low"}},
    ),
]


@pytest.mark.parametrize(("block", "part"), [row[1:] for row in PARTS], ids=[row[0] for row in PARTS])
def test_part(block: Any, part: dict[str, Any]) -> None:
    """Text and images of every dialect become chat-completions parts, in people's messages and in tool results.

    An image stands there as it was given: the client below makes a data: URL of bytes and of base64.
    """
    assert to_wire([HumanMessage([block])]) == [{"role": "user", "content": [part]}]
    tool = ToolMessage("", tool_call_id="1").model_copy(update={"content": [block]})
    assert to_wire([tool])[0]["content"] == [part]


FOREIGN: list[dict[str, Any]] = [
    {"type": "audio", "base64": "AAAA", "mime_type": "audio/wav"},
    {"type": "video", "url": "https://example.com/a.mp4"},
    {"type": "file", "base64": "AAAA", "mime_type": "application/pdf"},
    {"type": "document", "source": {"type": "base64", "data": "AAAA", "media_type": "application/pdf"}},
    {"type": "image", "file_id": "file-1"},
    {"type": "image", "url": "https://example.com/a.png"},
    {"type": "image", "base64": "PHN2Zy8+", "mime_type": "image/svg+xml"},
    {"type": "image_url", "image_url": {}},
    {"type": "container_upload", "file_id": "x"},
]


@pytest.mark.parametrize("block", FOREIGN, ids=lambda block: block["type"])
def test_what_the_model_does_not_take(block: dict[str, Any]) -> None:
    """It is refused with a remedy in the newest question, and elsewhere a line of text stands in its place."""
    question = HumanMessage([{"type": "text", "text": "See:"}, block])
    with pytest.raises(UnsupportedContent, match=r"(?i)messages\[0\].content\[1\]: .*(base64|bytes|convert)"):
        wire_messages(to_wire([question]))
    answered = AIMessage("", tool_calls=[CALL]), ToolMessage([block], tool_call_id="call_1")
    sent = wire_messages(to_wire([question, *answered, HumanMessage("And?")]))
    assert sent[0]["content"].startswith("See:\n[left out: ")
    assert sent[2]["content"].startswith("[left out: " if block in FOREIGN[:-1] else '{"type"')


def test_addresses_and_texts_in_results() -> None:
    """The model reads where a thing is that it can't see, and a text file's text."""
    blocks = [
        {"type": "image", "url": "https://example.com/a.png"},
        {"type": "file", "base64": base64.b64encode(b"a,b").decode(), "mime_type": "text/csv"},
    ]
    *_, answer = wire_messages(
        to_wire([HumanMessage("x"), AIMessage("", tool_calls=[CALL]), ToolMessage(blocks, tool_call_id="call_1")])
    )
    address, text = answer["content"].split("\n")
    assert address.startswith("[left out: ")
    assert address.endswith(", https://example.com/a.png]")
    assert text == "a,b"


OTHER_PROVIDERS: list[dict[str, Any]] = [
    *({"type": name} for name in ("web_search_call", "file_search_call", "code_interpreter_call", "mcp_call")),
    *({"type": name} for name in ("image_generation_call", "compaction", "container_upload", "executable_code")),
    {"type": "redacted_thinking", "data": "x"},
    {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"},
    {"type": "function_call_signature", "signature": "x"},
    {"type": "reasoning_content", "reasoning_content": {"text": "Hm."}},
    {"cachePoint": {"type": "default"}},
    {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
    {"type": "image", "base64": PNG, "mime_type": "image/png"},
    {"type": "audio", "base64": "AAAA", "mime_type": "audio/wav"},
    {"type": "file", "file_id": "x"},
    {"type": "non_standard", "value": {}},
    {"type": "yet_unknown", "text": 7},
]


@pytest.mark.parametrize("block", OTHER_PROVIDERS, ids=lambda block: str(block.get("type")))
def test_answers_of_other_providers(block: dict[str, Any]) -> None:
    """Whatever another model said in a thread, its text and its calls are kept, and the thread goes on."""
    answer = AIMessage([block, {"type": "text", "text": "Cats."}], tool_calls=[CALL])
    messages = [HumanMessage("x"), answer, ToolMessage("7", tool_call_id="call_1"), HumanMessage("y")]
    sent = wire_messages(to_wire(messages))
    assert sent[1] == {"role": "assistant", "content": "Cats.", "tool_calls": [WIRE_CALL]}
    assert estimate_request(to_wire(messages), []) > 0


def test_tool_calls_decide_over_content() -> None:
    """A call that was taken out of `tool_calls` isn't sent; one in the content only counts when it is answered."""
    block = {"type": "tool_use", "id": "call_1", "name": "weather", "input": '{"city": "Zürich"}'}
    alone = AIMessage([block, {"type": "text", "text": "a"}])
    assert to_wire([alone]) == [{"role": "assistant", "content": "a"}]
    assert to_wire([alone, ToolMessage("7", tool_call_id="call_1")])[0]["tool_calls"] == [WIRE_CALL]
    other = {**CALL, "id": "call_2"}
    assert [call["id"] for call in to_wire([AIMessage([block], tool_calls=[other])])[0]["tool_calls"]] == ["call_2"]


def test_refused_messages() -> None:
    """A message that isn't a turn is refused."""
    with pytest.raises(InvalidRequest, match="RemoveMessage"):
        to_wire([RemoveMessage(id="1")])


def test_what_json_cannot_hold() -> None:
    """Arguments and results that can't be written as JSON are past, so they are shown as well as can be."""
    args = {"of": object()}
    call, answer = AIMessage("", tool_calls=[{**CALL, "args": args}]), ToolMessage("", tool_call_id="call_1")
    _, sent, result = wire_messages(
        to_wire([HumanMessage("x"), call, answer.model_copy(update={"content": [{"of": args}]})])
    )
    assert json.loads(sent["tool_calls"][0]["function"]["arguments"])["invalid"] == str(args)
    assert str(args) in result["content"]


def test_invalid_call_goes_back_as_an_object() -> None:
    """Cut arguments go back within an object, since a back-end refuses a conversation with anything else."""
    cut = '{"city": "Zür'
    message = AIMessage("", invalid_tool_calls=[{"name": "weather", "args": cut, "id": "call_1", "error": None}])
    (call,) = wire_messages(to_wire([HumanMessage("x"), message]))[1]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"invalid": cut}


def test_tool_result_blocks_become_tool_messages() -> None:
    """Anthropic's tool results, which are blocks of a human message, go before the rest of that message."""
    message = HumanMessage(
        [
            {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "green"}]},
            {"type": "tool_result", "tool_use_id": "call_2", "content": "unknown", "is_error": True},
            {"type": "text", "text": "And now?"},
        ]
    )
    assert to_wire([message]) == [
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "green"}]},
        {"role": "tool", "tool_call_id": "call_2", "content": "Error: unknown"},
        {"role": "user", "content": [{"type": "text", "text": "And now?"}]},
    ]


def test_reasoning_is_read_once() -> None:
    """Reasoning that stands in both places is read from one."""
    message = AIMessage([{"type": "reasoning", "reasoning": "Hm."}], additional_kwargs={"reasoning_content": "Hm."})
    assert reasoning_of(message) == "Hm."


def test_callers_messages_stay_as_they_are() -> None:
    """Translation changes nothing of what it was given."""
    messages = [row[1] for row in TURNS]
    before = [message.model_copy(deep=True) for message in messages]
    to_wire(messages)
    assert messages == before


def test_arguments_of_any_depth() -> None:
    """A past call can be sent again though its arguments are nested deeper than Python recurses; a result, too."""
    args: dict[str, Any] = {}
    for _ in range(2_000):
        args = {"a": [args]}
    call = AIMessage("", tool_calls=[{"name": "f", "args": args, "id": "x"}])
    wire = to_wire([HumanMessage("Hi"), call, ToolMessage([{"a": args}], tool_call_id="x")])
    _, turn, result = wire_messages(wire)
    sent = json.loads(turn["tool_calls"][0]["function"]["arguments"])
    assert sent.get("invalid", "{").startswith('{"a": [{"a": [')
    # How deep Python's own JSON goes depends on its version: where it goes so far, the result is whole.
    whole = '{"a": ' + '{"a": [' * 2_000 + "{}" + "]}" * 2_000 + "}"
    assert "nested too deep" in result["content"] or result["content"] == whole


def test_images_of_the_responses_api() -> None:
    """An `input_image` block is an image."""
    url = "data:image/png;base64,AAAA"
    (turn,) = to_wire([HumanMessage([{"type": "input_image", "image_url": url, "detail": "low"}])])
    assert turn["content"] == [{"type": "image_url", "image_url": {"url": url, "detail": "low"}}]
