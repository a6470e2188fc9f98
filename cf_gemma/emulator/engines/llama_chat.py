"""A chat request in the words of llama.cpp, and llama.cpp's chunks in the words of the engines. Pure.

A small stand-in model has no roles for tools in its template, and left to itself neither calls tools nor keeps to a
schema. So a call that the request asks for is had by constraining the output to the tool's own parameters, and a tool's
result is put in plain words behind the question. A model that was trained on tools gets everything as it came
(`native_body`).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from cf_gemma.emulator.chat import objects
from cf_gemma.emulator.engines.protocol import Ending, Event, Opening, Step
from cf_gemma.emulator.faults import Fault, Refusal
from cf_gemma.model.completion import ReasoningDelta, TextDelta, ToolCallDelta
from cf_gemma.model.json_object import as_object

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cf_gemma.emulator.chat import ChatRequest

Json = dict[str, Any]


def text_body(request: ChatRequest, choice: int = 0) -> Json:
    """What to ask llama.cpp for an answer in text, or in the JSON that the request's schema describes."""
    repeating = request.json_schema is not None or _answered(request)
    penalty: Json = {} if repeating else {"repeat_penalty": 1.1, "repeat_last_n": _REPEAT_WINDOW}
    return _text_options(request, choice) | {"messages": folded(request.messages)} | penalty


def call_body(request: ChatRequest, tool: Json, choice: int = 0) -> Json:
    """What to ask for the arguments of a call of `tool`."""
    intro = f"Function {_signature(tool)}. Reply with the arguments of the call as JSON."
    return _options(request, choice) | {
        "messages": _introduced(intro, folded(request.messages)),
        "max_tokens": request.max_tokens,
        "response_format": _format(tool.get("parameters") or {"type": "object", "properties": {}}),
    }


def pick_body(request: ChatRequest, tools: list[Json], choice: int = 0) -> Json:
    """What to ask for the choice among several tools: the answer is `{"tool": <name>}`."""
    listed = "\n".join(f"- {_signature(tool)}" for tool in tools)
    intro = f"Functions:\n{listed}\nWhich function answers the user? Reply as JSON."
    names = {"enum": [tool["name"] for tool in tools]}
    return _options(request, choice) | {
        "messages": _introduced(intro, folded(request.messages)),
        "max_tokens": _PICK_TOKENS,
        "response_format": _format({"type": "object", "properties": {"tool": names}, "required": ["tool"]}),
    }


def native_body(request: ChatRequest, choice: int = 0) -> Json:
    """The request as it came, for a model whose template knows tools and thinking."""
    tools = {
        key: request.body[key]
        for key in ("tools", "tool_choice", "parallel_tool_calls")
        if request.body.get(key) is not None
    }
    return _text_options(request, choice) | {"messages": request.messages} | tools


def tools_to_call(request: ChatRequest) -> list[Json]:
    """The tools one of which must be called now: none when the request leaves it open, or a result has just come."""
    if request.tool_choice != "required" or _answered(request):
        return []
    return [tool for tool in request.tools if request.forced_tool in (None, tool["name"])]


def folded(messages: Iterable[Mapping[str, Any]]) -> list[Json]:
    """The messages as system, user and assistant turns of text; a tool's result follows the question in its turn."""
    turns: list[Json] = []
    calls: dict[str, Mapping[str, Any]] = {}
    for message in messages:
        role, text = message.get("role"), _text(message.get("content"))
        calls |= {call["id"]: call["function"] for call in objects(message.get("tool_calls")) if "function" in call}
        if role in ("tool", "function"):
            _add_result(turns, text, calls.get(message.get("tool_call_id", ""), message))
        elif role != "assistant" or text:
            turns.append({"role": "system" if role == "developer" else role, "content": text})
    return turns


def events(chunks: Iterable[Json], request: ChatRequest, choice: int = 0, call: Step | None = None) -> Iterator[Event]:
    """The events of one choice. With `call`, the opening step of a tool call, the text is that call's arguments.

    Raises Refusal for what llama.cpp refuses.
    """
    counted, finish_reason, opened = 0, "stop", False
    for chunk in chunks:
        if "error" in chunk:
            raise refusal(chunk["error"])
        if not opened:
            progress = as_object(chunk.get("prompt_progress")) or {}
            yield Opening(progress.get("total", 0), progress.get("cache", 0))
            if call is not None:
                yield call
            opened = True
        for part in chunk["choices"]:
            finish_reason = part["finish_reason"] or finish_reason
            for step in _steps(part, request, choice, into_call=call is not None):
                counted += step.tokens
                yield step
        if "usage" in chunk:
            left = max(0, chunk["usage"]["completion_tokens"] - counted)
            called = call is not None and finish_reason == "stop"
            yield Ending("tool_calls" if called else finish_reason, left, choice=choice)


