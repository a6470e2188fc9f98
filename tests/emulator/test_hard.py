"""The emulator answers whatever comes like the service, and keeps nothing of strangers."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from cf_gemma.emulator import Emulator
from cf_gemma.emulator.edge import service
from tests.emulator.conftest import PLAIN

if TYPE_CHECKING:
    from collections.abc import Iterator

MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """One that always answers "Yes."."""
    with Emulator("Yes.") as emulator:
        yield emulator


def nested(levels: int) -> str:
    """Arrays within arrays."""
    return "[" * levels + "]" * levels


def image(data: str) -> str:
    """A question about a picture with this base64."""
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    return json.dumps({"messages": [{"role": "user", "content": [part]}]}, ensure_ascii=False)


ODD = {
    "nested 5,000 deep": '{"messages": ' + nested(5_000) + "}",
    "nested 900 deep": '{"messages": ' + nested(900) + "}",
    "nested 900 deep beside a question": json.dumps({"messages": MESSAGES})[:-1] + ', "more": ' + nested(900) + "}",
    "a tool's schema 400 deep": json.dumps({"messages": MESSAGES})[:-1]
    + ', "tools": [{"type": "function", "function": {"name": "f", "parameters": '
    + '{"properties": {"a": ' * 200
    + "{}"
    + "}}" * 200
    + "}}]}",
    "base64 that is no ASCII": image("é" * 8),
    "base64 with half a surrogate": image("").replace("base64,", "base64,\\ud800"),
    "half a surrogate": '{"messages": [{"role": "user", "content": "\\ud800"}]}',
    "no object": "7",
    "a number of 5,000 digits": '{"messages": ' + "7" * 5_000 + "}",
    "NaN": '{"messages": [{"role": "user", "content": "hi"}], "temperature": NaN}',
    "nothing": "",
    "a queue of nothing": '{"requests": ' + nested(900) + "}",
    "an odd request id": '{"request_id": {"a": []}}',
}


@pytest.mark.parametrize("query", ["", "?queueRequest=true", "?queueRequest=%ff&queueRequest=%00"])
@pytest.mark.parametrize("path", ["ai/run/@cf/google/gemma-4-26b-a4b-it", "ai/v1/chat/completions", "ai/run"])
@pytest.mark.parametrize("name", ODD)
def test_odd_requests(name: str, path: str, query: str, emulator: Emulator) -> None:
    """Whatever a request holds, the answer is one of the service's, and never a bare 500."""
    url = f"{emulator.base_url}/accounts/{emulator.account_id}/{path}{query}"
    headers = {"authorization": f"Bearer {emulator.api_token}"}
    answer = httpx.post(url, content=ODD[name].encode(), headers=headers, verify=PLAIN)
    assert answer.status_code < 500
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.json()


@pytest.mark.parametrize(
    "query", ["page=x", "page=-1", "search=%ff", "model=%00", "model[]=a", "&&&=", "model=" + "a" * 9_000]
)
@pytest.mark.parametrize("path", ["models/search", "models/schema"])
def test_odd_queries(path: str, query: str, emulator: Emulator) -> None:
    """The same for what stands in a query."""
    url = f"{emulator.base_url}/accounts/{emulator.account_id}/ai/{path}?{query}"
    answer = httpx.get(url, headers={"authorization": f"Bearer {emulator.api_token}"}, verify=PLAIN)
    assert answer.status_code < 500
    assert "success" in answer.json()


def test_a_bug_of_its_own_has_an_envelope(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong within is logged, and the client gets an error that it can read."""

    def odd(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(service, "check", odd)
    url = f"{emulator.base_url}/accounts/{emulator.account_id}/ai/run/@cf/google/gemma-4-26b-a4b-it"
    answer = httpx.post(url, json={"messages": MESSAGES}, headers={"authorization": f"Bearer {emulator.api_token}"})
    assert (answer.status_code, answer.json()["success"]) == (500, False)


@pytest.mark.parametrize("path", ["accounts/{}/ai/run/@cf/google/gemma-4-26b-a4b-it", "nowhere"])
def test_nothing_of_strangers_is_kept(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body without the token is read past, and refused in the service's words; one over the limit is cut off."""
    monkeypatch.setattr(service, "STRANGERS_LIMIT", 1_000)
    with Emulator("Yes.") as emulator:
        url = f"{emulator.base_url}/{path.format(emulator.account_id)}"
        answer = httpx.post(url, json={"prompt": "x" * 2_000_000}, headers={"authorization": "Bearer x"})
        assert answer.status_code in (400, 401, 403, 404)
        assert [request.json for request in emulator.requests] == [None]


def test_a_body_over_the_limit(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is refused as the service refuses it."""
    monkeypatch.setattr(service, "BODY_LIMIT", 1_000)
    url = f"{emulator.base_url}/accounts/{emulator.account_id}/ai/run/@cf/google/gemma-4-26b-a4b-it"
    headers = {"authorization": f"Bearer {emulator.api_token}"}
    answer = httpx.post(url, json={"prompt": "x" * 2_000}, headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (413, 3006)


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])  # noqa: S104 - the point
def test_listening_beyond_this_machine(host: str, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    """It says so when it listens where others reach it."""
    with caplog.at_level(logging.WARNING, "cf_gemma.emulator"), Emulator("Yes.", host=host) as emulator:
        assert emulator.is_local is not warned
    assert ("beyond this machine" in caplog.text) is warned
