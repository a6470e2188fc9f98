"""Content blocks of any dialect -> chat-completions content parts.

Understood: LangChain v1 and v0, chat completions, and Anthropic's shapes of text and images. All else is passed on as
what it is: the client below refuses it in the newest question, and elsewhere puts a line of text in its place.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from pydantic_core import to_jsonable_python

if TYPE_CHECKING:
    from collections.abc import Mapping

Block: TypeAlias = "str | Mapping[str, Any]"
Part: TypeAlias = "dict[str, Any]"

_TEXT = frozenset({"text", "text-plain", "input_text", "output_text"})
_IMAGE = frozenset({"image", "image_url", "input_image"})
_MEDIA = frozenset({"audio", "input_audio", "video", "video_url", "file", "document", "media", "input_file"})


def to_part(block: Block) -> Part:
    """The part for one block of a human message."""
    if isinstance(block, str):
        return {"type": "text", "text": block}
    if block.get("type") in _IMAGE or str(block.get("mime_type")).startswith("image/"):
        return _image(block)
    text = text_of(block)
    return {"type": "text", "text": text} if text is not None else _foreign(block)


def to_tool_part(block: Block) -> Part:
    """The part for one block of a tool's result: as `to_part`, and any other object becomes its JSON text."""
    if isinstance(block, str) or block.get("type") in _TEXT | _IMAGE | _MEDIA:
        return to_part(block)
    try:
        return {"type": "text", "text": as_json(block)}
    except RecursionError:
        return {"type": "text", "text": "[left out: it is nested too deep]"}


def text_of(block: Block) -> str | None:
    """The text of a text block; None for any other kind."""
    if isinstance(block, str):
        return block
    if block.get("type") in _TEXT:
        text = block.get("text")
    elif block.get("type") == "refusal":
        text = block.get("refusal")
    elif block.get("type") == "document":
        source = mapping_of(block.get("source"))
        text = source.get("data") if source.get("type") == "text" else None
    else:
        return None
    return text if isinstance(text, str) else None


def as_json(value: object) -> str:
    """The JSON text of a value; dates, enumerations, dataclasses and the like as Pydantic writes them.

    What JSON can't hold becomes the text that Python shows it by: it is part of the past, which can't be mended. Raises
    RecursionError for what is nested too deep.
    """
    try:
        return json.dumps(value, ensure_ascii=False, default=to_jsonable_python)
    except (TypeError, ValueError):
        return str(value)


def _foreign(block: Mapping[str, Any]) -> Part:
    """A part that the model doesn't take: of a file its data go along, which may be text."""
    source = mapping_of(block.get("source"))
    data = block.get("base64") or block.get("data") or source.get("data")
    kind = block.get("mime_type") or source.get("media_type")
    if "file" in block or not isinstance(data, str) or not kind:
        return {name: value for name, value in block.items() if name in ("type", "file", "url")}
    named = {"filename": name} if (name := block.get("filename") or block.get("title")) else {}
    return {"type": str(block.get("type")), "file": {"file_data": f"data:{kind};base64,{data}", **named}}


def _image(block: Mapping[str, Any]) -> Part:
    """The image as it was given: the client below makes a data: URL of it, checks and scales it, refuses addresses."""
    wrapped = block.get("image_url")
    image_url = mapping_of(wrapped)
    source = mapping_of(block.get("source"))
    url = (wrapped if isinstance(wrapped, str) else image_url.get("url")) or block.get("url") or source.get("url")
    data = block.get("base64") or block.get("data") or source.get("data")
    if not (data or url):
        return {"type": "image_url", "image_url": {}}
    part: Part = {"type": "image_url", "image_url": {"url": data or url}}
    detail = image_url.get("detail") or block.get("detail") or mapping_of(block.get("extras")).get("detail")
    if detail:
        part["image_url"]["detail"] = detail
    return part


def mapping_of(value: object) -> Mapping[str, Any]:
    """The value, if it is a dict; else an empty one."""
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}
