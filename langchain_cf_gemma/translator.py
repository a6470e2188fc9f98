"""Our messages -> LangChain's standard content blocks; core calls this for every message whose provider is ours.

In a stream each kind of block bears an index of its own (`lc_rs_0`, `lc_txt_0`, `lc_tc_<n>`): where core numbers blocks
itself, the reasoning and the first tool call both become block 0 and are merged into one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from langchain_core.messages.block_translators import register_translator

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, AIMessageChunk
    from langchain_core.messages.content import ContentBlock

PROVIDER: Final = "cloudflare"
"""`response_metadata["model_provider"]` and `ls_provider`, which must agree."""


def register() -> None:
    """Tells LangChain to read our messages with this module."""
    register_translator(PROVIDER, blocks_of_message, blocks_of_chunk)


def blocks_of_message(message: AIMessage) -> list[ContentBlock]:
    """Reasoning, text, tool calls, invalid tool calls."""
    blocks: list[dict[str, Any]] = []
    reasoning = message.additional_kwargs.get("reasoning_content")
    content = _listed(message)
    if isinstance(reasoning, str) and reasoning and not any(block.get("type") == "reasoning" for block in content):
        blocks.append({"type": "reasoning", "reasoning": reasoning})
    blocks += content
    held = {block.get("id") for block in content if block.get("type") in {"tool_call", "invalid_tool_call"}}
    calls = [*message.tool_calls, *message.invalid_tool_calls]
    blocks += [_call_block(cast("dict[str, Any]", call)) for call in calls if call["id"] not in held]
    return cast("list[ContentBlock]", blocks)


def blocks_of_chunk(chunk: AIMessageChunk) -> list[ContentBlock]:
    """What this piece of a stream adds; for the sum of a whole stream, the finished blocks."""
    if chunk.chunk_position == "last":
        return blocks_of_message(chunk)
    blocks: list[dict[str, Any]] = []
    reasoning = chunk.additional_kwargs.get("reasoning_content")
    if reasoning:
        blocks.append({"type": "reasoning", "reasoning": reasoning, "index": "lc_rs_0"})
    blocks += [{**block, "index": "lc_txt_0"} if block.get("type") == "text" else block for block in _listed(chunk)]
    for call in chunk.tool_call_chunks:
        index = "lc_tc_0" if call["index"] is None else f"lc_tc_{call['index']}"
        blocks.append({**call, "type": "tool_call_chunk", "index": index})
    return cast("list[ContentBlock]", blocks)


def _listed(message: AIMessage) -> list[dict[str, Any]]:
    content = cast("str | list[str | dict[str, Any]]", message.content)
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return [{"type": "text", "text": block} if isinstance(block, str) else block for block in content]


def _call_block(call: dict[str, Any]) -> dict[str, Any]:
    """A call without the nulls: `error` is unknown in a merged stream."""
    return {key: value for key, value in call.items() if value is not None}