def _answered(request: ChatRequest) -> bool:
    """Whether a tool's result has just come."""
    return bool(request.messages) and request.messages[-1].get("role") in ("tool", "function")


def refusal(error: Mapping[str, Any]) -> Refusal:
    """llama.cpp's error object as the service would refuse."""
    if error.get("type") == "exceed_context_size_error":
        return Refusal(Fault.overflow(error["n_prompt_tokens"], error["n_ctx"]))
    return Refusal(Fault.of(8001, f"Invalid input: {error.get('message', 'unknown')}"))


def _steps(part: Json, request: ChatRequest, choice: int, *, into_call: bool) -> Iterator[Step]:
    delta, logprobs = part["delta"], _logprobs(part, request)
    if delta.get("reasoning_content"):
        yield Step(ReasoningDelta(delta["reasoning_content"], choice), logprobs=logprobs)
    if delta.get("content"):
        if into_call:
            yield Step(ToolCallDelta(0, arguments=delta["content"], choice=choice))
        else:
            yield Step(TextDelta(delta["content"], choice), logprobs=logprobs)
    for call in objects(delta.get("tool_calls")):
        function = as_object(call.get("function")) or {}
        yield Step(
            ToolCallDelta(call["index"], call.get("id"), function.get("name"), function.get("arguments") or "", choice)
        )


def _logprobs(part: Json, request: ChatRequest) -> tuple[Json, ...] | None:
    if not request.logprobs or not part.get("logprobs"):
        return None
    return tuple(_without_id(entry) for entry in part["logprobs"]["content"])


def _without_id(entry: Json) -> Json:
    """A logprob entry in the published shape: llama.cpp adds the token's number."""
    kept = {key: entry[key] for key in ("token", "logprob", "bytes")}
    alternatives = entry.get("top_logprobs")
    return kept if alternatives is None else kept | {"top_logprobs": [_without_id(other) for other in alternatives]}


def _options(request: ChatRequest, choice: int) -> Json:
    """The sampling parameters. The prompt cache changes answers, so it is off where a repeatable one is wanted."""
    body = {key: request.body[key] for key in _PASSED if request.body.get(key) is not None}
    if choice and "seed" in body:
        body["seed"] += choice
    body |= {"stream": True, "stream_options": {"include_usage": True}, "return_progress": True}
    body["chat_template_kwargs"] = {"enable_thinking": request.thinking}
    body["cache_prompt"] = "seed" not in body and body.get("temperature") != 0
    return body


def _text_options(request: ChatRequest, choice: int) -> Json:
    body = _options(request, choice) | {"max_tokens": request.max_tokens}
    if request.stop:
        body["stop"] = list(request.stop)
    if request.json_schema is not None:
        body["response_format"] = _format(request.json_schema)
    return body


def _introduced(intro: str, turns: list[Json]) -> list[Json]:
    """The turns with an instruction in the system turn, which there may be only one of."""
    if turns and turns[0]["role"] == "system":
        return [{"role": "system", "content": f"{turns[0]['content']}\n\n{intro}"}, *turns[1:]]
    return [{"role": "system", "content": intro}, *turns]


def _add_result(turns: list[Json], text: str, function: Mapping[str, Any]) -> None:
    name, arguments = function.get("name") or "the tool", function.get("arguments")
    result = f"The result of {name}{f' with {arguments}' if arguments else ''} is: {text}"
    if turns and turns[-1]["role"] == "user":
        turns[-1] = {"role": "user", "content": f"{turns[-1]['content']}\n\n{result}"}
    else:
        turns.append({"role": "user", "content": result})


def _text(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    for part in content:
        if part.get("type") not in ("text", "refusal"):
            raise Refusal(
                Fault.of(8006, f"Invalid data for {part.get('type')} - reason this stand-in model reads text only")
            )
    return "".join(part.get("text") or part.get("refusal") or "" for part in content)


def _signature(tool: Json) -> str:
    properties = as_object((as_object(tool.get("parameters")) or {}).get("properties")) or {}
    listed = ", ".join(f"{name}: {schema.get('type', 'any')}" for name, schema in properties.items())
    about = tool.get("description")
    return f"{tool['name']}({listed}){f': {about}' if about else ''}"


def _format(schema: Json) -> Json:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def picked(text: str) -> str:
    """The name in the answer to `pick_body`."""
    return json.loads(text)["tool"]


_PASSED: Final = (
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "top_k",
    "min_p",
)
_PICK_TOKENS: Final = 128
_REPEAT_WINDOW: Final = 32
"""Tokens that a small model is kept from repeating, or it repeats one line for ever. With more of them it couldn't
quote a context; and JSON has to repeat its quotes and names, the answer to a tool's result that result."""
