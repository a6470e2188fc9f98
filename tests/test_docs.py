from __future__ import annotations

import inspect
import json
import re
import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cf_gemma.emulator import Emulator
from cf_gemma.errors import ContextOverflow
from cf_gemma.errors.codes import CODES, error_class
from langchain_cf_gemma import ChatCloudflareGemma
from tests import programs
from tests.recorded import oracle

if TYPE_CHECKING:
    from collections.abc import Iterable

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

OWN_PROCESS = ("langchain.md", "llama_index.md", "ChatCloudflareGemma")
TOGETHER = [name for name, text in DOCUMENTS.items() if SNIPPET.search(text) and name not in OWN_PROCESS]
"""Short pages, which share a process, and no names: it is importing the frameworks that takes its time."""


def program(document: str) -> str:
    """A document's snippets as one program: each may use what those before it have made."""
    return "\n".join(map(textwrap.dedent, SNIPPET.findall(document)))


def ran(names: Iterable[str], folder: Path) -> str:
    """What the snippets of these documents print, where the files are that they speak of."""
    shutil.copy(DOCS / "photo.png", folder)
    (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER), "utf-8")
    lines = [PREFACE]
    for name in names:
        code = program(DOCUMENTS[name])
        lines += [f"print({name!r})", f"exec(compile({code!r}, {name!r}, 'exec'), {{'__name__': '__main__'}})"]
    with Emulator(oracle.answer) as emulator:
        gateway = {"GATEWAY_URL": emulator.openai_url}
        printed = programs.run(emulator, "-c", "\n".join(lines), folder, environment=gateway)
        assert emulator.requests
    return printed


@pytest.mark.parametrize("name", OWN_PROCESS)
def test_snippets_run(name: str, tmp_path: Path) -> None:
    """The Python snippets of a document run from top to bottom as they stand, and print something."""
    assert ran([name], tmp_path).removeprefix(name).strip()


def test_snippets_of_short_pages_run(tmp_path: Path) -> None:
    """The same for every other page that has any."""
    printed = ran(TOGETHER, tmp_path)
    parts = re.split("|".join(rf"^{re.escape(name)}$" for name in TOGETHER), printed, flags=re.MULTILINE)
    assert len(parts) == len(TOGETHER) + 1
    assert all(part.strip() for part in parts[1:])


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
