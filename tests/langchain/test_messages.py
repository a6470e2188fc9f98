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
from langchain_cf_gemma.messages import reasoning_of, to_wire

CALL = {"name": "weather", "args": {"city": "Zürich"}, "id": "call_1", "type": "tool_call"}
WIRE_CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Zürich"}'},
}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
DATA_URL = f"data:image/png;base64,{PNG}"

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
        "ai with Anthropic's tool_use alone",
        AIMessage([{"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Zürich"}}]),
        {"role": "assistant", "content": "", "tool_calls": [WIRE_CALL]},
    ),
    (
        "ai with Anthropic's tool_use as it is streamed",
        AIMessage([{"type": "tool_use", "id": "call_1", "name": "weather", "input": '{"city": "Zürich"}'}]),
        {"role": "assistant", "content": "", "tool_calls": [WIRE_CALL]},
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
        AIMessage(
            [
                {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "cats"}},
                {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": []},
                {"type": "mcp_tool_use", "id": "mcp_1", "name": "echo", "server_name": "s", "input": {}},
                {"type": "mcp_tool_result", "tool_use_id": "mcp_1", "content": []},
                {"type": "server_tool_call", "id": "srv_2", "name": "web_search", "args": {}},
                {"type": "server_tool_result", "tool_call_id": "srv_2", "status": "success"},
                {"type": "text", "text": "Cats sleep."},
            ]
        ),
        {"role": "assistant", "content": "Cats sleep."},
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
                {"type": "text", "text": "Error: "},
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


@pytest.mark.parametrize(
    "block",
    [
        {"type": "audio", "base64": "AAAA", "mime_type": "audio/wav"},
        {"type": "video", "url": "https://example.com/a.mp4"},
        {"type": "file", "base64": "AAAA", "mime_type": "application/pdf"},
        {"type": "document", "source": {"type": "base64", "data": "AAAA", "media_type": "application/pdf"}},
        {"type": "image", "file_id": "file-1"},
        {"type": "image_url", "image_url": {}},
    ],
    ids=lambda block: block["type"],
)
def test_refused_part(block: dict[str, Any]) -> None:
    """What the model doesn't take is refused with a remedy, in people's messages and in tool results."""
    with pytest.raises(UnsupportedContent, match=r"(?i)base64"):
        to_wire([HumanMessage([block])])
    with pytest.raises(UnsupportedContent):
        to_wire([ToolMessage([block], tool_call_id="1")])


def test_refused_messages() -> None:
    """A message that isn't a turn, and an image that the model is said to have made, are refused."""
    with pytest.raises(InvalidRequest, match="RemoveMessage"):
        to_wire([RemoveMessage(id="1")])
    with pytest.raises(UnsupportedContent, match="image"):
        to_wire([AIMessage([{"type": "image", "base64": PNG, "mime_type": "image/png"}])])


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (AIMessage("", tool_calls=[{**CALL, "args": {"of": object()}}]), "call of weather.*object"),
        (AIMessage([{"type": "tool_use", "id": "1", "name": "look", "input": {(1, 2): 3}}]), "call of look.*tuple"),
        (ToolMessage([{"of": object()}], tool_call_id="1"), "tool's result.*object"),
    ],
)
def test_what_json_cannot_hold(message: BaseMessage, told: str) -> None:
    """Arguments and results that can't be written as JSON are refused, and the error names them."""
    with pytest.raises(InvalidRequest, match=told):
        to_wire([message])


def test_invalid_call_goes_back_as_json() -> None:
    """Cut arguments go back as a JSON string, since a back-end refuses a conversation that it can't decode."""
    cut = '{"city": "Zür'
    message = AIMessage("", invalid_tool_calls=[{"name": "weather", "args": cut, "id": "call_1", "error": None}])
    (call,) = to_wire([message])[0]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == cut


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
