from __future__ import annotations

import inspect
import json
import re
import shutil
import textwrap
from pathlib import Path

import pytest

from cf_gemma.emulator import Emulator
from cf_gemma.errors import ContextOverflow
from cf_gemma.errors.codes import CODES, error_class
from langchain_cf_gemma import ChatCloudflareGemma
from tests import programs
from tests.recorded import oracle

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
NO_PROGRAMS = ("testing.md", "worker.md")
"""Pages whose snippets run elsewhere: as a suite (tests/testing), or in a Worker."""

DOCUMENTS = {
    **{
        path.name: path.read_text(encoding="utf-8")
        for path in sorted(DOCS.glob("*.md"))
        if path.name not in NO_PROGRAMS
    },
    "listing": (ROOT / "listing/langchain/cloudflare_gemma.mdx").read_text(encoding="utf-8"),
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


TOKENIZER = {"version": "1.0", "model": {"type": "WordLevel", "vocab": {"?": 0}, "unk_token": "?"}}
"""The least that the package `tokenizers` reads."""

LLAMA_INDEX = "llama_index.md"
WITH_SNIPPETS = [name for name, text in DOCUMENTS.items() if SNIPPET.search(text)]


def program(document: str) -> str:
    """A document's snippets as one program: each may use what those before it have made."""
    return "\n".join(map(textwrap.dedent, SNIPPET.findall(document)))


@pytest.mark.parametrize("names", [[LLAMA_INDEX], [name for name in WITH_SNIPPETS if name != LLAMA_INDEX]])
def test_snippets_run(names: list[str], tmp_path: Path) -> None:
    """The Python snippets of a document run from top to bottom as they stand, and print something."""
    shutil.copy(DOCS / "photo.png", tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps(TOKENIZER), "utf-8")
    snippets = {name: program(DOCUMENTS[name]) for name in names}
    with Emulator(oracle.answer) as emulator:
        gateway = {"GATEWAY_URL": emulator.openai_url}
        printed = programs.run_each(emulator, snippets, tmp_path, preface=PREFACE, environment=gateway)
        assert emulator.requests
    assert all(text.strip() for text in printed.values()), printed


def test_every_code_is_explained() -> None:
    """The page on errors names every code of Cloudflare's that the package knows, with the class that is raised."""
    rows = re.findall(r"^\| ([\d, ]+) \| ([\d, ]+) \| `(\w+)` \| .+ \|$", DOCUMENTS["troubleshooting.md"], re.MULTILINE)
    explained: dict[int, set[tuple[int, str]]] = {}
    for codes, statuses, name in rows:
        for code in map(int, codes.split(",")):
            explained.setdefault(code, set()).update((int(status), name) for status in statuses.split(","))
    assert explained.keys() == CODES.keys()
    for code, known in CODES.items():
        kind = ContextOverflow if "context" in known.message.lower() else error_class(known.status, code)
        assert (known.status, kind.__name__) in explained[code], code


def test_links_to_files_lead_somewhere() -> None:
    """README and the pages link to files that exist; MkDocs checks the rest, and every heading that is linked to."""
    pages = [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
    links = [
        (page, link)
        for page in pages
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    ]
    assert len(links) > 50
    for page, link in links:
        assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_page_is_in_the_menu() -> None:
    """MkDocs is told of each page, and where a page is included, of a file that is there."""
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in DOCS.rglob("*.md"):
        assert f" {page.relative_to(DOCS).as_posix()}\n" in menu
        for name in re.findall(r'^--8<-- "(.+)"$', page.read_text(encoding="utf-8"), re.MULTILINE):
            assert (ROOT / name).exists()
