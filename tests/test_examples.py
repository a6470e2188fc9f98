from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cf_gemma.emulator import Emulator, Reply, ToolCallSpec

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
        environment = {
            **os.environ,
            "CLOUDFLARE_ACCOUNT_ID": emulator.account_id,
            "CLOUDFLARE_API_TOKEN": emulator.api_token,
            "CLOUDFLARE_BASE_URL": emulator.base_url,
        }
        run = subprocess.run(  # noqa: S603 - our own example
            [sys.executable, "-W", "error", EXAMPLES / name],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert run.returncode == 0, run.stderr
    assert [text for text in TOLD[name] if text not in run.stdout] == []


def test_every_example_is_tested() -> None:
    """No example is left out."""
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SCRIPTS)
