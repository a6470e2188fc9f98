"""Our messages as LangChain's standard content blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import tool_call_chunk
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

import langchain_cf_gemma  # noqa: F401  (registers the translator)
from cf_gemma.emulator import Reply, ToolCallSpec
from tests import programs

if TYPE_CHECKING:
    from pathlib import Path

    from tests.langchain.conftest import Emulate

pytestmark = pytest.mark.filterwarnings("ignore:.*is in beta")

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


@pytest.mark.parametrize("output_version", ["v0", "v1"])
async def test_checkpoint(emulate: Emulate, tmp_path: Path, output_version: str) -> None:
    """A message from a checkpoint has its reasoning, text and calls even where this package was never imported."""
    reply = Reply("Sure.", reasoning="Hm.", tool_calls=[ToolCallSpec("add", {"a": 1}, id="call_1")])
    model, emulator = emulate([reply] * 3, output_version=output_version)
    first, *rest = model.stream("Hi")
    messages = [model.invoke("Hi"), first + rest, model.stream_events("Hi", version="v3").output]
    kind, data = JsonPlusSerializer().dumps_typed(messages)
    checkpoint = tmp_path / "checkpoint"
    checkpoint.write_bytes(data)
    code = (
        "import sys, pathlib\n"
        "from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer\n"
        f"for message in JsonPlusSerializer().loads_typed(({kind!r}, pathlib.Path(sys.argv[1]).read_bytes())):\n"
        "    reasoning, text, call = message.content_blocks\n"
        "    print(reasoning['reasoning'], text['text'], call['name'], call['args'])\n"
        "assert not [name for name in sys.modules if name.endswith('cf_gemma')]"
    )
    assert programs.run(emulator, "-c", code, checkpoint) == "Hm. Sure. add {'a': 1}\n" * 3
