"""The scripts of `cf-gemma emulator`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import typer

from cf_gemma.cli.emulator import _replies
from cf_gemma.emulator import Fault, Reply, ToolCallSpec

if TYPE_CHECKING:
    from pathlib import Path


def test_a_script(tmp_path: Path) -> None:
    """Each line is an answer, with all that a Reply has; --gap holds where a line says nothing else."""
    lines = [
        {"text": "Hello!", "reasoning": "Hm."},
        {"tool_calls": [{"name": "add", "args": {"a": 1}}], "gap": 1},
        {"text": "a b", "error": {"status": 500}, "usage": [3, 4]},
    ]
    script = tmp_path / "script.jsonl"
    script.write_text("\n\n".join(map(json.dumps, lines)))
    assert _replies(None, script, 0.5) == [
        Reply("Hello!", reasoning="Hm.", tool_calls=[], gap=0.5),
        Reply(tool_calls=[ToolCallSpec("add", {"a": 1})], gap=1),
        Reply("a b", tool_calls=[], error=Fault(500), usage=(3, 4), gap=0.5),
    ]
    assert _replies(["a"], None, 0.5) == [Reply("a", gap=0.5)]


@pytest.mark.parametrize("line", ["no JSON", "[1]", '{"txt": "a"}', '{"text": 3}', '{"tool_calls": [{"nam": "a"}]}'])
def test_what_is_no_answer(tmp_path: Path, line: str) -> None:
    """It is named by its line."""
    script = tmp_path / "script.jsonl"
    script.write_text(f'{{"text": "a"}}\n{line}\n')
    with pytest.raises(typer.BadParameter, match="line 2: "):
        _replies(None, script, 0)
    with pytest.raises(typer.BadParameter, match="can't be read"):
        _replies(None, tmp_path / "nowhere.jsonl", 0)
