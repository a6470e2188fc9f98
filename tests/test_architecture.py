"""Who may import whom: the rules that keep the core pure, the adapters apart, and the network in one place."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

import cf_gemma

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
ADAPTERS = ("langchain_cf_gemma", "llama_index_cf_gemma")
FRAMEWORKS = ("langchain", "langchain_core", "llama_index", "langgraph", "langsmith", *ADAPTERS)
PUBLIC_MODULES = tuple(
    f"cf_gemma.{name}"
    for name in (
        "client.fields",
        "client.patterns",
        "errors",
        "model.estimate",
        "settings.defaults",
        "settings.secrecy",
        "structured",
    )
)
"""What an adapter may import besides the names in `cf_gemma.__all__`."""

NETWORK = ("client.budget", "client.fields", "client.gemma", "queue.batch", "telemetry")
"""The modules of the core outside the transport that lead to sockets, threads, clocks or dice. All others are pure."""

ROOMS = ("model", "errors", "settings", "request", "response", "transport", "queue", "client")
"""The rooms of the core, from the lowest to the highest: each imports itself and those below."""

IMPURE = (
    *("asyncio", "httpx", "time", "logging", "random", "socket", "ssl", "threading", "subprocess", "select", "secrets"),
    *("http", "urllib.request", "concurrent", "multiprocessing", "sched", "signal"),
)


class Import(NamedTuple):
    """One import statement."""

    module: str
    names: tuple[str, ...]
    runtime: bool
    """Whether it is carried out when the module is loaded: not for type checkers only, and not within a function."""

    def within(self, *packages: str) -> bool:
        """Whether it is of one of these packages."""
        return any(self.module == package or self.module.startswith(f"{package}.") for package in packages)


@cache
def imports(path: Path) -> tuple[Import, ...]:
    """All import statements of a file; relative ones don't occur."""
    return tuple(_imports(ast.parse(path.read_text("utf-8")), runtime=True))


def _imports(node: ast.AST, *, runtime: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, (), runtime) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports are absolute here"
            assert child.module
            yield Import(child.module, tuple(alias.name for alias in child.names), runtime)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from (imported for part in child.body for imported in _imports(ast.Module([part], []), runtime=False))
            yield from (
                imported for part in child.orelse for imported in _imports(ast.Module([part], []), runtime=runtime)
            )
        else:
            inner = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, runtime=runtime and not inner)


def files(package: str) -> list[Path]:
    """The source files of a package, its subpackages included."""
    return sorted((ROOT / package).rglob("*.py"))


TRANSPORT = files("cf_gemma/transport")
TOP = sorted(path for path in (ROOT / "cf_gemma").glob("*.py") if path.stem not in ("__init__", "__main__", "ray"))
"""What stands in no room. `ray` stands on the bulk jobs, above the core."""
CORE = [*TOP, *(path for room in ROOMS for path in files(f"cf_gemma/{room}"))]
PURE = [
    path
    for path in CORE
    if path not in TRANSPORT and ".".join(path.with_suffix("").relative_to(ROOT / "cf_gemma").parts) not in NETWORK
]


def name(path: Path) -> str:
    """A file's name for the list of tests."""
    return str(path.relative_to(ROOT))


def broken(path: Path, *packages: str) -> list[str]:
    """The imports of these packages, which there must not be."""
    return [imported.module for imported in imports(path) if imported.within(*packages)]


@pytest.mark.parametrize("path", CORE + files("cf_gemma/emulator"), ids=name)
def test_the_core_knows_no_framework(path: Path) -> None:
    """Neither the core nor the emulator imports LangChain, LlamaIndex or an adapter, not even for types."""
    assert broken(path, *FRAMEWORKS) == []


@pytest.mark.parametrize("path", CORE, ids=name)
def test_the_core_knows_nothing_above_it(path: Path) -> None:
    """The core imports neither the emulator nor the command line, nor what they stand on."""
    above = ("cf_gemma.emulator", "cf_gemma.cli", "starlette", "uvicorn", "xllamacpp", "typer", "rich")
    assert broken(path, *above) == []


@pytest.mark.parametrize("path", [path for package in ("cf_gemma", *ADAPTERS) for path in files(package)], ids=name)
def test_only_the_transport_knows_httpx(path: Path) -> None:
    """One package talks to the HTTP library."""
    assert path in TRANSPORT or broken(path, "httpx") == []


