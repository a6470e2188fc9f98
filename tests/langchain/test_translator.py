"""Our messages as LangChain's standard content blocks."""

from __future__ import annotations

import subprocess
import sys

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk

import langchain_cf_gemma  # noqa: F401  (registers the translator)

OURS = {"model_provider": "cloudflare"}
REASONING = {"reasoning_content": "Hm."}
CALL = {"type": "tool_call", "id": "call_1", "name": "add", "args": {"a": 1}}
BAD = {"type": "invalid_tool_call", "id": "call_2", "name": "add", "args": "{", "error": "cut"}


def test_message() -> None:
    """A message shows its reasoning, its text, and its calls, valid and not, as standard blocks in this order."""
    message = AIMessage(
        "Sure.", additional_kwargs=REASONING, tool_calls=[CALL], invalid_tool_calls=[BAD], response_metadata=OURS
    )
    assert message.content_blocks == [
        {"type": "reasoning", "reasoning": "Hm."},
        {"type": "text", "text": "Sure."},
        CALL,
        BAD,
    ]


def test_message_whose_content_is_blocks() -> None:
    """Blocks that the content holds already are not shown twice."""
    message = AIMessage(
        ["Sure.", {"type": "reasoning", "reasoning": "Hm."}, CALL],
        additional_kwargs=REASONING,
        tool_calls=[CALL],
        response_metadata=OURS,
    )
    assert message.content_blocks == [
        {"type": "text", "text": "Sure."},
        {"type": "reasoning", "reasoning": "Hm."},
        CALL,
    ]


def test_empty_message() -> None:
    """A message that says nothing has no blocks."""
    assert AIMessage("", response_metadata=OURS).content_blocks == []


def test_chunks_have_indices_of_their_own() -> None:
    """Reasoning, text and each call have different indices, so that core never merges one into another."""
    chunks = [
        AIMessageChunk("", additional_kwargs=REASONING, response_metadata=OURS),
        AIMessageChunk("Sure.", response_metadata=OURS),
        AIMessageChunk("", tool_call_chunks=[tool_call_chunk(name="add", id="1", index=1)], response_metadata=OURS),
    ]
    assert [block["index"] for chunk in chunks for block in chunk.content_blocks] == ["lc_rs_0", "lc_txt_0", "lc_tc_1"]


def test_process_that_never_imported_us() -> None:
    """A message from a checkpoint shows its reasoning even where this package was never imported."""
    code = (
        "from langchain_core.messages import AIMessage\n"
        f"ours = dict(additional_kwargs={REASONING!r}, tool_calls=[{CALL!r}], response_metadata={OURS!r})\n"
        "message = AIMessage('Sure.', **ours)\n"
        "print([block['type'] for block in message.content_blocks])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert shown.stdout.strip() == "['reasoning', 'text', 'tool_call']"
