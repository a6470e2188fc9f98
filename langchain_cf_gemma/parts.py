"""Content blocks of any dialect -> chat-completions content parts.

Understood: LangChain v1 and v0, chat completions, and Anthropic's shapes of text and images. All else that a person may
attach is refused with the remedy, because the model takes text and images only.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from pydantic_core import to_jsonable_python

from cf_gemma.errors import InvalidRequest, UnsupportedContent

if TYPE_CHECKING:
    from collections.abc import Mapping

Block: TypeAlias = "str | Mapping[str, Any]"
Part: TypeAlias = "dict[str, Any]"

_TEXT = frozenset({"text", "text-plain", "input_text", "output_text"})
_IMAGE = frozenset({"image", "image_url"})
_MEDIA = frozenset({"audio", "input_audio", "video", "video_url", "file", "document", "media", "input_file"})


def to_part(block: Block) -> Part:
    """The part for one block of a human message.

    Raises:
        UnsupportedContent: The block is neither text nor an image, or holds no image data.
    """
    if isinstance(block, str):
        return {"type": "text", "text": block}
    if block.get("type") in _IMAGE or str(block.get("mime_type")).startswith("image/"):
        return _image(block)
    text = text_of(block)
    if text is None:
        raise unsupported(block.get("type"))
    return {"type": "text", "text": text}


def to_tool_part(block: Block) -> Part:
    """The part for one block of a tool's result: as `to_part`, and any other object becomes its JSON text."""
    if isinstance(block, str) or block.get("type") in _TEXT | _IMAGE | _MEDIA:
        return to_part(block)
    return {"type": "text", "text": as_json(block, "A block of a tool's result")}


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


def as_json(value: object, what: str) -> str:
    """The JSON text of a value; dates, enumerations, dataclasses and the like as Pydantic writes them.

    Raises:
        InvalidRequest: There is something in it that JSON can't hold; `what` says of what.
    """
    try:
        return json.dumps(value, ensure_ascii=False, default=to_jsonable_python)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"{what} can't be sent as JSON: {error}") from error


def unsupported(kind: object) -> UnsupportedContent:
    """The error for a block that can't be sent."""
    return UnsupportedContent(
        f"Content of type {kind!r} can't be sent: Gemma 4 on Workers AI takes text and images "
        "(bytes, base64 or data: URLs). Turn it into text, or leave it out."
    )


def _image(block: Mapping[str, Any]) -> Part:
    """The image as it was given: the client below makes a data: URL of it, checks and scales it, refuses addresses."""
    wrapped = block.get("image_url")
    image_url = mapping_of(wrapped)
    source = mapping_of(block.get("source"))
    url = (wrapped if isinstance(wrapped, str) else image_url.get("url")) or block.get("url") or source.get("url")
    data = block.get("base64") or block.get("data") or source.get("data")
    if not (data or url):
        raise UnsupportedContent(
            "An image block holds no image. Give its base64 text (`base64` with `mime_type`) or a data: URL; "
            "file ids can't be sent."
        )
    part: Part = {"type": "image_url", "image_url": {"url": data or url}}
    detail = image_url.get("detail") or block.get("detail") or mapping_of(block.get("extras")).get("detail")
    if detail:
        part["image_url"]["detail"] = detail
    return part


def mapping_of(value: object) -> Mapping[str, Any]:
    """The value, if it is a dict; else an empty one."""
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}
