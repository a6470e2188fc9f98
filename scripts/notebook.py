"""Writes examples/first_steps.ipynb: the first six examples, cut into cells at their comments, with what they print.

python scripts/notebook.py
"""

from __future__ import annotations

import ast
import builtins
import io
import json
import os
import re
from contextlib import chdir, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parent.parent / "examples"
NOTEBOOK = EXAMPLES / "first_steps.ipynb"
NAMES = ("first_call", "stream_to_terminal", "extract_folder", "image_question", "langgraph_agent", "langchain_rag")
INTRODUCTION = """\
# First steps with Gemma 4 on Workers AI

The first six of the [examples](README.md). They need `pip install ".[all]" langchain langchain-cloudflare`, in a clone
of the repository, and `CLOUDFLARE_ACCOUNT_ID` and `CLOUDFLARE_API_TOKEN` in the environment. Without these a local
emulator answers with what is written in [answers](answers), and so it did for the output that you see here.\
"""
LINES = ",\n        ".join(f'"{name}"' for name in NAMES)
BEGINNING = f"""\
import os
from runpy import run_path

if "CLOUDFLARE_API_TOKEN" not in os.environ:
    emulator = run_path("__main__.py")["local"](
        {LINES},
    )\
"""


def build() -> str:
    """The notebook as JSON. Runs it, with a user who says yes to everything."""
    cells = [_cell("markdown", INTRODUCTION), _cell("code", BEGINNING)]
    cells += [cell for name in NAMES for cell in _cells(name)]
    names: dict[str, Any] = {"__name__": "__main__"}
    with chdir(EXAMPLES):
        for cell in cells:
            if cell["cell_type"] == "code":
                cell["outputs"] = list(_outputs("".join(cell["source"]), names))
    names["emulator"].close()
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    notebook = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _cells(name: str) -> Iterator[dict[str, Any]]:
    """An example as cells: its docstring is a heading, and so is each comment at the beginning of a paragraph."""
    source = (EXAMPLES / f"{name}.py").read_text("utf-8").replace("Path(__file__).parent", "Path()")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    title, *rest = re.split(r"[:.]\s+", docstring.removesuffix("."), maxsplit=1)
    yield _cell("markdown", "\n\n".join([f"## {title}", *(f"{text[0].upper()}{text[1:]}." for text in rest)]))
    code = source.split('"""', 2)[2].strip()
    first, *others = re.split(r"\n\n+(?=# )", code)
    yield _cell("code", first)
    for part in others:
        comment, _, rest = part.partition("\n")
        yield _cell("markdown", comment.removeprefix("# "))
        yield _cell("code", rest)


def _cell(kind: str, source: str) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": kind, "metadata": {}, "source": source.splitlines(keepends=True)}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def _outputs(code: str, names: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Runs a cell, and yields what it printed."""
    printed = io.StringIO()

    def answer(prompt: str) -> str:
        printed.write(f"{prompt}yes\n")
        return "yes"

    asked, builtins.input = builtins.input, answer
    try:
        with redirect_stdout(printed):
            exec(compile(code, "cell", "exec", dont_inherit=True), names)  # noqa: S102 - our own examples
    finally:
        builtins.input = asked
    if printed.getvalue():
        yield {"output_type": "stream", "name": "stdout", "text": printed.getvalue().splitlines(keepends=True)}


if __name__ == "__main__":
    os.environ.pop("CLOUDFLARE_API_TOKEN", None)
    NOTEBOOK.write_text(build(), "utf-8")
