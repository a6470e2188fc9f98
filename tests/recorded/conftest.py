"""Cassettes: real HTTP, recorded by VCR.py into plain YAML, scrubbed, and replayed whole with the network blocked."""

from __future__ import annotations

import datetime
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from pytest_recording.plugin import block_network, vcr

from cf_gemma import __version__
from cf_gemma.emulator import Emulator
from cf_gemma.settings.defaults import BASE_URL
from tests.conftest import CREDENTIALS

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from vcr import VCR

__all__ = ["block_network", "vcr"]

LIVE = all(CREDENTIALS.values())
CASSETTES = "cassettes"
MODEL_PAGE = "https://developers.cloudflare.com/workers-ai/models/gemma-4-26b-a4b-it/"

_KEPT_RESPONSE_HEADERS = {"content-type", "retry-after", "cf-ai-neurons", "cf-ai-req-id", "cf-aig-cache-status"}
_KEPT_REQUEST_HEADERS = {"content-type"}
_DRAWN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_ROOT = re.compile(r"^https?://[^/]+/client/v4/accounts/[^/]+/")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Says where it can be looked up what the standard suite leaves out, which its own reasons don't."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple) and "langchain_tests" in str(report.longrepr[0]):
        path, line, reason = report.longrepr
        report.longrepr = (path, line, f"{reason} {MODEL_PAGE}")
    return report


class CassetteFormat:
    """YAML with its provenance first, and bodies as blocks that a person can read."""

    @staticmethod
    def serialize(cassette: dict[str, Any]) -> str:
        return yaml.dump(
            {"provenance": provenance(), **cassette}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000
        )

    @staticmethod
    def deserialize(text: str) -> dict[str, Any]:
        return yaml.safe_load(text)


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks."""


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _block)


def provenance() -> dict[str, str]:
    """Where a recording comes from. A recording of the emulator must never pass for one of the service."""
    emulator = f"cf_gemma.emulator {__version__} with a scripted engine, not the live service"
    return {
        "recorded_from": "the live service" if LIVE else emulator,
        "recorded_on": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def _scrubbed_request(request: Any) -> Any:
    """One address and no credentials, whoever recorded it; also on replay, so that any account matches."""
    request.uri = _ROOT.sub(f"{BASE_URL}/accounts/ACCOUNT_ID/", request.uri)
    request.headers = {name: value for name, value in request.headers.items() if name.lower() in _KEPT_REQUEST_HEADERS}
    return request


def _scrubbed_response(response: dict[str, Any]) -> dict[str, Any]:
    headers = response["headers"]
    response["headers"] = {name: headers[name] for name in headers if name.lower() in _KEPT_RESPONSE_HEADERS}
    return response


def _same_body(recorded: Any, sent: Any) -> None:
    assert _comparable(recorded.body) == _comparable(sent.body)


def _comparable(body: bytes | str) -> Any:
    """The body's JSON, without what is drawn anew in each run: ids that LangChain makes of example calls.

    White space counts as one blank: Python 3.13 takes the indentation out of docstrings, and those describe tools.
    """
    text = re.sub(r"(?:\\n|\s)+", " ", body.decode() if isinstance(body, bytes) else body)
    drawn = list(dict.fromkeys(_DRAWN.findall(text)))
    for place, identity in enumerate(drawn):
        text = text.replace(identity, f"drawn-{place}")
    return json.loads(text)


def pytest_recording_configure(config: pytest.Config, vcr: VCR) -> None:
    """Makes cassettes be written and read in our format."""
    vcr.register_serializer("yaml", CassetteFormat())
    vcr.register_matcher("same body", _same_body)


@pytest.fixture(scope="session")
def vcr_config() -> dict[str, Any]:
    """How requests are matched, and what of them is kept."""
    return {
        "serializer": "yaml",
        "match_on": ["method", "uri", "same body"],
        "allow_playback_repeats": False,
        "decode_compressed_response": True,
        "before_record_request": _scrubbed_request,
        "before_record_response": _scrubbed_response,
    }


@pytest.fixture(scope="module")
def vcr_cassette_dir(request: pytest.FixtureRequest) -> str:
    """One folder for each module of tests."""
    return str(request.config.rootpath / CASSETTES / request.path.stem.removeprefix("test_"))


_JSON_SCHEMA_IS_DEFAULT = re.compile(r"^TestStandardJsonSchema::")
_NOT_ABOUT_STRUCTURE = re.compile(r"^TestStandardFunctionCalling::(?!test_structured_output)")


def cassette_name(test: str) -> str:
    """The cassette of a test, given as `Class::test[parameters]`.

    LangChain's standard suite runs once for each way to structured output. What two runs ask alike, byte for byte, is
    recorded once: by `TestStandard`.
    """
    for shared in (_JSON_SCHEMA_IS_DEFAULT, _NOT_ABOUT_STRUCTURE):
        test = shared.sub("TestStandard::", test)
    return test.replace("::", ".")


@pytest.fixture
def default_cassette_name(request: pytest.FixtureRequest, record_mode: str) -> str:
    """Which cassette is replayed; a shared one is recorded by the test that it is named for, and by no other."""
    test = request.node.nodeid.partition("::")[2]
    name = cassette_name(test)
    if record_mode != "none" and name != test.replace("::", "."):
        pytest.skip(f"{name} is recorded by its own test")
    return name


@pytest.fixture(autouse=True)
def _whole_cassette(request: pytest.FixtureRequest, record_mode: str) -> Iterator[None]:
    """A cassette is replayed to its end: an interaction that nobody asks for any more is stale."""
    if request.node.get_closest_marker("vcr") is None:
        yield
        return
    cassette = request.getfixturevalue("vcr")
    yield
    if record_mode == "none":
        assert cassette.all_played, f"{cassette.play_count} of {len(cassette)} recorded interactions were replayed"


@pytest.fixture
def service(record_mode: str) -> Iterator[Callable[..., dict[str, Any]]]:
    """Connection arguments for either adapter: of the service, of the cassette, or of an emulator with this script.

    What else is given are the emulator's own options.
    """
    running: list[Emulator] = []

    def connect(script: Any, **options: Any) -> dict[str, Any]:
        if record_mode == "none":
            return {"account_id": "account", "api_token": "token"}
        if LIVE:
            return {
                "account_id": CREDENTIALS["CLOUDFLARE_ACCOUNT_ID"],
                "api_token": CREDENTIALS["CLOUDFLARE_API_TOKEN"],
            }
        emulator = Emulator(script, **{"dialect": "S", **options})
        running.append(emulator)
        return {
            "account_id": emulator.account_id,
            "api_token": emulator.api_token,
            "base_url": emulator.base_url,
        }

    yield connect
    for emulator in running:
        emulator.close()
