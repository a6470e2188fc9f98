"""Cloudflare's own SDK: `ai.run`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cf_gemma.emulator import Emulator, Fault
from cf_gemma.model.facts import MODEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

cloudflare = pytest.importorskip("cloudflare", reason="github.com/cloudflare/cloudflare-python is not installed")
HI: Any = [{"role": "user", "content": "Hi"}]


@pytest.fixture
def connect(serve: Callable[[Any], Emulator]) -> Iterator[Callable[[Any], tuple[Any, Emulator]]]:
    """Clients of emulators with a script."""
    clients: list[Any] = []

    def start(script: Any) -> tuple[Any, Emulator]:
        emulator = serve(script)
        clients.append(cloudflare.Cloudflare(api_token=emulator.api_token, base_url=emulator.base_url, max_retries=1))
        return clients[-1], emulator

    yield start
    for client in clients:
        client.close()


def test_run(connect: Callable[[Any], tuple[Any, Emulator]]) -> None:
    """The result comes out of its envelope, though the model is percent-encoded on the wire."""
    client, emulator = connect("Hello!")
    result = client.ai.run(MODEL, account_id=emulator.account_id, messages=HI, max_tokens=20)
    assert result["choices"][0]["message"]["content"] == "Hello!"
    assert result["usage"]["neurons"] > 0
    assert emulator.requests[0].json == {"messages": HI, "max_tokens": 20}


def test_errors(connect: Callable[[Any], tuple[Any, Emulator]]) -> None:
    """A busy moment is waited out, and a refusal has its class and its code."""
    client, emulator = connect([Fault(429, 3040, retry_after=0.01), "Hello!"])
    result = client.ai.run(MODEL, account_id=emulator.account_id, prompt="Hi")
    assert result["choices"][0]["message"]["content"] == "Hello!"
    with pytest.raises(cloudflare.BadRequestError) as refused:
        client.ai.run("@cf/nobody/nothing", account_id=emulator.account_id, prompt="Hi")
    assert refused.value.errors[0].code == 5007


def test_models_and_token(connect: Callable[[Any], tuple[Any, Emulator]]) -> None:
    """The catalogue is searched, and the token verified."""
    client, emulator = connect("Hello!")
    page = client.ai.models.list(account_id=emulator.account_id, search="gemma")
    assert [model["name"] for model in page.result] == [MODEL]
    assert client.user.tokens.verify().status == "active"
