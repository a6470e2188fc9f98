from __future__ import annotations

import ast
import builtins
import importlib
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cf_gemma.emulator import Emulator

EXAMPLES = Path(__file__).parent.parent / "examples"
RUNNER = runpy.run_path(str(EXAMPLES / "__main__.py"), run_name="runner")

SHOWN = {
    "first_call": (2, ["Air scatters the short", "tokens, $0.0000", "In the evening sunlight"]),
    "stream_to_terminal": (1, ["\033[2m plus\033[0m", "24 = 408.", "finish reason: stop"]),
    "extract_folder": (3, ["1.txt: sender='Ana Ferreira' topic='room'", "topic='fee' urgent=True", "3.txt: "]),
    "image_question": (1, ["Saturday was the busiest day"]),
    "langgraph_agent": (4, ["[find_book]", "(yes/no) yes", "= The Book of Disquiet is ordered", "On Friday."]),
    "langchain_rag": (3, ["up to eight books at a time.\nSources: borrowing.txt,"]),
    "langgraph_hand_off": (
        3,
        ["desk:  hand_to_accounts", "accounts:  waive_fee", "accounts: I have taken the fee back"],
    ),
    "llama_index_citations": (1, ["at a time [1]", "holidays [2]", "[1] borrowing.txt\n[2] opening-hours.txt"]),
    "function_agent": (
        2,
        ["two tools are needed", "[get_population {'city': 'Lisbon'}] 575000", "575,000 people live."],
    ),
    "agent_workflow": (4, ["[look_up ", "[write_down ", "[handoff ", "writer: Since 1865"]),
    "evaluate_rag": (9, ["True      True      How many", "False     False     What does a parking space cost?"]),
}
"""How many requests each example makes, and some of what it prints."""

pytestmark = [
    # LlamaIndex's own, for its agents and workflows.
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20"),
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince211"),
]


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """The runner's `local`, whose changes to the environment end with the test."""
    for name in ("CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_API_TOKEN", "CLOUDFLARE_BASE_URL"):
        monkeypatch.setenv(name, "")
    return RUNNER["local"]


@pytest.fixture
def _types_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who says yes to everything."""

    def answer(prompt: str) -> str:
        sys.stdout.write(f"{prompt}yes\n")
        return "yes"

    monkeypatch.setattr(builtins, "input", answer)


@pytest.mark.usefixtures("_types_yes")
@pytest.mark.parametrize("name", SHOWN)
def test_example_runs(name: str, local: Callable[[str], Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Each example shows what it promises, with nothing but the environment set and no call too many."""
    requests, shown = SHOWN[name]
    emulator: Emulator
    with local(name) as emulator:
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert [text for text in shown if text not in printed] == []
    assert len(emulator.requests) == requests


@pytest.mark.usefixtures("local")
def test_notebook_is_the_first_six_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell of the notebook runs, and it is what scripts/notebook.py makes of the examples, output included."""
    monkeypatch.delenv("CLOUDFLARE_API_TOKEN")
    notebook = runpy.run_path(str(EXAMPLES.parent / "scripts" / "notebook.py"))
    assert notebook["build"]() == notebook["NOTEBOOK"].read_text("utf-8")


def test_by_hand() -> None:
    """`python examples NAME --local` runs an example as a program of its own."""
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-W", "error", EXAMPLES, "first_call", "--local"], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    assert "In the evening sunlight" in done.stdout


def test_by_hand_without_a_name() -> None:
    """The runner says which examples there are."""
    with pytest.raises(SystemExit, match=r"Names: agent_workflow, .*, web_chat$"):
        RUNNER["main"]()


def test_every_example_is_tested_and_listed() -> None:
    """None is left out: tests/test_web_chat.py and tests/queue/test_ray.py have two, `make worker` the Worker."""
    names = {path.stem for path in EXAMPLES.glob("*.py")} - {"__main__"}
    assert names == {*SHOWN, "web_chat", "ray_bulk"}
    listed = re.findall(r"\]\((\w+)\.py\)", (EXAMPLES / "README.md").read_text("utf-8"))
    assert sorted(listed) == sorted(names)


@pytest.mark.parametrize("name", [*SHOWN, "web_chat"])
def test_examples_are_short_and_public(name: str) -> None:
    """Under sixty lines, and of ours only what a package or a module lists in its `__all__`, or an error."""
    source = (EXAMPLES / f"{name}.py").read_text("utf-8")
    assert source.count("\n") < 60
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and "cf_gemma" in node.module:
            module = importlib.import_module(node.module)
            public = getattr(module, "__all__", None) or (vars(module) if node.module.endswith(".errors") else [])
            assert {alias.name for alias in node.names} <= set(public)
