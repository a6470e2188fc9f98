"""A conversation as it goes over the wire: checked, without nulls, images where the service takes them."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeGuard, cast

from cf_gemma.errors import InvalidRequest, UnsupportedContent
from cf_gemma.model.json_object import as_object
from cf_gemma.request import images
from cf_gemma.request.history import answered, json_object, thought

ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")
_PLAIN: Final = ("system", "developer", "user", "assistant")

_TAKES: Final = "Gemma 4 26B takes text and images (bytes, base64 or data: URLs)"
_UNSUPPORTED: Final = {
    **dict.fromkeys(("input_audio", "audio", "output_audio"), f"audio: {_TAKES}; transcribe it first"),
    **dict.fromkeys(("video_url", "video"), f"video: {_TAKES}; send single frames"),
    **dict.fromkeys(("file", "input_file", "document", "media"), f"a file: {_TAKES}; send its text, or its pages"),
}
_INDENTED: Final = re.compile(r"[ \t]+\S[^\n]*\n\s*\S")
"""A text of several lines whose first is indented: code, of which the indentation is a part."""

_EDGE: Final = "\u200b\n"
"""Put before such a text: the template strips white space, but not a zero-width space."""

_TEXT_FILE: Final = re.compile(r"data:(text/|application/[^;]*(json|xml|yaml))")


def wire_messages(
    messages: str | Sequence[Mapping[str, Any]], left_out: list[str] | None = None
) -> list[dict[str, Any]]:
    """The messages to send; a str is one user message. The caller's own objects are left as they are.

    - An image's `url` may be its bytes or their base64 text; what goes out is a `data:` URL, scaled down if need be.
    - Images in tool messages follow in one user message after the run of tool messages: only user messages may have
      images.
    - Calls and results, reasoning and text beside calls go out as the model's template prints them, see `history`.
    - Only the newest user message, or the last few of them in a row, and system messages are refused for what the model
      doesn't take. Elsewhere a line of text stands in its place, and in an assistant message nothing.

    Args:
        messages: Chat-completions messages.
        left_out: Gets a line for each thing that isn't sent.

    Raises InvalidRequest (UnsupportedContent for a kind of content that the model doesn't take).
    """
    listed = _listed(messages)
    newest = newest_places(listed)
    missing: list[str] = []
    original = [
        dict(message)
        if _is_plain(message)
        else _turn(message, f"messages[{place}]", missing if _is_past(message, place, newest) else None)
        for place, message in enumerate(listed)
    ]
    if left_out is not None:
        left_out += missing
    turns: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    for turn in answered(original):
        if turn["role"] != "tool" and images:
            turns.append(_images_turn(images))
            images = []
        turns.append(turn)
        if turn["role"] == "tool":
            images += _lifted_images(turn)
    if images:
        turns.append(_images_turn(images))
    thought(turns)
    for turn in turns:
        if isinstance(turn["content"], str):
            turn["content"] = _untrimmed(turn["content"])
    return turns


def newest_places(messages: Sequence[object]) -> range:
    """The places of the newest user message, and of those right before it."""
    roles = [(as_object(message) or {}).get("role") for message in messages]
    end = next((place + 1 for place in reversed(range(len(roles))) if roles[place] == "user"), 0)
    begin = next((place + 1 for place in reversed(range(end)) if roles[place] != "user"), 0)
    return range(begin, end)


def _is_past(message: object, place: int, newest: range) -> bool:
    role = (as_object(message) or {}).get("role")
    return role in ("assistant", "tool") or (role == "user" and place not in newest)


def _listed(messages: object) -> Sequence[object]:
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    if not isinstance(messages, Sequence):
        raise InvalidRequest("messages must be a text or a list of messages")
    if not messages:
        raise InvalidRequest("messages must not be empty")
    return cast("Sequence[object]", messages)


def _is_plain(message: object) -> TypeGuard[dict[str, Any]]:
    """Whether a message has only a role and a text, as most do."""
    turn: Any = message
    return (
        turn.__class__ is dict
        and len(turn) == 2
        and turn.get("role") in _PLAIN
        and turn.get("content").__class__ is str
    )


def _turn(message: object, place: str, left_out: list[str] | None) -> dict[str, Any]:
    """One message. What the model doesn't take of it is refused, or noted in `left_out`."""
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
        turn["content"] = _parts(cast("list[Any]", content), role, place, left_out)
    elif not isinstance(content, str):
        raise InvalidRequest(f"{place}: content must be a text or a list of parts")
    return turn


def _untrimmed(text: str) -> str:
    """The text, so that its indentation survives the template."""
    return _EDGE + text if text[:1] in (" ", "\t") and _INDENTED.match(text) else text


def _parts(parts: list[Any], role: str, place: str, left_out: list[str] | None) -> str | list[dict[str, Any]]:
    """The parts of one message, neighbouring texts on lines of their own: the template puts nothing between parts.

    Text alone becomes one text, which every chat template takes.
    """
    if role == "user" and not parts:
        raise InvalidRequest(f"{place}: content must not be an empty list")
    joined: list[dict[str, Any]] = []
    for index, original in enumerate(parts):
        part = _part_or_line(original, role, f"{place}.content[{index}]", left_out)
        if part is None:
            continue
        if part["type"] == "text" and joined and joined[-1]["type"] == "text":
            joined[-1]["text"].append(part["text"])
        else:
            joined.append({**part, "text": [part["text"]]} if part["type"] == "text" else part)
    for part in joined:
        if part["type"] == "text":
            part["text"] = _untrimmed("\n".join(part["text"]))
    if not joined or [part["type"] for part in joined] == ["text"]:
        return joined[0]["text"] if joined else ""
    return joined


def _part_or_line(original: object, role: str, place: str, left_out: list[str] | None) -> dict[str, Any] | None:
    """The part, or for one of the past that can't be sent, a line of text that names it."""
    try:
        return _part(original, role, place)
    except UnsupportedContent as error:
        if left_out is None:
            raise
        if (text := _text_within(original)) is not None:
            return {"type": "text", "text": text}
        left_out.append(error.message)
        what = error.message.removeprefix(f"{place}: ").partition(f": {_TAKES}")[0].partition(";")[0]
        return None if role == "assistant" else {"type": "text", "text": f"[left out: {what}{_address(original)}]"}


def _address(original: object) -> str:
    """The URL of a part that is left out, behind a comma; "" when it has none."""
    part = as_object(original) or {}
    urls = (
        url for name in ("url", "image_url") for url in (part.get(name), (as_object(part.get(name)) or {}).get("url"))
    )
    return next((f", {url}" for url in urls if isinstance(url, str) and url.startswith(("http://", "https://"))), "")


def _text_within(original: object) -> str | None:
    """The text of a part that is one: a str, or a text file as a `data:` URL. None for other parts."""
    if isinstance(original, str):
        return original
    file = as_object((as_object(original) or {}).get("file")) or {}
    head, _, data = str(file.get("file_data")).partition(",")
    if not (_TEXT_FILE.match(head) and head.endswith(";base64")):
        return None
    try:
        text = base64.b64decode(data, validate=True).decode()
    except ValueError:
        return None
    return f"{file['filename']}:\n{text}" if isinstance(file.get("filename"), str) else text


def _part(original: object, role: str, place: str) -> dict[str, Any]:
    part = as_object(original) or {}
    kind = str(part.get("type"))
    if kind == "text" and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    if kind == "refusal" and role == "assistant":
        return {"type": "text", "text": str(part.get("refusal") or "")}
    if kind == "unsupported":  # as the adapters say what they can't translate
        raise UnsupportedContent(f"{place}: {part.get('reason')}")
    if kind in _UNSUPPORTED:
        raise UnsupportedContent(f"{place}: {_UNSUPPORTED[kind]}")
    if kind != "image_url":
        raise UnsupportedContent(
            f"{place}: {kind}: {_TAKES}; a part must be of type text or image_url, with the field of that name"
        )
    if role not in ("user", "tool"):
        raise UnsupportedContent(f"{place}: only user and tool messages may have images")
    return _image(part.get("image_url"), place)


def _image(image_url: object, place: str) -> dict[str, Any]:
    fields = {"url": image_url} if isinstance(image_url, str) else as_object(image_url) or {}
    if not isinstance(fields.get("url"), str | bytes):
        raise UnsupportedContent(
            f"{place}: an image without a url; give its bytes, base64 or data: URL, not a file's id"
        )
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
    arguments = json_object(function.get("arguments"))
    return {**call, "type": "function", "function": {**function, "name": name or "unknown", "arguments": arguments}}


def _lifted_images(turn: dict[str, Any]) -> list[dict[str, Any]]:
    """Takes the images out of a tool message, which keeps its text and says that they follow."""
    if isinstance(turn["content"], str):
        return []
    images = [part for part in turn["content"] if part["type"] == "image_url"]
    text = "\n".join(part["text"] for part in turn["content"] if part["type"] == "text")
    turn["content"] = text or "The image follows."
    name = turn.get("name") or "the tool"
    return [{"type": "text", "text": f"From {name} ({turn['tool_call_id']}):"}, *images]


def _images_turn(images: list[dict[str, Any]]) -> dict[str, Any]:
    return {"role": "user", "content": images}
