"""What the service takes, and how it says that it doesn't."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest

from cf_gemma.emulator.edge.validation import check
from cf_gemma.emulator.faults import Refusal

USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def png(width: int, height: int) -> str:
    """The data URL of a PNG's beginning, which is all that is looked at."""
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + b"\x08\x02\0\0\0"
    return f"data:image/png;base64,{base64.b64encode(head).decode()}"


def image(url: Any) -> dict[str, Any]:
    """A user message with an image."""
    return {"role": "user", "content": [{"type": "image_url", "image_url": url}]}


def assistant(arguments: Any) -> dict[str, Any]:
    """A body whose second message calls a tool with these arguments."""
    call = {**CALL, "function": {"name": "f", "arguments": arguments}}
    return {"messages": [USER, {"role": "assistant", "tool_calls": [call]}]}


AUDIO = {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]}
WRAPPED = {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}
BARE = {"type": "json_schema", "json_schema": {"type": "object"}}
LOOSE_TOOL = {"type": "function", "function": {"name": "f", "description": False}}
OTHER_TOOL = {"type": "function", "function": {"name": "g"}}

GOOD: dict[str, dict[str, Any]] = {
    "prompt": {"prompt": "Hi"},
    "nulls": {"messages": [USER], "temperature": None, "stop": None, "max_tokens": None, "stream": None, "n": None},
    "unknown keys": {"messages": [{**USER, "cache_control": {}}], "top_k": 64, "enable_thinking": False},
    "bounds": {"messages": [USER], "temperature": 2, "top_p": 0, "top_logprobs": 20, "n": 128, "stop": ["a"] * 4},
    "tool round": {
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
            USER,
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c", "name": "f", "content": "42"},
        ],
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "max_tokens": 4_096,
    },
    "image": {"messages": [image({"url": png(10, 10), "detail": "low"})]},
    "wrapped schema": {"messages": [USER], "response_format": WRAPPED},
    "bare schema": {"messages": [USER], "response_format": BARE},
    "assistant without content": {"messages": [USER, {"role": "assistant"}]},
}