@pytest.mark.parametrize(
    ("room", "path"),
    [(room, path) for room in ROOMS for path in files(f"cf_gemma/{room}")],
    ids=lambda value: value if isinstance(value, str) else name(value),
)
def test_rooms_import_downwards(room: str, path: Path) -> None:
    """A request is made, sent, and its answer understood: no room knows one above it, not even for types."""
    above = [f"cf_gemma.{other}" for other in ROOMS[ROOMS.index(room) + 1 :]]
    assert broken(path, *above, "cf_gemma.bulk", "cf_gemma.telemetry") == []


@pytest.mark.parametrize("path", [path for path in TOP if path.stem != "telemetry"], ids=name)
def test_what_everybody_may_know_knows_no_room(path: Path) -> None:
    """What stands in no room knows the model and the errors, and no room above them."""
    assert broken(path, *(f"cf_gemma.{room}" for room in ROOMS[ROOMS.index("settings") :])) == []


@pytest.mark.parametrize("path", PURE, ids=name)
def test_pure_modules_are_pure(path: Path) -> None:
    """What decides doesn't act: no sockets, threads, clocks, dice or logs, also by way of other modules of ours."""
    assert broken(path, *IMPURE) == []
    network = [f"cf_gemma.{module}" for module in NETWORK]
    assert [imported.module for imported in imports(path) if imported.runtime and imported.within(*network)] == []


@pytest.mark.parametrize("path", [path for package in ADAPTERS for path in files(package)], ids=name)
def test_adapters_use_public_names_only(path: Path) -> None:
    """An adapter imports the core's public names and its own package, and never the other adapter."""
    other = next(adapter for adapter in ADAPTERS if adapter != path.relative_to(ROOT).parts[0])
    assert broken(path, other) == []
    for imported in imports(path):
        if imported.within("cf_gemma"):
            assert imported.module in ("cf_gemma", *PUBLIC_MODULES)
            if imported.module == "cf_gemma":
                submodules = {module.partition(".")[2] for module in PUBLIC_MODULES}
                assert set(imported.names) <= set(cf_gemma.__all__) | submodules
            else:
                assert [name for name in imported.names if name.startswith("_")] == []


def test_nothing_goes_in_circles() -> None:
    """The modules of each package can be put in an order in which each imports earlier ones only."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in ("cf_gemma", *ADAPTERS)
        for path in files(package)
    }
    left = {
        module: {
            target
            for imported in imports(path)
            if imported.runtime
            for target in (imported.module, *(f"{imported.module}.{part}" for part in imported.names))
            if target in modules and target != module and modules[target].stem != "__init__"
        }
        for module, path in modules.items()
    }
    while free := [module for module, needs in left.items() if not needs & left.keys()]:
        for module in free:
            del left[module]
    assert left == {}


HEAVY = {
    *("langchain", "langchain_core", "llama_index", "httpx", "httpcore"),
    *("starlette", "uvicorn", "typer", "rich", "PIL", "xllamacpp"),
}


@pytest.mark.parametrize(
    "code", ["import cf_gemma", "import cf_gemma; cf_gemma.Gemma('acc', 'token'); cf_gemma.AsyncGemma('acc', 'token')"]
)
def test_importing_is_light(code: str) -> None:
    """Importing the core, and making models, loads no framework, no HTTP library, and nothing that only extras need."""
    script = f"{code}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603 - our own program
    loaded = set(done.stdout.split())
    assert "cf_gemma" in loaded
    assert ("cf_gemma.client.gemma" in loaded) is ("Gemma" in code)
    assert loaded & HEAVY == set()


def test_public_names_are_there_when_asked_for() -> None:
    """After `import cf_gemma` alone each public name, and each module, is there, and nothing else seems to be."""
    script = """
import cf_gemma
assert {*cf_gemma.__all__} <= {*dir(cf_gemma)}
for name in cf_gemma.__all__:
    assert getattr(cf_gemma, name) is vars(cf_gemma)[name]
assert issubclass(cf_gemma.errors.RateLimited, cf_gemma.GemmaError)
assert cf_gemma.request.images.sniff(b"") is None
for name in ("Gema", "_nothing", "nothing"):
    assert not hasattr(cf_gemma, name)
from cf_gemma import *
print(Gemma.__module__, Completion.__module__, Options.__module__, GemmaError.__module__)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603 - our own program
    assert done.stdout.split() == [
        f"cf_gemma.{name}" for name in ("client.gemma", "model.completion", "request.parameters", "errors")
    ]
