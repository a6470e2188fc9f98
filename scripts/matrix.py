"""Runs the tests with each Python that is found, with the lowest and with the newest dependencies; prints a table.

python scripts/matrix.py [--python 3.12] [--versions lowest] [-- PYTEST ARGUMENTS]

Each pair has an environment of its own in `.venv/matrix`, which stays for the next time.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
VERSIONS = ("lowest", "newest")
NO_BUILDS = {("3.14", "lowest"): "no ready builds of the lowest pydantic, Pillow and pyarrow"}
PINS = dict(re.findall(r"^(MODEL|TEMPLATES) := (\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE))
"""The model and the chat templates, as `make test` takes them."""


def lowest(project: dict[str, Any]) -> list[str]:
    """The declared lower bounds, as constraints: of what users install, not of our own tools."""
    listed = [*project["dependencies"]]
    for extra, names in project["optional-dependencies"].items():
        listed += names if extra != "demo" else []
    bounds = (re.match(r"([\w.-]+)(?:\[[^]]*])?>=([\w.]+)", one) for one in listed)
    return sorted({f"{bound[1]}=={bound[2]}" for bound in bounds if bound})


def run(*command: str | Path, quiet: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs a command from the repository's root."""
    output = subprocess.PIPE if quiet else None
    return subprocess.run([*map(str, command)], cwd=ROOT, text=True, stdout=output, stderr=output)  # noqa: S603


def environment(python: str, versions: str) -> tuple[Path, str]:
    """An environment with everything that the tests need; "" or what went wrong."""
    place = ROOT / ".venv" / "matrix" / f"{python}-{versions}"
    constraints = place.parent / f"{place.name}.txt"
    place.parent.mkdir(parents=True, exist_ok=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    constraints.write_text("\n".join(lowest(project) if versions == "lowest" else []) + "\n")
    run(f"python{python}", "-m", "venv", place)
    pip = (place / "bin/python", "-m", "pip", "--quiet", "--disable-pip-version-check")
    newest = ("install", "--upgrade", "--upgrade-strategy", "eager")
    for wanted in (
        ("install", "--upgrade", "pip>=25.1"),
        (*newest, "-c", constraints, "--editable", ".[all,telemetry,parquet]", "--group", "test"),
        ("install", "--no-deps", PINS["MODEL"]),
        ("download", "--no-deps", "--dest", place / "templates", PINS["TEMPLATES"]),
    ):
        done = run(*pip, *wanted)
        if done.returncode:
            return place, (done.stderr or "").strip().splitlines()[-1]
    return place, ""


def result(python: str, versions: str, arguments: list[str]) -> str:
    """What came of one pair, in a line."""
    place, trouble = environment(python, versions)
    if trouble:
        return f"not installed: {trouble}"
    done = run(place / "bin/python", "-m", "pytest", "-q", "-n", "auto", "--dist", "worksteal", *arguments)
    (place / "pytest.log").write_text((done.stdout or "") + (done.stderr or ""))
    last = (done.stdout or "no output").strip().splitlines()[-1].strip("= ")
    return f"{last} (exit {done.returncode})"


def main() -> None:
    """Prints the table row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", help="only this one; may be given again")
    parser.add_argument("--versions", choices=VERSIONS, action="append")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, behind --")
    given = parser.parse_args()
    print("| Python | dependencies | result |\n|---|---|---|", flush=True)
    failed = False
    for python in given.python or PYTHONS:
        if shutil.which(f"python{python}") is None or run(f"python{python}", "--version").returncode:
            print(f"| {python} | | not found here |", flush=True)
            continue
        for versions in given.versions or VERSIONS:
            line = NO_BUILDS.get((python, versions)) or result(python, versions, given.pytest)
            failed = failed or not line.endswith(("(exit 0)", *NO_BUILDS.values()))
            print(f"| {python} | {versions} | {line} |", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
