"""The input schema that Cloudflare publishes for the model, rewritten as shapes.

Source: cloudflare-docs, workers-ai-models/gemma-4-26b-a4b-it.json (2026-11). One thing is looser, because live tests
found the service so: `response_format.json_schema` may be the bare schema.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from cf_gemma.request.schema import (
    BOOLEAN,
    OBJECT,
    Shape,
    array,
    integer,
    nullable,
    number,
    one_of,
    record,
    string,
    tagged,
)

_TEXT_PART: Final = record("type text", type=one_of("text"), text=string())
_TEXT: Final = Shape(("string", "array"), items=_TEXT_PART)
_USER_PART: Final = record(
    "type",
    type=one_of("text", "image_url", "video_url", "input_audio", "file"),
    text=string(),
    image_url=record(url=string(), detail=one_of("auto", "low", "high")),
    video_url=record(url=string()),
    input_audio=record(data=string(), format=one_of("wav", "mp3")),
    file=record(file_data=string(), file_id=string(), filename=string()),
)
_ASSISTANT_PART: Final = record("type", type=one_of("text", "refusal"), text=string(), refusal=string())
_CALL: Final = record("name arguments", name=string(), arguments=string())
_TOOL_CALL: Final = tagged(
    "type",
    function=record("id type function", id=string(), function=_CALL),
    custom=record("id type custom", id=string(), custom=record("name input", name=string(), input=string())),
)
MESSAGE: Final = tagged(
    "role",
    developer=record("role content", content=_TEXT, name=string()),
    system=record("role content", content=_TEXT, name=string()),
    user=record("role content", content=Shape(("string", "array"), items=_USER_PART, least=1), name=string()),
    assistant=record(
        "role",
        content=Shape(("string", "null", "array"), items=_ASSISTANT_PART),
        refusal=nullable(string()),
        name=string(),
        audio=record("id", id=string()),
        tool_calls=array(_TOOL_CALL),
        function_call=_CALL,
    ),
    tool=record("role content tool_call_id", content=_TEXT, tool_call_id=string()),
    function=record("role content name", content=string(), name=string()),
)
_FUNCTION: Final = record("name", name=string(), description=string(), parameters=OBJECT, strict=nullable(BOOLEAN))
_GRAMMAR: Final = record("definition syntax", definition=string(), syntax=one_of("lark", "regex"))
_CUSTOM_FORMAT: Final = tagged("type", text=record(), grammar=record("type grammar", grammar=_GRAMMAR))
_TOOL: Final = tagged(
    "type",
    function=record("type function", function=_FUNCTION),
    custom=record("type custom", custom=record("name", name=string(), description=string(), format=_CUSTOM_FORMAT)),
)
_NAMED: Final = record("name", name=string())
_TOOL_CHOICE: Final = replace(
    tagged(
        "type",
        function=record("type function", function=_NAMED),
        custom=record("type custom", custom=_NAMED),
        allowed_tools=record(
            "type allowed_tools",
            allowed_tools=record("mode tools", mode=one_of("auto", "required"), tools=array(OBJECT)),
        ),
    ),
    types=("string", "object"),
    enum=("none", "auto", "required"),
)
_JSON_SCHEMA: Final = record(name=string(), description=string(), schema=OBJECT, strict=nullable(BOOLEAN))
_RESPONSE_FORMAT: Final = tagged(
    "type", text=record(), json_object=record(), json_schema=record("type json_schema", json_schema=_JSON_SCHEMA)
)
_PLACE: Final = record(city=string(), country=string(), region=string(), timezone=string())

OPTIONS: Final = record(
    skip_special_tokens=BOOLEAN,
    model=string(),
    audio=record(
        "voice format",
        voice=Shape(("string", "object"), fields={"id": string()}, required=("id",)),
        format=one_of("wav", "aac", "mp3", "flac", "opus", "pcm16"),
    ),
    frequency_penalty=nullable(number(-2, 2)),
    logit_bias=nullable(OBJECT),
    logprobs=nullable(BOOLEAN),
    top_logprobs=nullable(integer(0, 20)),
    max_tokens=nullable(integer()),
    max_completion_tokens=nullable(integer()),
    metadata=nullable(OBJECT),
    modalities=nullable(array(one_of("text", "audio"))),
    n=nullable(integer(1, 128)),
    parallel_tool_calls=BOOLEAN,
    prediction=record("type content", type=one_of("content"), content=_TEXT),
    presence_penalty=nullable(number(-2, 2)),
    reasoning_effort=nullable(one_of("low", "medium", "high")),
    chat_template_kwargs=record(enable_thinking=BOOLEAN, clear_thinking=BOOLEAN),
    response_format=_RESPONSE_FORMAT,
    seed=nullable(integer()),
    stop=Shape(("string", "array", "null"), items=string(), least=1, most=4),
    store=nullable(BOOLEAN),
    stream=nullable(BOOLEAN),
    stream_options=record(include_usage=BOOLEAN, include_obfuscation=BOOLEAN),
    temperature=nullable(number(0, 2)),
    tool_choice=_TOOL_CHOICE,
    tools=array(_TOOL),
    top_p=nullable(number(0, 1)),
    user=string(),
    web_search_options=record(
        search_context_size=one_of("low", "medium", "high"),
        user_location=record("type approximate", type=one_of("approximate"), approximate=_PLACE),
    ),
    function_call=Shape(("string", "object"), enum=("none", "auto"), fields={"name": string()}, required=("name",)),
    functions=array(_FUNCTION, 1, 128),
)
"""What both forms of a request may have besides."""

PROMPT: Final = record("prompt", prompt=string(1))
MESSAGES: Final = record("messages", messages=array(MESSAGE, 1))
