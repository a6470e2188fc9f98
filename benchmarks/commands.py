"""What is measured by starting whole programs: imports, the command's help, and bulk runs."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measurement import PEER_ROUNDS, Costs
from benchmarks.processes import ROOT, Failed, environment
from benchmarks.scenarios import Scenario
from benchmarks.targets import PEERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.measurement import Contestant
    from benchmarks.rows import Row

IMPORTS = {
    "lc-min": "from langchain_core.language_models import BaseChatModel",
    "li-min": "from llama_index.core.llms.function_calling import FunctionCallingLLM",
    "lc": "from langchain_cf_gemma import ChatCloudflareGemma",
    "li": "from llama_index_cf_gemma import CloudflareGemma",
    "lc-openai": "from langchain_openai import ChatOpenAI",
    "lc-cloudflare": "from langchain_cloudflare import ChatCloudflareWorkersAI",
    "li-openai-like": "from llama_index.llms.openai_like import OpenAILike",
}
"""The framework's own import, and those of packages for it."""

BULK = Scenario(events=40)
CONCURRENCY = (16, 64, 256)


def imports(row: Row, everybody: Sequence[Contestant], rounds: int) -> Costs:
    """Processor time until a class is there to use."""
    costs = Costs(row)
    for number in range(1, rounds // 3 + 1):
        for one in everybody:
            if one.target in IMPORTS and (one.target not in PEERS or 1 == number < rounds // PEER_ROUNDS):
                costs.add("", one.name, number, _processor_time(["-c", IMPORTS[one.target]], one.tree))
    return costs


def help_page(row: Row, everybody: Sequence[Contestant], rounds: int) -> Costs:
    """Processor time of `--help`."""
    costs = Costs(row)
    for number in range(rounds // 3 + 2):
        costs.add("", "lc-min", number, _processor_time([str(ROOT / "benchmarks" / "bare_typer.py"), "--help"], ROOT))
        for one in everybody:
            if one.target == "lc":
                costs.add("", one.name, number, _processor_time(["-m", "cf_gemma", "--help"], one.tree))
    return costs


def bulk(row: Row, everybody: Sequence[Contestant], rounds: int, root: str) -> Costs:
    """Processor time for each row of `cf-gemma batch`, at each concurrency; without what its start takes."""
    costs = Costs(row)
    rows = min(50 * rounds, 300)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, rounds // 6 + 2):
            for one in everybody:
                if one.target == "lc":
                    start = _bulk_seconds(Path(folder), one.tree, root, rows=1, concurrency=1)
                    for concurrency in CONCURRENCY:
                        seconds = _bulk_seconds(Path(folder), one.tree, root, rows=rows, concurrency=concurrency)
                        costs.add(str(concurrency), one.name, number, (seconds - start) / (rows - 1))
    return costs


def _bulk_seconds(folder: Path, tree: Path, root: str, *, rows: int, concurrency: int) -> float:
    source, output = folder / "in.jsonl", folder / "out.jsonl"
    source.write_text("".join(f'{{"id": "{number}", "prompt": "Is {number} even?"}}\n' for number in range(rows)))
    command = ["-m", "cf_gemma", "batch", str(source), "-o", str(output), "--overwrite", "--rpm", "0"]
    service = {
        "CLOUDFLARE_ACCOUNT_ID": "account",
        "CLOUDFLARE_API_TOKEN": "token",
        "CLOUDFLARE_BASE_URL": f"{root}/{BULK.path}",
    }
    seconds = _processor_time([*command, "--concurrency", str(concurrency)], tree, service)
    answers = [json.loads(line) for line in output.read_bytes().splitlines()]
    whole = {answer["id"] for answer in answers if answer["text"] == BULK.expected.text}
    if len(whole) != rows or len(answers) != rows:
        raise Failed(f"batch at concurrency {concurrency}: {len(whole)} of {rows} rows")
    return seconds


def _processor_time(arguments: Sequence[str], tree: Path, variables: Mapping[str, str] | None = None) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _run(arguments, tree, variables)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _run(arguments: Sequence[str], tree: Path, variables: Mapping[str, str] | None) -> None:
    done = subprocess.run(  # noqa: S603 - our own commands
        [sys.executable, "-P", *arguments],
        env={**environment(tree), **(variables or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Failed(f"{arguments}: {done.stderr}")
