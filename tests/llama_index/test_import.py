"""Importing the package: what it needs, and what it doesn't."""

import subprocess
import sys

BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "llama_index":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
import llama_index_cf_gemma
"""

LOADED = """
import sys
import llama_index_cf_gemma
print([name for name in ("openai", "langchain_core", "starlette", "xllamacpp", "typer") if name in sys.modules])
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Python, told to run this."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603 - ours


def test_without_llama_index() -> None:
    """One clear line with what to type."""
    last = run(BLOCKED).stderr.strip().splitlines()[-1]
    assert last == 'ImportError: llama_index_cf_gemma needs LlamaIndex: pip install "cf-gemma[llama-index]"'


def test_nothing_heavy_comes_along() -> None:
    """Neither another SDK nor the emulator's or the command line's packages."""
    done = run(LOADED)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
