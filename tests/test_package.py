"""What is released: the wheel and the source distribution, built here as for a release."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

from cf_gemma import __version__

if TYPE_CHECKING:
    from email.message import Message

ROOT = Path(__file__).parent.parent
PACKAGES = ("cf_gemma", "langchain_cf_gemma", "llama_index_cf_gemma", "llama_index")
LARGEST = 1_000_000
"""Bytes that a distribution may have."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the source distribution."""
    place = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(place), str(ROOT)]
    workflow = {"GITHUB_REPOSITORY": "acme/gemma", "GITHUB_REF_NAME": "v1", "GITHUB_SERVER_URL": "https://github.com"}
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **workflow})  # noqa: S603 - our own command
    return next(place.glob("*.whl")), next(place.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def metadata(built: tuple[Path, Path]) -> Message:
    """The wheel's."""
    with zipfile.ZipFile(built[0]) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith("METADATA"))
        return Parser().parsestr(wheel.read(name).decode())


def test_a_wheel_has_the_packages_and_nothing_else(built: tuple[Path, Path]) -> None:
    """All modules, the types' marker and the metadata; no tests, no examples, and nothing of the shared llama_index."""
    with zipfile.ZipFile(built[0]) as wheel:
        names = set(wheel.namelist())
    ours = {str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert ours <= names
    assert {f"{package}/py.typed" for package in PACKAGES[:3]} <= names
    assert "llama_index/__init__.py" not in names
    others = {name.partition("/")[0] for name in names} - set(PACKAGES)
    assert others == {f"cf_gemma-{__version__}.dist-info"}
    assert built[0].stat().st_size < LARGEST


def test_a_source_distribution_can_be_tested(built: tuple[Path, Path]) -> None:
    """It has the tests and the Makefile, and stays small: recordings are left out."""
    with tarfile.open(built[1]) as archive:
        tops = {Path(name).parts[1] for name in archive.getnames() if len(Path(name).parts) > 1}
    assert {"tests", "Makefile", "pyproject.toml", "constraints.txt", "LICENSE", "README.md", *PACKAGES} <= tops
    assert "cassettes" not in tops
    assert built[1].stat().st_size < LARGEST


def test_what_the_package_says_of_itself(metadata: Message) -> None:
    """The version stands in one place; extras cost what they are for; the model's engine is in none but its own."""
    assert metadata["Version"] == __version__
    needs = [Requirement(need) for need in metadata.get_all("Requires-Dist", [])]
    of_extra = {
        extra: sorted(need.name for need in needs if need.marker and need.marker.evaluate({"extra": extra}))
        for extra in metadata.get_all("Provides-Extra", [])
    }
    assert of_extra["testing"] == ["starlette", "uvicorn"]
    assert "xllamacpp" in of_extra["local"]
    assert [extra for extra, names in of_extra.items() if "langchain-core" in names] == ["all", "demo", "langchain"]
    assert sorted(need.name for need in needs if not need.marker) == ["httpx", "pydantic"]


def test_a_release_leads_to_its_repository(metadata: Message) -> None:
    """Built in a workflow, the metadata has the project's addresses, and every link of README works outside of it."""
    addresses = dict(line.split(", ") for line in metadata.get_all("Project-URL", []))
    assert addresses["Source"] == "https://github.com/acme/gemma"
    assert addresses["Changelog"] == "https://github.com/acme/gemma/blob/v1/CHANGELOG.md"
    readme = metadata.get_payload()
    assert "](https://github.com/acme/gemma/blob/v1/docs/langchain.md)" in readme
    assert re.findall(r"\]\((?!https?://|#)[^)]*\)", readme) == []
