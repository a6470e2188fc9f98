"""docs/testing.md, whose blocks are a test suite."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

pytest_plugins = ["pytester"]

DOCUMENT = Path(__file__).parents[2] / "docs" / "testing.md"
FILES = dict(re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", DOCUMENT.read_text("utf-8"), re.MULTILINE | re.DOTALL))
(SETTINGS,) = re.findall(r"^```ini\n# pytest\.ini\n(.*?)^```", DOCUMENT.read_text("utf-8"), re.MULTILINE | re.DOTALL)
INI = f"""\
{SETTINGS}
filterwarnings =
    error
    ignore::pydantic.warnings.PydanticDeprecatedSince20
    ignore::pydantic.warnings.PydanticDeprecatedSince211
    ignore:There is no current event loop:DeprecationWarning
"""
"""The document's own; and warnings of llama-index-core's, the last on Python 3.12 and newer, where its `asyncio_run`
asks for a loop."""


def test_blocks_pass(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The document's blocks, each in the file that it names, are a suite that passes, in a pytest of its own."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # as bare as it can be; and twice as fast
    for name, content in FILES.items():
        (pytester.path / name).write_text(content, "utf-8")
    pytester.makeini(INI)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", timeout=60)
    result.assert_outcomes(passed=sum(content.count("\ndef test_") for content in FILES.values()))
    assert len(FILES) >= 6


def test_every_block_runs() -> None:
    """No block of the document is left out for want of a file name."""
    assert DOCUMENT.read_text("utf-8").count("```python") == len(FILES)
