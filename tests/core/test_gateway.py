from __future__ import annotations

import asyncio
import copy
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.load import dumps

from cf_gemma import AsyncGemma, Gateway, Gemma
from cf_gemma.emulator import Emulator, Fault, Reply, ScriptedEngine
from cf_gemma.errors import AuthenticationError, CapacityExceeded, ConfigurationError, NotFound
from cf_gemma.testing import no_waits
from langchain_cf_gemma import ChatCloudflareGemma
from llama_index_cf_gemma import CloudflareGemma

if TYPE_CHECKING:
    from collections.abc import Callable

QUESTION = "Why is the sky blue?"
SETTINGS = {
    "cache_ttl": 3_600,
    "cache_key": "sky",
    "skip_cache": False,
    "collect_log": True,
    "metadata": {"user": "u-7", "paid": True},
    "max_attempts": 3,
    "retry_delay": 250,
    "backoff": "exponential",
    "request_timeout": 10_000,
    "authorization": "gateway-canary",
}


def settings(emulator: Emulator, **more: Any) -> dict[str, Any]:
    """Where to ask."""
    place = {"account_id": emulator.account_id, "api_token": emulator.api_token, "base_url": emulator.base_url}
    return {**place, **more}


def test_every_setting_is_a_header() -> None:
    """Each setting goes out as the header that AI Gateway documents for it, and none that was not set."""
    assert Gateway("shop", **SETTINGS).headers == {
        "cf-aig-gateway-id": "shop",
        "cf-aig-cache-ttl": "3600",
        "cf-aig-cache-key": "sky",
        "cf-aig-skip-cache": "false",
        "cf-aig-collect-log": "true",
        "cf-aig-metadata": '{"user": "u-7", "paid": true}',
        "cf-aig-max-attempts": "3",
        "cf-aig-retry-delay": "250",
        "cf-aig-backoff": "exponential",
        "cf-aig-request-timeout": "10000",
        "cf-aig-authorization": "Bearer gateway-canary",
    }
    assert Gateway("shop").headers == {"cf-aig-gateway-id": "shop"}


@pytest.mark.parametrize(
    "bad",
    [
        {"id": "a shop"},
        {"cache_ttl": 5},
        {"cache_key": "canary\r\nx: y"},
        {"max_attempts": 6},
        {"retry_delay": 5_001},
        {"backoff": "canary"},
        {"metadata": dict.fromkeys("abcdef", "canary")},
        {"metadata": {"a": ["canary"]}},
        {"cach_ttl": 60},
    ],
    ids=str,
)
def test_what_a_gateway_would_refuse(bad: dict[str, Any]) -> None:
    """A setting out of range is named when the gateway is made, without its value."""
    with pytest.raises(ConfigurationError, match=r"^gateway: ") as caught:
        Gateway(**{"id": "shop", **bad})
    assert "canary" not in str(caught.value)


def test_a_token_that_is_no_header() -> None:
    """It is refused before anything is sent, and not shown."""
    with pytest.raises(ConfigurationError, match=r"^gateway: the value of cf-aig-authorization") as caught:
        Gemma("account", "token", gateway=Gateway("shop", authorization="canary\r\nx: y"))
    assert "canary" not in str(caught.value)


def test_its_token_is_never_shown() -> None:
    """Neither by the gateway nor by a model that has one, nor where a model is saved."""
    gateway = Gateway("shop", authorization="gateway-canary")
    place = {"account_id": "a", "api_token": "t", "gateway": gateway}
    for shown in (gateway, Gemma(**place), ChatCloudflareGemma(**place), CloudflareGemma(**place)):
        assert "gateway-canary" not in repr(shown)
    assert "gateway-canary" not in CloudflareGemma(**place).to_json()
    assert "gateway-canary" not in gateway.model_dump_json()
    for pickled in (gateway, ChatCloudflareGemma(**place), CloudflareGemma(**place)):
        assert b"gateway-canary" not in pickle.dumps(pickled)
    assert "gateway-canary" not in dumps(ChatCloudflareGemma(**place))


def test_a_saved_model_keeps_its_gateway() -> None:
    """All of its settings but the token come back."""
    gateway = Gateway("shop", cache_ttl=60, metadata={"user": "u-7"})
    llm = CloudflareGemma(account_id="a", api_token="t", gateway=gateway)
    assert CloudflareGemma.from_dict(llm.to_dict(), api_token="t").gateway == gateway
    model = ChatCloudflareGemma(account_id="a", api_token="t", gateway=gateway)
    assert pickle.loads(pickle.dumps(model)).gateway == gateway  # noqa: S301 - our own
    assert copy.deepcopy(model).gateway == gateway


