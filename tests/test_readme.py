from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cf_gemma.emulator import Emulator, Reply, ToolCallSpec
from tests import programs

README = Path(__file__).parent.parent / "README.md"
SNIPPETS = [
    (section.partition("\n")[0], code)
    for section in README.read_text(encoding="utf-8").split("\n## ")[1:]
    for code in re.findall(r"```python\n(.*?)```", section, re.DOTALL)
]


def answer(body: dict[str, Any]) -> Reply:
    """What fits whatever a snippet asks for."""
    if "tools" in body and len(body["messages"]) == 1:
        return Reply(tool_calls=[ToolCallSpec("get_weather", {"city": "Lisbon"})])
    return Reply('{"name": "Maria", "age": 34}' if "response_format" in body else "Eight.", reasoning="Let me see.")


def test_snippets_run() -> None:
    """Every Python snippet of the README runs as it stands, and prints where it says so."""
    snippets = {f"{number}. {title}": code for number, (title, code) in enumerate(SNIPPETS)}
    with Emulator(answer) as emulator:
        printed = programs.run_each(emulator, snippets)
    for name, code in snippets.items():
        assert bool(printed[name].strip()) == ("print(" in code), name


def test_snippets_are_found() -> None:
    """The README has its snippets where this test looks for them."""
    assert [title for title, _ in SNIPPETS] == [
        "LangChain",
        "LlamaIndex",
        "Without a framework",
        "Without a framework",
        "Tests of your own app, without the service",
    ]
