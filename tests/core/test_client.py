from __future__ import annotations

import copy
import inspect
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from cf_gemma import AsyncGemma, Completion, Gemma
from cf_gemma import errors as e
from cf_gemma.settings.defaults import SETTING_NAMES
from cf_gemma.transport.http import AsyncTransport, SyncTransport
from tests.faultserver import FaultServer, Wait, error_reply, json_reply
from tests.transport.callers import ACCOUNT, TOKEN

if TYPE_CHECKING:
    from tests.transport.callers import Caller

GOOD = json_reply({"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]})


def parameters(function: Any) -> list[tuple[str, Any, Any]]:
    """Names, kinds and defaults of a function's parameters."""
    return [(one.name, one.kind, one.default) for one in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize(
    ("blocking", "asynchronous"),
    [
        (Gemma.__init__, AsyncGemma.__init__),
        (Gemma.chat, AsyncGemma.chat),
        (Gemma.stream, AsyncGemma.stream),
        (Gemma.close, AsyncGemma.aclose),
        (SyncTransport.complete, AsyncTransport.complete),
    ],
)
def test_the_twins_have_the_same_parameters(blocking: Any, asynchronous: Any) -> None:
    """What one takes the other takes, but for the sleep that each waits with."""
    assert parameters(blocking) == parameters(asynchronous)


@pytest.mark.parametrize("kind", [Gemma, AsyncGemma])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"temperature": 3}, e.InvalidRequest, "temperature must be a number from 0 to 2"),
        ({"temprature": 1}, e.ConfigurationError, "did you mean temperature"),
        ({"account_id": "../x"}, e.ConfigurationError, "account_id"),
        ({"api_token": "Bearer x"}, e.ConfigurationError, "api_token"),
        ({"base_url": "http://host.test"}, e.ConfigurationError, "base_url"),
    ],
)
def test_a_bad_setting_is_refused_when_the_model_is_made(
    kind: type[Gemma | AsyncGemma], arguments: dict[str, Any], error: type[e.GemmaError], message: str
) -> None:
    """Whoever makes a model learns at once that it can't work."""
    with pytest.raises(error, match=message):
        kind(**{"account_id": ACCOUNT, "api_token": TOKEN} | arguments)


@pytest.mark.parametrize("kind", [Gemma, AsyncGemma])
@pytest.mark.parametrize(
    ("messages", "options"), [([], {}), (None, {}), ("hi", {"top_p": 2}), ("hi", {"model": "../x"}), ("\ud800", {})]
)
def test_a_stream_that_can_not_be_sent_is_refused_at_once(
    kind: type[Gemma | AsyncGemma], messages: Any, options: dict[str, Any]
) -> None:
    """The error comes from `stream()` itself, before anyone reads."""
    with pytest.raises(e.GemmaError):
        kind(ACCOUNT, TOKEN).stream(messages, **options)


def test_a_stream_is_sent_when_it_is_read() -> None:
    """Nothing goes out before the first item is asked for."""
    with FaultServer([GOOD]) as server, Gemma(ACCOUNT, TOKEN, base_url=server.url) as model:
        items = model.stream("hi")
        assert server.connections == 0
        assert len(list(items)) == 2
        model.stream("hi").close()
        assert len(server.requests) == 1


def test_options_of_a_call_come_before_those_of_the_model(caller: Caller) -> None:
    """The model's own options hold for every call that doesn't say otherwise."""
    with FaultServer([GOOD]) as server:
        model = caller.model(server.url, temperature=0.5, max_tokens=9, thinking=False)
        caller.chat(model, temperature=None, max_tokens=5)
        caller.chat(model, thinking=True)
        first, second = (request.json for request in server.requests)
        assert (first["temperature"], first["max_tokens"]) == (0.5, 5)
        assert (second["temperature"], second["max_tokens"]) == (0.5, 9)
        assert [body["chat_template_kwargs"]["enable_thinking"] for body in (first, second)] == [False, True]


def test_both_endpoints_and_the_prompt_form(caller: Caller) -> None:
    """Each endpoint has its path, and a prompt goes out as one."""
    with FaultServer([GOOD]) as server:
        caller.chat(caller.model(server.url), None, prompt="once", max_tokens=5)
        caller.chat(caller.model(server.url, endpoint="chat_completions"), max_tokens=5)
        first, second = server.requests
        assert first.path == "/accounts/acc/ai/run/@cf/google/gemma-4-26b-a4b-it"
        assert (first.json["prompt"], "messages" in first.json) == ("once", False)
        assert second.path == "/accounts/acc/ai/v1/chat/completions"
        assert second.json["model"] == "@cf/google/gemma-4-26b-a4b-it"


@pytest.mark.parametrize("token", ["mine", None])
def test_a_server_of_ones_own(caller: Caller, token: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an account, requests go to an OpenAI-shaped server, which isn't shown the environment's token."""
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "canary")
    with FaultServer([GOOD]) as server:
        kind = Gemma if isinstance(caller.model(server.url), Gemma) else AsyncGemma
        model = kind(None, token, base_url=f"{server.url}/v1", endpoint="chat_completions", model="gemma")
        completion = caller.chat(model, max_tokens=5)
        assert isinstance(completion, Completion)
        request = server.requests[0]
        assert (request.path, request.json["model"]) == ("/v1/chat/completions", "gemma")
        assert request.headers.get("authorization") == ("Bearer mine" if token else None)


def test_a_closed_model_can_be_used_again(caller: Caller) -> None:
    """Closing gives connections up; the next call makes new ones."""
    with FaultServer([GOOD]) as server:
        model = caller.model(server.url)
        for _ in range(2):
            caller.chat(model, max_tokens=5)
            if isinstance(model, Gemma):
                model.close()
            else:
                caller.run(model.aclose())
            assert server.wait_until_closed()
        assert server.connections == 2


@pytest.mark.parametrize("kind", [Gemma, AsyncGemma])
def test_a_model_is_copied_but_not_pickled(kind: type[Gemma | AsyncGemma]) -> None:
    """A copy is the model itself, connections and all; a pickle, which would hold the token, is refused."""
    model = kind(ACCOUNT, TOKEN)
    assert copy.copy(model) is copy.deepcopy(model) is model
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match=f"{kind.__name__} can't be pickled: it holds a token") as caught:
            pickle.dumps(model, protocol)
        assert TOKEN not in str(caught.value)


def test_the_deadline_ends_the_attempts(caller: Caller) -> None:
    """After the deadline no attempt begins, however many are left."""
    busy = [Wait(0.06), error_reply(500)]
    with FaultServer(busy) as server:
        with pytest.raises(e.ServerError) as caught:
            caller.chat(caller.model(server.url, max_retries=9, deadline=1.0))
        assert caught.value.attempts == len(server.requests) == 2
        assert caller.waits == [0.5]


@pytest.mark.parametrize("model", [Gemma, AsyncGemma])
def test_setting_names_are_complete(model: type[Any]) -> None:
    """What adapters pass on is all that a client takes, but for an HTTP client, a check, and parameters of calls."""
    arguments = inspect.signature(model).parameters.keys() - {"http_client", "validate", "options"}
    assert arguments == set(SETTING_NAMES)
