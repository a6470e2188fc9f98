"""Copies, pickles and what must stay out of them."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.exceptions import ModelInvalidRequestError
from langchain_core.rate_limiters import InMemoryRateLimiter

from cf_gemma.errors import ConfigurationError
from langchain_cf_gemma import ChatCloudflareGemma
from tests.langchain.conftest import CANARY, gemma

if TYPE_CHECKING:
    from tests.langchain.conftest import Emulate

pytestmark = pytest.mark.usefixtures("bare_environment")


async def test_changed_settings(emulate: Emulate) -> None:
    """A setting that is changed on a model holds from the next call on, and is checked."""
    (model, _), (_, other) = emulate(["A"]), emulate(["B"])
    assert model.invoke("Hi").text == "A"
    model.base_url = other.base_url
    assert model.invoke("Hi").text == "B"
    broken = gemma()
    broken.base_url = "http://example.com"
    with pytest.raises(ConfigurationError, match="base_url"):
        broken.invoke("Hi")


async def test_copies(emulate: Emulate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that was used can be copied and pickled, and the copies answer, too.

    The pickle is without the token, which the environment gives where it is loaded.
    """
    emulated = emulate(["A", "B", "C", "D"])
    assert emulated.model.invoke("Hi").text == "A"
    assert (await emulated.model.ainvoke("Hi")).text == "B"
    assert copy.deepcopy(emulated.model).invoke("Hi").text == "C"
    pickled = pickle.dumps(emulated.model)
    token = emulated.model.api_token.get_secret_value()
    assert token.encode() not in pickled
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", token)
    assert pickle.loads(pickled).invoke("Hi").text == "D"  # noqa: S301  (our own bytes)


async def test_copy_with_other_settings(emulate: Emulate) -> None:
    """A copy of a used model with another setting goes by that setting; without one it shares the connections."""
    (model, one), (_, other) = emulate(["A"] * 3), emulate(["B"] * 2)
    assert model.invoke("Hi").text == (await model.ainvoke("Hi")).text == "A"
    moved = model.model_copy(update={"base_url": other.base_url, "api_token": other.api_token})
    assert moved.invoke("Hi").text == (await moved.ainvoke("Hi")).text == "B"
    assert other.api_token not in repr(moved)
    moved.client.close()
    await moved.async_client.aclose()
    warmer = model.model_copy(update={"temperature": 0.5}, deep=True)
    assert warmer.client is model.client
    assert warmer.invoke("Hi").text == "A"
    assert (one.requests[-1].json["temperature"], model.temperature) == (0.5, None)
    for setting in ({"account_id": "b"}, {"gateway": "b"}, {"timeout": 1.0}, {"http_client": None}):
        assert model.model_copy(update=setting).client is not model.client, setting
    with pytest.raises(ValueError, match="temprature"):
        model.model_copy(update={"temprature": 1})


def test_deep_copy_shares_what_is_bound_to_the_process() -> None:
    """What has locks and sockets, and so can't be copied, is shared by a deep copy; the rest is its own."""
    with httpx.Client() as client:
        shared = {"http_client": client, "rate_limiter": InMemoryRateLimiter(), "cache": InMemoryCache()}
        model = gemma(**shared, extra_body={"options": {}})
        model.client  # noqa: B018 - made on demand
        for copied in (copy.deepcopy(model), copy.deepcopy([model])[0], model.model_copy(deep=True)):
            assert isinstance(copied, ChatCloudflareGemma)
            assert all(getattr(copied, name) is value for name, value in shared.items())
            assert copied.extra_body == model.extra_body
            assert copied.extra_body is not model.extra_body


SECRET_HEADERS = (
    "Authorization",
    "cf-aig-authorization",
    "Proxy-Authorization",
    "Cookie",
    "x-api-key",
    "X-Auth-Key",
    "apikey",
    "cf-access-client-secret",
    "cf-access-token",
    "x-key",
    "x-password",
)


@pytest.mark.parametrize("name", SECRET_HEADERS)
async def test_secret_of_a_call(emulate: Emulate, name: str) -> None:
    """A secret among a call's headers is refused, with the remedy, before a tracer, a cache or a `repr` has it."""
    seen: list[str] = []

    class Tracer(BaseCallbackHandler):
        def on_chat_model_start(self, *_: Any, **facts: Any) -> None:
            seen.append(str(facts))

    emulated = emulate(["Hi!"], cache=InMemoryCache())
    model, config = emulated.model, {"callbacks": [Tracer()]}
    options: dict[str, Any] = {"extra_headers": {name: CANARY}}
    ways = [
        lambda: model.invoke("Hi", config, **options),
        lambda: list(model.stream("Hi", config, **options)),
        lambda: model.bind(**options),
        lambda: model.bind_tools([], **options),
        lambda: model.bind().bind(**options).invoke("Hi", config),
        lambda: model.batch_queue(["Hi"], **options),
    ]
    for way in ways:
        with pytest.raises(ModelInvalidRequestError, match=f"{name}.*default_headers") as caught:
            way()
        assert CANARY not in str(caught.value)
    with pytest.raises(ModelInvalidRequestError):
        await model.ainvoke("Hi", config, **options)
    assert not seen
    assert not emulated.requests


@pytest.mark.parametrize("body", [{"api_key": CANARY}, {"aws": {"api_key": CANARY}}, {"vendor": {"apiToken": CANARY}}])
async def test_secret_in_a_body(emulate: Emulate, body: dict[str, Any]) -> None:
    """A secret in the body of a call is refused, however deep it stands, and nothing is sent."""
    emulated = emulate(["Hi!"])
    with pytest.raises(ModelInvalidRequestError, match=r"extra_body.*looks like a secret") as caught:
        emulated.model.invoke("Hi", extra_body=body)
    assert CANARY not in str(caught.value)
    assert not emulated.requests


async def test_pickle_has_no_headers(emulate: Emulate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle is without the headers, any of which may be secret, and says so."""
    emulated = emulate(["Hi!"], default_headers={"x-custom": CANARY})
    with pytest.warns(UserWarning, match="leaves out default_headers"):
        pickled = pickle.dumps(emulated.model)
    assert CANARY.encode() not in pickled
    assert emulated.model.default_headers == {"x-custom": CANARY}
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", emulated.emulator.api_token)
    assert pickle.loads(pickled).invoke("Hi").text == "Hi!"  # noqa: S301  (our own bytes)


async def test_pickle_has_no_rate_limiter(emulate: Emulate, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rate limiter belongs to its process: a pickle is without it, and says so; without loss there is no word."""
    emulated = emulate(["Hi!"], rate_limiter=InMemoryRateLimiter())
    with pytest.warns(UserWarning, match="leaves out rate_limiter"):
        pickled = pickle.dumps(emulated.model)
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", emulated.emulator.api_token)
    loaded = pickle.loads(pickled)  # noqa: S301  (our own bytes)
    assert pickle.dumps(loaded)
    assert loaded.invoke("Hi").text == "Hi!"
