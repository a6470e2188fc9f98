from __future__ import annotations

from pathlib import Path

import pytest

from cf_gemma.emulator import Emulator, Reply, ToolCallSpec
from tests import programs

EXAMPLES = Path(__file__).parent.parent / "examples"

SCRIPTS = {
    "langchain_agent.py": [
        Reply(
            reasoning="Two facts are asked for, so two tools are needed.",
            tool_calls=[
                ToolCallSpec("get_weather", {"city": "Lisbon"}),
                ToolCallSpec("get_population", {"city": "Lisbon"}),
            ],
        ),
        "It is sunny in Lisbon, where 575,000 people live.",
    ],
    "llama_index_rag.py": [Reply("Eight books.", reasoning="The first document says so.")],
}
TOLD = {
    "langchain_agent.py": ["two tools are needed", "[get_population]", "= Sunny in Lisbon", "575,000 people live."],
    "llama_index_rag.py": ["Eight books.", "Sources: loans.txt"],
}


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_example_runs(name: str) -> None:
    """Each example runs as its own program, with nothing but the environment set, and shows what it promises."""
    with Emulator(SCRIPTS[name]) as emulator:
        printed = programs.run(emulator, EXAMPLES / name)
    assert [text for text in TOLD[name] if text not in printed] == []


def test_every_example_is_tested() -> None:
    """No example is left out; tests/queue/test_ray.py has the one with Ray, and `make worker` the one in a Worker."""
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*SCRIPTS, "ray_bulk.py"}
