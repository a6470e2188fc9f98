"""A conversation as it goes over the wire: checked, without nulls, images where the service takes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from pydantic_core import to_json

from cf_gemma.errors import InvalidRequest, UnsupportedContent
from cf_gemma.jsonobject import as_object
from cf_gemma.request import images

ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")

_UNSUPPORTED: Final = {
    "input_audio": "audio: Gemma 4 26B takes text and images; transcribe it first",
    "video_url": "video: send single frames as images",
    "file": "a file: send its text, or its pages as images",
}

_REASONING: Final = ("reasoning_content", "reasoning")


def wire_messages(messages: str | Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The messages to send; a str is one user message. The caller's own objects are left as they are.

    - An image's `url` may be its bytes or their base64 text; what goes out is a `data:` URL, scaled down if need be.
    - Images in tool messages follow in one user message after the run of tool messages: only user messages may have
      images.
    - Reasoning stays only on assistant messages of the running tool loop, under both of its names: the model's
      template shows it nowhere else, and elsewhere it would be paid for in vain.

    Raises InvalidRequest (UnsupportedContent for a kind of content that the model doesn't take).
    """
    turns: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    for place, message in enumerate(_listed(messages)):
        turn = _turn(message, f"messages[{place}]")
        if turn["role"] != "tool" and images:
            turns.append(_images_turn(images))
            images = []
        turns.append(turn)
        if turn["role"] == "tool":
            images += _lifted_images(turn)
    if images:
        turns.append(_images_turn(images))
    _keep_reasoning_of_the_loop(turns)
    return turns


def _listed(messages: object) -> Sequence[object]:
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    if not isinstance(messages, Sequence):
        raise InvalidRequest("messages must be a text or a list of messages")
    if not messages:
        raise InvalidRequest("messages must not be empty")
    return cast("Sequence[object]", messages)


def _turn(message: object, place: str) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise InvalidRequest(f"{place}: a message must be a dict with role and content")
    turn = {name: value for name, value in cast("Mapping[str, Any]", message).items() if value is not None}
    role = turn.get("role")
    if role not in ROLES:
        raise InvalidRequest(f"{place}: role must be one of {', '.join(ROLES)}")
    content = turn.get("content")
    if role == "assistant":
        # The portable choice: sibling models refuse null beside tool calls (captured, 2026-05).
        turn["content"] = content = content if content is not None else ""
        if turn.get("tool_calls"):
            turn["tool_calls"] = _tool_calls(turn["tool_calls"], place)
        else:
            turn.pop("tool_calls", None)
    if role == "tool" and not isinstance(turn.get("tool_call_id"), str):
        raise InvalidRequest(f"{place}: a tool message needs the tool_call_id of the call that it answers")
    if isinstance(content, list):
        turn["content"] = _parts(cast("list[Any]", content), role, place)
    elif not isinstance(content, str):
        raise InvalidRequest(f"{place}: content must be a text or a list of parts")
    return turn


def _parts(parts: list[Any], role: str, place: str) -> str | list[dict[str, Any]]:
    """The parts of one message; text alone becomes one text, which every chat template takes."""
    checked = [_part(part, role, f"{place}.content[{index}]") for index, part in enumerate(parts)]
    if role == "user" and not checked:
        raise InvalidRequest(f"{place}: content must not be an empty list")
    texts = [part["text"] for part in checked if part["type"] == "text"]
    return "".join(texts) if len(texts) == len(checked) else checked


def _part(given: object, role: str, place: str) -> dict[str, Any]:
    part = as_object(given) or {}
    kind = str(part.get("type"))
    if kind == "text" and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    if kind == "refusal" and role == "assistant":
        return {"type": "text", "text": str(part.get("refusal") or "")}
    if kind in _UNSUPPORTED:
        raise UnsupportedContent(f"{place}: this model doesn't take {_UNSUPPORTED[kind]}")
    if kind != "image_url":
        raise UnsupportedContent(f"{place}: a part must be of type text or image_url, with the field of that name")
    if role not in ("user", "tool"):
        raise UnsupportedContent(f"{place}: only user and tool messages may have images")
    return _image(part.get("image_url"), place)


def _image(image_url: object, place: str) -> dict[str, Any]:
    fields = {"url": image_url} if isinstance(image_url, str) else as_object(image_url) or {}
    if not isinstance(fields.get("url"), str | bytes):
        raise UnsupportedContent(f"{place}: image_url must have a url")
    try:
        return {"type": "image_url", "image_url": {**fields, "url": images.fitted(fields["url"])}}
    except UnsupportedContent as error:
        raise UnsupportedContent(f"{place}: {error.message}") from None


def _tool_calls(calls: object, place: str) -> list[dict[str, Any]]:
    if not isinstance(calls, list):
        raise InvalidRequest(f"{place}: tool_calls must be a list")
    return [_tool_call(as_object(call) or {}, place) for call in cast("list[object]", calls)]


def _tool_call(call: dict[str, Any], place: str) -> dict[str, Any]:
    function = as_object(call.get("function")) or {}
    name = function.get("name")
    if not isinstance(call.get("id"), str) or not isinstance(name, str):
        raise InvalidRequest(f"{place}: a tool call needs an id and a function with a name")
    arguments = function.get("arguments") or "{}"
    try:
        if not isinstance(arguments, str):
            arguments = to_json(arguments).decode()
        # The back-ends' templates decode them. What the model itself wrote, such as NaN, may go back.
        json.loads(arguments)
    except (ValueError, RecursionError):
        raise InvalidRequest(f"{place}: the arguments of {name} are not JSON") from None
    return {**call, "type": "function", "function": {**function, "arguments": arguments}}


def _lifted_images(turn: dict[str, Any]) -> list[dict[str, Any]]:
    """Takes the images out of a tool message, which keeps its text and says that they follow."""
    if isinstance(turn["content"], str):
        return []
    images = [part for part in turn["content"] if part["type"] == "image_url"]
    text = "".join(part["text"] for part in turn["content"] if part["type"] == "text")
    turn["content"] = text or "The image follows."
    name = turn.get("name") or "the tool"
    return [{"type": "text", "text": f"From {name} ({turn['tool_call_id']}):"}, *images]


def _images_turn(images: list[dict[str, Any]]) -> dict[str, Any]:
    return {"role": "user", "content": images}


def _keep_reasoning_of_the_loop(turns: list[dict[str, Any]]) -> None:
    in_loop = True
    for turn in reversed(turns):
        if turn["role"] == "user":
            in_loop = False
        if turn.keys().isdisjoint(_REASONING):
            continue
        told: list[Any] = [turn.pop(name, None) for name in _REASONING]
        reasoning = next((text for text in told if text), None)
        if reasoning and in_loop and turn["role"] == "assistant" and turn.get("tool_calls"):
            turn |= dict.fromkeys(_REASONING, reasoning)
