from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.recorded.conftest import cassette_name

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CASSETTES = sorted((ROOT / "cassettes").rglob("*.yaml"))

NEVER_CALL = {"test_no_overrides_DO_NOT_OVERRIDE", "test_pdf_inputs", "test_audio_inputs", "test_pdf_tool_message"}
"""Stock tests that make no request: the first looks at the class, the others are of content that Gemma doesn't take."""

SECRETS = {
    "a bearer token": re.compile(r"(?i)bearer\s"),
    "an authorization header": re.compile(r"(?i)^\s*(?:cf-aig-)?authorization:", re.MULTILINE),
    "an account id": re.compile(r"/accounts/(?!ACCOUNT_ID/)"),
    "a cookie": re.compile(r"(?i)set-cookie|__cf_bm"),
    "an e-mail address": re.compile(r"[\w.+-]+@[\w-]+\.\w{2,}"),
    "an API token": re.compile(r"\bcf[aeu]t_\w+"),
}


@pytest.mark.parametrize("cassette", CASSETTES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_is_clean(cassette: Path) -> None:
    """A cassette holds no secret, and says where it was recorded."""
    text = cassette.read_text(encoding="utf-8")
    assert not [name for name, pattern in SECRETS.items() if pattern.search(text)]
    provenance = yaml.safe_load(text)["provenance"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", provenance["recorded_on"])
    assert provenance["recorded_from"] == "the live service" or "not the live service" in provenance["recorded_from"]


def test_none_is_an_orphan(request: pytest.FixtureRequest) -> None:
    """Each cassette belongs to a test that is there, and each recorded test has its cassette."""
    nodes = re.findall(r"^tests/recorded/test_(\w+)\.py::(.+)$", "\n".join(recorded(request)), re.MULTILINE)
    assert {(module, cassette_name(test)) for module, test in nodes if test.rpartition("::")[2] not in NEVER_CALL} == {
        (path.parent.name, path.stem) for path in CASSETTES
    }


def recorded(request: pytest.FixtureRequest) -> list[str]:
    """The ids of all recorded tests: those of this run if none is left out of it, else collected by another process."""
    options = request.config.option
    chosen = options.keyword or options.markexpr or options.lf or any("::" in place for place in request.config.args)
    if not chosen and {*HERE.glob("test_*.py")} <= {item.path for item in request.session.items}:
        return [item.nodeid for item in request.session.items if item.get_closest_marker("vcr")]
    collected = subprocess.run(  # noqa: S603 - our own tests
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "vcr", HERE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return collected.stdout.splitlines()