@pytest.mark.parametrize("gateway", ["shop", Gateway("shop", cache_ttl=60)], ids=["name", "settings"])
def test_what_a_gateway_says_is_shown(gateway: str | Gateway) -> None:
    """Log id, cache status, step and model are in both frameworks' metadata, and in a completion."""
    with Emulator(ScriptedEngine([Reply("Rayleigh.")], repeat=True)) as emulator:
        place = settings(emulator, gateway=gateway)
        shown = Gemma(**place).chat(QUESTION).gateway
        assert {"log_id", "cache_status", "step", "model"} <= shown.keys()
        message = ChatCloudflareGemma(**place).invoke(QUESTION)
        assert message.response_metadata["gateway"].keys() == shown.keys()
        response = CloudflareGemma(**place).complete(QUESTION)
        assert response.additional_kwargs["gateway"].keys() == shown.keys()
        assert Gemma(**settings(emulator)).chat(QUESTION).gateway == {}


def test_a_cached_answer_is_marked() -> None:
    """The second of two equal requests is the gateway's own answer; with skip_cache it is not."""
    with Emulator([Reply("first"), Reply("second")]) as emulator:
        kept = Gemma(**settings(emulator, gateway=Gateway("shop", cache_ttl=60, cache_key="sky")))
        assert kept.chat(QUESTION).gateway["cache_status"] == "MISS"
        assert kept.chat("another question").gateway["cache_status"] == "HIT"
        fresh = Gemma(**settings(emulator, gateway=Gateway("shop", cache_key="sky", skip_cache=True)))
        assert fresh.chat(QUESTION).text == "second"


@pytest.mark.parametrize(("attempts", "requests"), [(3, 1), (1, 3), (None, 3)])
def test_its_retries_come_instead_of_ours(attempts: int | None, requests: int) -> None:
    """What a gateway with retries of its own gives up isn't sent again; there is one layer of them."""
    with Emulator(ScriptedEngine([Fault(429, 3040)], repeat=True)) as emulator, no_waits():
        gemma = Gemma(**settings(emulator, gateway=Gateway("shop", max_attempts=attempts)))
        with pytest.raises(CapacityExceeded):
            gemma.chat(QUESTION)
        assert len(emulator.requests) == requests


@pytest.mark.parametrize("model", [ChatCloudflareGemma, CloudflareGemma])
def test_an_affinity_of_one_call(model: Callable[..., Any]) -> None:
    """A conversation's id goes with its calls, over the model's own."""
    with Emulator(ScriptedEngine([Reply("a")], repeat=True)) as emulator:
        llm = model(**settings(emulator, session_affinity="all"))
        ask = llm.invoke if model is ChatCloudflareGemma else llm.complete
        ask(QUESTION)
        ask(QUESTION, session_affinity="thread-7")
        assert [one.headers["x-session-affinity"] for one in emulator.requests] == ["all", "thread-7"]
        assert "session_affinity" not in emulator.requests[1].json
        with pytest.raises(ConfigurationError, match="session_affinity"):
            ask(QUESTION, session_affinity="a\nb")


@pytest.mark.parametrize("model", [Gemma, ChatCloudflareGemma, CloudflareGemma])
def test_a_dynamic_route(model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name goes to the address that was given, without an account, though the environment has one."""
    with Emulator([Reply("a")]) as emulator:
        monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", emulator.account_id)
        place = {"account_id": "", "api_token": emulator.api_token, "base_url": emulator.openai_url}
        llm = model(**place, endpoint="chat_completions", model="dynamic/support")
        getattr(llm, {Gemma: "chat", ChatCloudflareGemma: "invoke"}.get(model, "complete"))(QUESTION)
        (request,) = emulator.requests
    assert request.path == "/v1/chat/completions"
    assert request.json["model"] == "dynamic/support"
    assert request.headers["authorization"] == f"Bearer {emulator.api_token}"


@pytest.mark.parametrize("model", [Gemma, ChatCloudflareGemma, CloudflareGemma])
def test_a_check_when_a_model_is_made(model: Callable[..., Any]) -> None:
    """On request, one small request tells at once of a wrong token or model; otherwise nothing is sent."""
    with Emulator(ScriptedEngine([Reply("a b c")], repeat=True)) as emulator:
        place = settings(emulator)
        model(**place)
        assert emulator.requests == []
        model(**place, validate=True)
        model(**place, n=4, temperature=0.5, validate=True)
        assert [one.json["max_tokens"] for one in emulator.requests] == [1, 1]
        assert all({"n", "temperature"}.isdisjoint(one.json) for one in emulator.requests)
        with pytest.raises(AuthenticationError):
            model(**{**place, "api_token": "wrong"}, validate=True, max_retries=0)
        with pytest.raises(NotFound):
            model(**place, model="@cf/google/none", validate=True)


def test_a_constructor_can_t_wait() -> None:
    """An asynchronous client says what to do instead."""
    with pytest.raises(ConfigurationError, match=r"await check\(\)"):
        AsyncGemma("account", "token", validate=True)


def test_a_check_of_an_asynchronous_client() -> None:
    """It is a method, to be awaited."""
    with Emulator(ScriptedEngine([Reply("a b c")], repeat=True)) as emulator:
        asyncio.run(AsyncGemma(**settings(emulator)).check())
        with pytest.raises(AuthenticationError):
            asyncio.run(AsyncGemma(**{**settings(emulator), "api_token": "wrong"}).check())
