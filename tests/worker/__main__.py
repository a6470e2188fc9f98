"""All cases through three shells, the third in WebAssembly. Prints a table, sizes and times.

Usage: python -m tests.worker FOLDER, where Pyodide and the packages for it are kept. See `make worker`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, Final

import yaml

from tests.worker.cases import CASES
from tests.worker.http import over_http

ROOT: Final = Path(__file__).parent.parent.parent
FOLDER: Final = Path(sys.argv[1]).resolve()
"""Where Pyodide and the packages are kept."""
PYODIDE: Final = "pyodide@314.0.7"
PLATFORM: Final = ("--platform", "pyemscripten_2026_0_wasm32", "--python-version", "3.14", "--implementation", "cp")
CORE: Final = ("pydantic", "pydantic_core", "annotated-types", "typing-extensions", "typing-inspection")
LANGCHAIN: Final = (
    *("langchain-core", "langchain-protocol", "langsmith", "jsonpatch", "jsonpointer", "packaging", "tenacity"),
    *("uuid-utils", "xxhash", "requests", "requests-toolbelt", "urllib3", "idna", "certifi", "charset-normalizer"),
    *("httpx", "httpcore", "h11", "anyio", "sniffio", "distro"),
)
OURS: Final = ("cf_gemma", "langchain_cf_gemma")


def install() -> None:
    """Fetches Pyodide, and the packages for it, and packs them with ours."""
    if not (FOLDER / "node_modules" / "pyodide").exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        _quietly("npm", "install", "--no-audit", "--no-fund", "--prefix", str(FOLDER), PYODIDE)
    for name, packages in (("core", CORE), ("langchain", (*LANGCHAIN, "workers-runtime-sdk"))):
        if not (FOLDER / name).exists():
            pip = (sys.executable, "-m", "pip", "install", "--no-deps", "--only-binary", ":all:", *PLATFORM)
            abis = [part for abi in ("cp314", "abi3", "none") for part in ("--abi", abi)]
            _quietly(*pip, *abis, "-c", str(ROOT / "constraints.txt"), "--target", str(FOLDER / name), *packages)
    # PyYAML has no wheel for WebAssembly; all but its optional parser is Python.
    shutil.copytree(Path(yaml.__file__).parent, FOLDER / "langchain" / "yaml", dirs_exist_ok=True)
    with zipfile.ZipFile(FOLDER / "packages.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for base, names in ((ROOT, OURS), (FOLDER / "core", ("",)), (FOLDER / "langchain", ("",))):
            for path in (path for name in names for path in sorted((base / name).rglob("*"))):
                if path.suffix in (".py", ".so", ".typed", ".json") or path.name == "METADATA":
                    archive.write(path, path.relative_to(base))


def main() -> None:
    """Runs all, and fails if a shell differs."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise SystemExit("node and npm are needed (Debian: apt install nodejs npm)")
    install()
    outcomes = {case.name: over_http(case) for case in CASES}
    expected = {name: {"outcome": last.plain(), "requests": sent} for name, (_, last, sent) in outcomes.items()}
    (FOLDER / "expected.json").write_text(json.dumps(expected), encoding="utf-8")
    shutil.rmtree(FOLDER / "cache", ignore_errors=True)
    (FOLDER / "cache").mkdir()
    compiling, report = _run("imports"), _run("all")
    failed = _table(outcomes, report["cases"])
    _facts(compiling, report)
    print(f"{len(CASES) - failed} passed, {failed} failed")
    raise SystemExit(bool(failed))


def _run(what: str) -> dict[str, Any]:
    command = ("node", Path(__file__).with_name("run.mjs"), FOLDER, ROOT, what)
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own program
    if done.returncode:
        raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def _table(outcomes: dict[str, Any], wrong: dict[str, list[str]]) -> int:
    """Prints what each case comes to, and whether each shell says so. Returns how many differ."""
    failed = 0
    print(f"{'case':46} {'comes to':22} blocking  asynchronous  binding (WebAssembly)")
    for name, (blocking, asynchronous, _) in outcomes.items():
        same = blocking.plain() == asynchronous.plain()
        failed += not same or bool(wrong[name])
        verdict = asynchronous.error["type"] if asynchronous.error else "an answer"
        binding = "OTHER" if wrong[name] else "same"
        print(f"{name:46} {verdict:22} same      {'same' if same else 'OTHER':12}  {binding}")
        for flaw in wrong[name]:
            print(f"    {flaw[:2000]}")
    return failed


def _facts(compiling: dict[str, Any], report: dict[str, Any]) -> None:
    pyodide = FOLDER / "node_modules" / "pyodide"
    runtime = sum((pyodide / name).stat().st_size for name in ("pyodide.asm.wasm", "python_stdlib.zip"))
    print()
    print(f"Python {report['python']} in Pyodide; boot {report['boot']} ms; runtime {runtime / 1e6:.1f} MB")
    print(f"packed: cf_gemma {_packed(OURS[:1])} kB, langchain_cf_gemma {_packed(OURS[1:])} kB", end="")
    print(f", pydantic {_packed(('core',))} kB, langchain-core and what it needs {_packed(('langchain',))} kB")
    for name in ("import cf_gemma", "import langchain_core", "import langchain_cf_gemma"):
        print(f"{name}: {report[name]} ms; {compiling[name]} ms where it is compiled on the way")
    print(f"HTTP libraries loaded by cf_gemma: {report['loaded'] or 'none'}")
    print(f"what langchain_cf_gemma loads beside langchain_core: {', '.join(report['beside langchain_core'])}")
    print("microseconds for an event of a stream:", json.dumps(report["event"]))
    for name in ("older bindings", "langchain", "example"):
        print(f"{name}: {json.dumps(report[name], ensure_ascii=False)}")


def _packed(names: tuple[str, ...]) -> int:
    """Kilobytes of the packed files under these folders."""
    with zipfile.ZipFile(FOLDER / "packages.zip") as archive:
        sizes = {entry.filename: entry.compress_size for entry in archive.infolist()}
    ours = {name for name in sizes if name.startswith(tuple(f"{our}/" for our in OURS))}
    if names[0] in OURS:
        return sum(sizes[name] for name in ours if name.startswith(f"{names[0]}/")) // 1000
    there = {str(path.relative_to(FOLDER / names[0])) for path in (FOLDER / names[0]).rglob("*")}
    return sum(sizes[name] for name in sizes.keys() & there) // 1000


def _quietly(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - from above
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:4])} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


if __name__ == "__main__":
    main()
