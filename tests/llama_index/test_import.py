"""Importing the package: what it needs, and what it doesn't."""

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from llama_index_cf_gemma import CloudflareGemma

ROOT = Path(__file__).parents[2]

BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "llama_index":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
import llama_index_cf_gemma
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Python, told to run this."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603 - ours


def test_without_llama_index() -> None:
    """One clear line with what to type."""
    last = run(BLOCKED).stderr.strip().splitlines()[-1]
    assert last == 'ImportError: llama_index_cf_gemma needs LlamaIndex: pip install "cf-gemma[llama-index]"'


PROGRAM = """
import sys
from llama_index.llms.cloudflare_gemma import CloudflareGemma
print([name for name in ("openai", "langchain_core", "starlette", "xllamacpp", "typer") if name in sys.modules])
import llama_index, llama_index.llms, llama_index.core, llama_index.retrievers.bm25
print(llama_index.__file__, llama_index.llms.__file__, CloudflareGemma.__module__)
"""


@pytest.fixture(scope="module")
def printed() -> list[str]:
    """What a program prints that imports all of it."""
    done = run(PROGRAM)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_nothing_heavy_comes_along(printed: list[str]) -> None:
    """Neither another SDK nor the emulator's or the command line's packages."""
    assert printed[0] == "[]"


def test_the_place_of_llama_index_s_own_integrations(printed: list[str]) -> None:
    """`llama_index.llms` stays a namespace: what other wheels put into it is found beside ours."""
    assert printed[1:] == ["None None llama_index_cf_gemma.llm"]
    assert [str(path.relative_to(ROOT)) for path in (ROOT / "llama_index").rglob("*.py")] == [
        "llama_index/llms/cloudflare_gemma/__init__.py"
    ]


def test_the_hub_s_metadata() -> None:
    """LlamaHub reads where the class is; it is there."""
    hub = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["llamahub"]
    module = importlib.import_module(hub["import_path"])
    assert [getattr(module, name) for name in hub["class_authors"]] == [CloudflareGemma]
