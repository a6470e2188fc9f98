"""The processes that take part: the server, and a worker for each client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from benchmarks.samples import Sample

ROOT = Path(__file__).parent.parent
_FOREIGN = ("LANGCHAIN_", "LANGSMITH_", "OPENAI_", "CLOUDFLARE_", "CF_", "PYTHON")
_PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}


class Failed(Exception):
    """A worker couldn't do what it was asked for."""


class Lost(Exception):
    """A client lost something that the server sent."""


def environment(tree: Path = ROOT) -> dict[str, str]:
    """For a process that imports the packages of a tree; without whatever would steer one of the clients."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_FOREIGN) and name.lower() not in _PROXIES
    }
    return {**kept, "PYTHONPATH": str(tree)}


class Process:
    """A module of this package, run with the packages of a tree, and spoken to over pipes."""

    def __init__(self, module: str, tree: Path = ROOT) -> None:
        # The harness is this one, whatever tree is measured: it is imported before the tree's own can be.
        code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from {module} import main; del sys.path[0]; main()"
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-P", "-c", code],
            env=environment(tree),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def write(self, line: str) -> None:
        """Sends a line."""
        assert self._process.stdin is not None  # noqa: S101 - a pipe
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def read(self) -> str:
        """Waits for a line."""
        assert self._process.stdout is not None  # noqa: S101 - a pipe
        line = self._process.stdout.readline()
        if not line:
            raise Failed(f"a process ended with {self._process.wait()}")
        return line

    def close(self) -> None:
        """Ends it by closing its input."""
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Server(Process):
    """The loopback server."""

    def __init__(self) -> None:
        super().__init__("benchmarks.server")
        self.root = f"http://127.0.0.1:{int(self.read())}"


class Worker(Process):
    """A client in a process of its own."""

    def __init__(self, target: str, root: str, tree: Path = ROOT) -> None:
        super().__init__("benchmarks.worker", tree)
        self.write(json.dumps({"target": target, "root": root, "tree": str(tree)}))

    def cost(self, sample: Sample) -> dict[str, float]:
        """What a sample costs it. Raises Lost, Failed."""
        self.write(json.dumps(sample.to_json()))
        reply: dict[str, Any] = json.loads(self.read())
        if "lost" in reply:
            raise Lost(reply["lost"])
        if "error" in reply:
            raise Failed(reply["error"])
        return reply
