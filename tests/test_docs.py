from __future__ import annotations

import inspect
import re
import textwrap
from pathlib import Path

import pytest

from cf_gemma.emulator import Emulator
from langchain_cf_gemma import ChatCloudflareGemma
from tests import programs
from tests.recorded import oracle
from tests.recorded.samples import RED_SQUARE

ROOT = Path(__file__).parent.parent
NO_PROGRAMS = ("answers.md", "fidelity.md", "speed.md", "terminal.md", "testing.md", "worker.md")
"""Documents without a program for here: tables, shell commands, what runs as a suite (tests/testing) or in a Worker."""

DOCUMENTS = {
    **{
        path.name: path.read_text(encoding="utf-8")
        for path in sorted((ROOT / "docs").glob("*.md"))
        if path.name not in NO_PROGRAMS
    },
    "ChatCloudflareGemma": inspect.getdoc(ChatCloudflareGemma) or "",
}
SNIPPET = re.compile(r"^ *```python\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
PREFACE = """\
import os, sys, warnings
warnings.filterwarnings("ignore", ".*is in beta")  # LangChain's, which it says at every call
# LlamaIndex's: it builds its workflows by reading every attribute of a pydantic object, deprecated ones too.
warnings.filterwarnings("ignore", category=DeprecationWarning, module="inspect")
warnings.filterwarnings("ignore", "is_running called from within a step")
os.chdir(sys.argv[1])
"""


def program(document: str) -> str:
    """A document's snippets as one program: each may use what those before it have made."""
    return "\n".join([PREFACE, *map(textwrap.dedent, SNIPPET.findall(document))])


@pytest.mark.parametrize("name", DOCUMENTS)
def test_snippets_run(name: str, tmp_path: Path) -> None:
    """The Python snippets of a document run from top to bottom as they stand, where there is a photo.png."""
    (tmp_path / "photo.png").write_bytes(RED_SQUARE)
    code = program(DOCUMENTS[name])
    with Emulator(oracle.answer) as emulator:
        printed = programs.run(emulator, "-c", code, tmp_path)
        assert emulator.requests
    assert printed.strip()
