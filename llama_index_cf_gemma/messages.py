"""LlamaIndex messages as chat-completions messages. Nothing of the caller's is changed, nothing stray is sent."""

from __future__ import annotations

from io import IOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from llama_index.core.base.llms.types import (
    CachePoint,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from cf_gemma import image_file
from cf_gemma.errors import InvalidRequest, UnsupportedContent
from llama_index_cf_gemma.calls import CALLS, unheeded_calls, wire_calls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llama_index.core.base.llms.types import BaseContentBlock, ChatMessage

Wire = dict[str, Any]
"""One chat-completions message, or one part of its content."""

ASSISTANTS: Final = frozenset({MessageRole.ASSISTANT, MessageRole.CHATBOT, MessageRole.MODEL})
SYSTEMS: Final = frozenset({MessageRole.SYSTEM, MessageRole.DEVELOPER})
TOOLS: Final = frozenset({MessageRole.TOOL, MessageRole.FUNCTION})

_DOCUMENT_LIMIT: Final = 8_000_000
"""Bytes that are read of a document: several times what the context window holds."""


def to_wire(messages: Sequence[ChatMessage]) -> list[Wire]:
    """The messages as `cf_gemma` takes them; it knows where reasoning and images may go.

    - Gemma's template has one system turn, at the start: leading system messages are joined into it, and later ones
      (agents add some) become user turns that say so.
    - A tool result without an id answers the oldest open call.
    - An assistant turn that says nothing (reasoning only) is left out.
    - What the model doesn't take goes along as what it is: `cf_gemma` refuses it in the newest question, and puts a
      line of text in its place elsewhere.
    """
    transcript = _Transcript()
    for message in messages:
        if message.role in ASSISTANTS:
            transcript.assistant(message)
        elif message.role in TOOLS:
            transcript.tool(message)
        elif message.role in SYSTEMS:
            transcript.system(message)
        else:
            transcript.user(message)
    return transcript.wire


def is_after_nothing(messages: Sequence[ChatMessage]) -> bool:
    """Whether the newest question follows an answer that had neither text nor calls, as ReActAgent asks again."""
    if len(messages) < 2 or messages[-1].role != MessageRole.USER or messages[-2].role not in ASSISTANTS:
        return False
    answer = messages[-2]
    called = any(isinstance(block, ToolCallBlock) for block in answer.blocks)
    return not (answer.content or called or CALLS & answer.additional_kwargs.keys())


class _Transcript:
    """The wire messages so far, and the calls that wait for their results."""

    def __init__(self) -> None:
        self.wire: list[Wire] = []
        self.open_calls: list[tuple[str, str]] = []
        self.calls_seen = 0
        self.unheeded: dict[str, str] = {}
        """By the ids of calls that weren't executed, why not."""

    def system(self, message: ChatMessage) -> None:
        content = _content(message.blocks)
        if not self.wire:
            self.wire.append({"role": "system", "content": content})
        elif self.wire[-1]["role"] != "system":
            self._user("System instruction:", content)
        else:
            first = self.wire[-1]["content"]
            # Parts where there is an image: cf_gemma says that only user turns may have one.
            both_text = isinstance(first, str) and isinstance(content, str)
            self.wire[-1]["content"] = f"{first}\n\n{content}" if both_text else [*_listed(first), *_listed(content)]

    def user(self, message: ChatMessage) -> None:
        self.open_calls = []
        self.wire.append({"role": "user", "content": _content(message.blocks)})

    def assistant(self, message: ChatMessage) -> None:
        calls = wire_calls(message, first_number=self.calls_seen)
        self.calls_seen += len(calls)
        content = _content([block for block in message.blocks if not isinstance(block, ToolCallBlock)])
        turn: Wire = {"role": "assistant", "content": content}
        if calls:
            self.open_calls = [(call["id"], call["function"]["name"]) for call in calls]
            self.unheeded = unheeded_calls(message)
            turn["tool_calls"] = calls
        reasoning = "\n".join(
            block.content for block in message.blocks if isinstance(block, ThinkingBlock) and block.content
        )
        if reasoning:
            turn["reasoning_content"] = reasoning
        if content or calls:
            self.wire.append(turn)

    def tool(self, message: ChatMessage) -> None:
        id_: str | None = message.additional_kwargs.get("tool_call_id")
        call_id, name = self._answered(id_) or (id_ or "unknown", None)
        content = self.unheeded.get(call_id) or _content(message.blocks)
        turn = {"role": "tool", "tool_call_id": call_id, "name": name, "content": content}
        self.wire.append(turn if name else {**turn, "name": message.additional_kwargs.get("name")})

    def _user(self, title: str, content: str | list[Wire]) -> None:
        titled = f"{title}\n{content}" if isinstance(content, str) else [_text(title), *content]
        self.wire.append({"role": "user", "content": titled})

    def _answered(self, call_id: str | None) -> tuple[str, str] | None:
        for at, (open_id, _) in enumerate(self.open_calls):
            if call_id is None or call_id == open_id:
                return self.open_calls.pop(at)
        return None


def _sendable(block: BaseContentBlock) -> list[Wire]:
    try:
        return _parts(block)
    except (InvalidRequest, OSError, ValueError) as error:  # also of a file that isn't there any more, or is closed
        return [{"type": "unsupported", "reason": error.message if isinstance(error, InvalidRequest) else str(error)}]


def _content(blocks: Sequence[BaseContentBlock]) -> str | list[Wire]:
    """One text where there is nothing but text, joined as `ChatMessage.content` joins it; else the parts."""
    if len(blocks) == 1 and isinstance(block := blocks[0], TextBlock):  # as most have
        return block.text
    parts = [part for block in blocks for part in _sendable(block)]
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return [part for part in parts if part.get("text") != ""]


def _parts(block: BaseContentBlock) -> list[Wire]:
    match block:
        case TextBlock():
            return [_text(block.text)]
        case ImageBlock():
            image_url = {"url": _image(block), **({"detail": block.detail} if block.detail else {})}
            return [{"type": "image_url", "image_url": image_url}]
        case DocumentBlock():
            return [_text(f"{block.title}:\n{_document_text(block)}")]
        case CitableBlock() | CitationBlock():
            nested = (part for inner in block.nested_blocks for part in _parts(inner))
            return [_text(f"{block.title} ({block.source}):"), *nested]
        case ThinkingBlock() | CachePoint():
            # Reasoning has a field of its own; the service caches prefixes without being told where they end.
            return []
        case ToolCallBlock():
            raise InvalidRequest(f"the call of {block.tool_name!r} stands outside an assistant message")
        case _:
            kind = type(block).__name__
            raise UnsupportedContent(f"{kind}: Gemma 4 26B takes text and images; send a transcript, or single frames")


def _listed(content: str | list[Wire]) -> list[Wire]:
    return [_text(content)] if isinstance(content, str) else content


def _text(text: str) -> Wire:
    return {"type": "text", "text": text}


def _image(block: ImageBlock) -> bytes | str:
    """Bytes, base64 or a URL, which cf_gemma takes all. Not by `block.resolve_image()`, which would fetch addresses."""
    if isinstance(block.image, IOBase):
        block.image.seek(0)
        data = block.image.read()
        block.image.seek(0)
        return data
    if block.image:
        return block.image.decode("ascii")  # an ImageBlock keeps bytes as their base64
    if block.path is not None:
        return image_file(block.path)
    if block.url is not None:
        return str(block.url)
    raise InvalidRequest("an ImageBlock has neither image, path nor url")


def _document_text(block: DocumentBlock) -> str:
    kind = block.document_mimetype or ""
    if not block.data and block.path is None and not (block.url or "").startswith("data:"):
        raise UnsupportedContent(f"document {block.title!r} is a URL, or empty; pass its data or its path")
    if kind and not kind.startswith("text/") and not kind.endswith(("json", "xml", "yaml")):
        raise UnsupportedContent(f"document {block.title!r} is {kind}: Gemma 4 26B takes text; extract it first")
    try:
        data = _document(block)
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"document {block.title!r} can't be read: {error}") from None
    if len(data) > _DOCUMENT_LIMIT:
        raise InvalidRequest(f"document {block.title!r} is over 8 MB, more than any context window holds")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise UnsupportedContent(f"document {block.title!r} is not UTF-8 text; extract its text first") from None


def _document(block: DocumentBlock) -> bytes:
    """The bytes, or a few more than there may be; none of what has no end, such as a device."""
    if block.data or block.path is None:
        return block.resolve_document().read(_DOCUMENT_LIMIT + 1)
    path = Path(block.path)
    if not path.is_file():
        raise ValueError("it is not a file")
    with path.open("rb") as file:
        return file.read(_DOCUMENT_LIMIT + 1)