BAD: dict[str, tuple[Any, int, str]] = {
    "not an object": ([], 5006, "Type mismatch of '/', 'object' not in 'array'"),
    "empty": ({}, 5006, "required properties at '/' are 'prompt', required properties at '/' are 'messages'"),
    "both forms": ({"prompt": "Hi", "messages": [USER]}, 5006, "2 matches"),
    "empty prompt": ({"prompt": ""}, 5006, "Length of '/prompt' must be >= 1 not met"),
    "no messages": ({"messages": []}, 5006, "Length of '/messages' must be >= 1 not met"),
    "role": ({"messages": [{"role": "robot", "content": "x"}]}, 5006, "enum robot not in developer,system,user"),
    "no role": ({"messages": [{"content": "x"}]}, 5006, "enum None not in developer"),
    "content": (
        {"messages": [{"role": "user", "content": None}]},
        5006,
        "'/messages/0/content', 'string,array' not in 'null'",
    ),
    "no content": ({"messages": [{"role": "user"}]}, 5006, "required properties at '/messages/0' are 'role,content'"),
    "tool result": (
        {"messages": [USER, {"role": "tool", "content": {"a": 1}, "tool_call_id": "c"}]},
        5006,
        "'/messages/1/content'",
    ),
    "tool id": ({"messages": [USER, {"role": "tool", "content": "x"}]}, 5006, "'role,content,tool_call_id'"),
    "object arguments": (assistant({}), 5006, "'/messages/1/tool_calls/0/function/arguments'"),
    "cut arguments": (assistant("{"), 8006, "function.arguments must be valid JSON"),
    "temperature": ({"messages": [USER], "temperature": 3}, 5006, "'/temperature' must be <= 2"),
    "top_p": ({"messages": [USER], "top_p": -0.1}, 5006, "'/top_p' must be >= 0"),
    "stop": ({"messages": [USER], "stop": ["a"] * 5}, 5006, "Length of '/stop' must be <= 4"),
    "max_tokens type": ({"messages": [USER], "max_tokens": "5"}, 5006, "'/max_tokens', 'integer,null' not in 'string'"),
    "boolean is no integer": ({"messages": [USER], "n": True}, 5006, "'integer,null' not in 'boolean'"),
    "max_tokens": ({"messages": [USER], "max_tokens": 0}, 8006, "Invalid data for max_tokens"),
    "reasoning_effort": ({"messages": [USER], "reasoning_effort": "none"}, 5006, "enum none not in low,medium,high"),
    "tool_choice": ({"messages": [USER], "tools": [TOOL], "tool_choice": "any"}, 8001, "Invalid input"),
    "tool description": ({"messages": [USER], "tools": [LOOSE_TOOL]}, 8001, "Invalid input"),
    "flat tool": ({"messages": [USER], "tools": [{"name": "f", "parameters": {}}]}, 8001, "Invalid input"),
    "forced without tools": ({"messages": [USER], "tool_choice": "required"}, 8001, "tool_choice needs tools"),
    "unknown tool": ({"messages": [USER], "tools": [TOOL], "tool_choice": OTHER_TOOL}, 8001, "names g"),
    "response_format": (
        {"messages": [USER], "response_format": {"type": "xml"}},
        5006,
        "enum xml not in text,json_object,json_schema",
    ),
    "null format": ({"messages": [USER], "response_format": None}, 5006, "Type mismatch of '/response_format'"),
    "image as a string": (
        {"messages": [image(png(10, 10))]},
        5006,
        "Type mismatch of '/messages/0/content/0/image_url'",
    ),
    "small image": (
        {"messages": [image({"url": png(1, 1)})]},
        8006,
        "image dimensions must be at least 10px (got 1x1)",
    ),
    "image address": ({"messages": [image({"url": "https://example.com/a.png"})]}, 8006, "data URL"),
    "broken base64": ({"messages": [image({"url": "data:image/png;base64,%"})]}, 8006, "cannot identify"),
    "audio": ({"messages": [AUDIO]}, 8006, "input_audio"),
}


@pytest.mark.parametrize("body", GOOD.values(), ids=GOOD)
def test_taken(body: dict[str, Any]) -> None:
    """What the published schema allows is taken, and so is a bare schema for the answer."""
    assert check(body).body is body


@pytest.mark.parametrize(("body", "code", "words"), BAD.values(), ids=BAD)
def test_refused(body: Any, code: int, words: str) -> None:
    """What the service refuses is refused with its code, in words that name the place."""
    with pytest.raises(Refusal) as caught:
        check(body)
    assert caught.value.fault.code == code
    assert words in caught.value.fault.message
    assert code != 5006 or caught.value.fault.message.startswith("oneOf at '/' not met, ")


def test_every_cause_is_listed() -> None:
    """A refusal starts with the form that wasn't meant, as the published ones do, and then lists all causes."""
    with pytest.raises(Refusal) as caught:
        check({"messages": [USER], "temperature": 3, "n": 0})
    assert caught.value.fault.message == (
        "oneOf at '/' not met, 0 matches: required properties at '/' are 'prompt', '/n' must be >= 1, "
        "'/temperature' must be <= 2"
    )


def test_read() -> None:
    """What engines see: defaults filled in, one shape for every spelling."""
    request = check({"prompt": "Hi"})
    assert request.messages == [USER]
    assert (request.max_tokens, request.n, request.thinking, request.stream) == (256, 1, True, False)
    assert (request.tool_choice, request.stop, request.json_schema) == ("auto", (), None)
    request = check(
        {
            **GOOD["tool round"],
            "stop": "x",
            "response_format": WRAPPED,
            "chat_template_kwargs": {"enable_thinking": False},
        }
    )
    assert (request.tool_choice, request.forced_tool) == ("required", "f")
    assert (request.stop, request.json_schema, request.thinking) == (("x",), {}, False)
    assert check(GOOD["bare schema"]).json_schema == {"type": "object"}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [TOOL]}}
    assert check({"messages": [USER], "tools": [TOOL], "tool_choice": allowed}).tool_choice == "required"
