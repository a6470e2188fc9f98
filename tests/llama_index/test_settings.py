"""Settings: checked at once, kept secret, copied and written down without loss."""

import asyncio
import copy
import json
import pickle
import socket
import threading
from typing import Any

import httpx
import pytest
from inline_snapshot import snapshot
from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole
from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms.function_calling import FunctionCallingLLM

from cf_gemma.errors import ConfigurationError, InvalidRequest, UnsupportedContent
from cf_gemma.model.facts import MODEL
from llama_index_cf_gemma import CloudflareGemma

from .conftest import TOKEN, Call, Connect, Emulate
from .test_messages import PNG, PNG_URL

VARIABLES = (
    "CLOUDFLARE_ACCOUNT_ID",
    "CLOUDFLARE_API_TOKEN",
    "CLOUDFLARE_BASE_URL",
    "CLOUDFLARE_AUTH_TOKEN",
    "CF_ACCOUNT_ID",
    "CF_AI_API_TOKEN",
)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def made(**settings: Any) -> CloudflareGemma:
    """A model that never calls anyone."""
    return CloudflareGemma(**{"account_id": "acct", "api_token": TOKEN, **settings})


def test_it_is_a_function_calling_llm() -> None:
    """Agents and programs look for this base."""
    assert issubclass(CloudflareGemma, FunctionCallingLLM)
    assert issubclass(CloudflareGemma, BaseLLM)


def test_metadata_is_right_out_of_the_box() -> None:
    """Prompt helpers, memories and engines size themselves by it."""
    metadata = made().metadata
    assert (metadata.context_window, metadata.num_output) == (256_000, 16_384)
    assert (metadata.is_chat_model, metadata.is_function_calling_model) == (True, True)
    assert metadata.model_name == MODEL


@pytest.mark.parametrize(
    ("settings", "num_output"),
    [({"thinking": False}, 4_096), ({"thinking": True}, 16_384), ({"max_tokens": 77}, 77)],
)
def test_num_output_is_what_is_sent(settings: dict, num_output: int) -> None:
    """The room that is kept for the answer is the room that is asked for."""
    assert made(**settings).metadata.num_output == num_output


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, emulate: Emulate) -> None:
    """With the three variables set, no argument is needed."""
    emulator = emulate(["Hi"])
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", emulator.account_id)
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", TOKEN)
    monkeypatch.setenv("CLOUDFLARE_BASE_URL", emulator.base_url)
    with CloudflareGemma() as llm:
        assert llm.complete("hello").text == "Hi"


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"account_id": None}, "account_id.*CLOUDFLARE_ACCOUNT_ID"),
        ({"api_token": None}, "api_token.*CLOUDFLARE_API_TOKEN"),
        ({"account_id": "a/../b"}, "account_id"),
        ({"api_token": f"Bearer {TOKEN}"}, "api_token.*without"),
        ({"api_token": f"{TOKEN}\n"}, "api_token.*line end"),
        ({"base_url": "http://example.invalid"}, "base_url.*https"),
        ({"gateway": "a b"}, "gateway"),
        ({"max_retries": -1}, "max_retries"),
        ({"temprature": 1}, "no setting temprature; did you mean temperature"),
        ({"top_k": 64}, "no setting top_k"),
    ],
)
def test_bad_settings(settings: dict, names: str) -> None:
    """Named at construction, with the remedy, and never with the value of a secret."""
    with pytest.raises(ConfigurationError, match=names) as caught:
        made(**settings)
    assert TOKEN not in str(caught.value)


def test_a_setting_of_the_wrong_type_doesn_t_show_it() -> None:
    """Pydantic's own errors don't echo what was passed."""
    with pytest.raises(ConfigurationError) as caught:
        made(default_headers=f"cf-aig-authorization: {TOKEN}")
    assert TOKEN not in str(caught.value)


def test_connection_settings_are_not_assigned_later() -> None:
    """The connections are made of them; a change that had no effect would be a trap."""
    llm = made()
    with pytest.raises(ConfigurationError, match="frozen"):
        llm.timeout = 5.0
    llm.temperature = 0.5


@pytest.mark.parametrize(
    ("options", "name"),
    [({"temperature": 3}, "temperature"), ({"top_logprobs": 50}, "top_logprobs"), ({"stop": list("abcde")}, "stop")],
)
def test_parameters_out_of_range(options: dict, name: str) -> None:
    """Refused before any I/O with the parameter's name: at construction, and at a call with what was set since."""
    with pytest.raises(InvalidRequest, match=name):
        made(**options)
    with pytest.raises(InvalidRequest, match=name):
        made(additional_kwargs=options)
    with pytest.raises(InvalidRequest, match=name):
        made().complete("hi", **options)
    llm = made()
    for field, value in options.items():
        setattr(llm, field, value)
    with pytest.raises(InvalidRequest, match=name):
        llm.complete("hi")


def test_a_setting_among_the_parameters() -> None:
    """Said at once, with the place where it belongs."""
    with pytest.raises(InvalidRequest, match="timeout is a setting"):
        made(additional_kwargs={"timeout": 30})


def test_an_unknown_parameter_of_a_call() -> None:
    """Not passed on in silence."""
    with pytest.raises(InvalidRequest, match=r"temprature.*temperature"):
        made().complete("hi", temprature=1)


def test_secrets_stay_out_of_everything_that_is_written_down(emulate: Emulate, connect: Connect) -> None:
    """After use too: dict, JSON, repr, payload and pickle hold no token, nor the headers that may hold one."""
    emulator = emulate(["Hi"])
    llm = connect(emulator, default_headers={"cf-aig-authorization": f"Bearer {TOKEN}", "cf-aig-cache-ttl": "60"})
    llm.complete("hello")
    for written in (llm.to_dict(), llm.to_json(), repr(llm), str(llm), llm.to_payload(), llm.model_dump(), llm.dict()):
        assert TOKEN not in str(written)
    with pytest.warns(UserWarning, match="leaves out default_headers"):
        assert TOKEN.encode() not in pickle.dumps(llm)
    assert emulator.account_id not in str(llm.to_payload())


def test_the_payload_tells_observers_what_was_asked_of_which_model() -> None:
    """Enough to read a trace by."""
    llm = made(temperature=0.5, thinking=False)
    assert llm.to_payload() == snapshot(
        {
            "class_name": "cloudflare_gemma_llm",
            "context_window": 256000,
            "num_output": 4096,
            "is_chat_model": True,
            "is_function_calling_model": True,
            "model_name": "@cf/google/gemma-4-26b-a4b-it",
            "system_role": MessageRole.SYSTEM,
            "endpoint": "run",
            "temperature": 0.5,
            "thinking": False,
        }
    )


def test_a_round_trip_through_json(emulate: Emulate, connect: Connect) -> None:
    """from_dict and from_json restore the model; the token comes from the environment or an argument."""
    emulator = emulate(["Hi"] * 2)
    llm = connect(emulator, temperature=0.5, stop=["x"], timeout=(1.0, 9.0), system_prompt="Be brief.", seed=3)
    data = llm.to_dict()
    for restored in (
        CloudflareGemma.from_dict(data, api_token=TOKEN),
        CloudflareGemma.from_json(llm.to_json(), api_token=TOKEN),
    ):
        with restored:
            assert restored.to_dict() == data
            assert restored.complete("hello").text == "Hi"
    assert data["class_name"] == "cloudflare_gemma_llm"
    json.dumps(data)


def test_a_pickle_takes_its_token_from_the_environment(
    emulate: Emulate, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers get the settings by pickle and the secret from where they run."""
    emulator = emulate(["Hi"] * 2)
    llm = connect(emulator, temperature=0.5)
    llm.complete("hello")
    pickled = pickle.dumps(llm)
    assert llm.callback_manager is not None
    restored = pickle.loads(pickled)  # noqa: S301 - our own
    assert restored.temperature == 0.5
    with pytest.raises(ConfigurationError, match="CLOUDFLARE_API_TOKEN"):
        restored.complete("hello")
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", TOKEN)
    with restored:
        assert restored.complete("hello").text == "Hi"


def test_a_deep_copy_works_after_use(emulate: Emulate, connect: Connect) -> None:
    """A copy has settings of its own and shares the callback manager."""
    emulator = emulate(["Hi"] * 2)
    llm = connect(emulator, additional_kwargs={"user": "me"}, callback_manager=CallbackManager([]))
    llm.complete("hello")
    with copy.deepcopy(llm) as clone:
        clone.additional_kwargs["user"] = "you"
        assert llm.additional_kwargs == {"user": "me"}
        assert clone.callback_manager is llm.callback_manager
        assert clone.complete("hello").text == "Hi"


def test_a_model_copy_with_another_connection(emulate: Emulate, connect: Connect) -> None:
    """An updated copy talks to where it was told to, the original to where it did."""
    first, second = emulate(["one"] * 2), emulate(["two"])
    llm = connect(first)
    with llm.model_copy(update={"base_url": second.base_url, "account_id": second.account_id}) as clone:
        assert (llm.complete("?").text, clone.complete("?").text) == ("one", "two")
    assert llm.model_copy(update={"temperature": 0.1}).complete("?").text == "one"


def test_an_openai_shaped_server_of_one_s_own(emulate: Emulate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an account, the plain route is used, and Cloudflare's token is not shown to it."""
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "for-cloudflare-only")
    emulator = emulate(["Hi"])
    with CloudflareGemma(endpoint="chat_completions", base_url=emulator.openai_url, api_token=TOKEN) as llm:
        assert llm.complete("hello").text == "Hi"
    assert emulator.requests[0].path == "/v1/chat/completions"
    assert "for-cloudflare-only" not in str(emulator.requests[0].headers)


def test_headers_of_the_settings(emulate: Emulate, connect: Connect) -> None:
    """Gateway, affinity, default headers and a call's own reach the wire."""
    emulator = emulate(["Hi"])
    llm = connect(emulator, gateway="mine", session_affinity="user-1", default_headers={"cf-aig-cache-ttl": "60"})
    llm.complete("hello", extra_headers={"cf-aig-skip-cache": "true"})
    sent = emulator.requests[0].headers
    names = ("cf-aig-gateway-id", "x-session-affinity", "cf-aig-cache-ttl", "cf-aig-skip-cache")
    assert [sent[name] for name in names] == ["mine", "user-1", "60", "true"]


def test_injected_clients_are_used() -> None:
    """Both of them, and they stay the caller's to close."""
    answer = {"result": {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}, "success": True}
    paths: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.path)
        return httpx.Response(200, json=answer)

    transport = httpx.MockTransport(handle)

    async def run() -> None:
        async with httpx.AsyncClient(transport=transport) as aclient:
            with httpx.Client(transport=transport) as client:
                llm = made(http_client=client, async_http_client=aclient)
                assert llm.complete("?").text == (await llm.acomplete("?")).text == "Hi"
                await llm.aclose()
                assert not client.is_closed
                assert not aclient.is_closed

    asyncio.run(run())
    assert paths == [f"/client/v4/accounts/acct/ai/run/{MODEL}"] * 2


def web(request: httpx.Request) -> httpx.Response:
    """The service, and the host of a picture."""
    if request.method == "GET":
        return httpx.Response(200, content=PNG)
    count = request.content.decode().count(PNG_URL)
    choices = [{"index": 0, "message": {"content": f"{count} picture"}, "finish_reason": "stop"}]
    return httpx.Response(200, json={"result": {"choices": choices}, "success": True})


@pytest.mark.parametrize("inlined", [True, False])
def test_images_on_the_web(monkeypatch: pytest.MonkeyPatch, call: Call, inlined: bool) -> None:
    """An ImageBlock with a URL is sent along as an image if wanted; else it is refused, with what to set."""
    resolved = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: resolved)
    transport = httpx.MockTransport(web)
    clients = {
        "http_client": httpx.Client(transport=transport),
        "async_http_client": httpx.AsyncClient(transport=transport),
    }
    llm = made(inline_image_urls=inlined, max_tokens=100, **clients)
    question = [ChatMessage(role="user", blocks=[ImageBlock(url="https://pictures.example/a.png")])]
    if inlined:
        assert call(llm, "chat", question).message.content == "1 picture"
    else:
        with pytest.raises(UnsupportedContent, match="inline_image_urls=True"):
            call(llm, "chat", question)


def test_callback_manager_none() -> None:
    """None is what integrations pass for none."""
    assert isinstance(made(callback_manager=None).callback_manager, CallbackManager)


def test_sixteen_threads(emulate: Emulate, connect: Connect) -> None:
    """One model serves many threads: each gets its answer, and each call is one request."""
    emulator = emulate(lambda body: body["messages"][0]["content"].upper())
    llm = connect(emulator)
    answers: dict[str, str] = {}

    def ask(word: str) -> None:
        for turn in range(3):
            answers[f"{word}{turn}"] = llm.complete(f"{word}{turn}").text

    threads = [threading.Thread(target=ask, args=(f"w{number}-",)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {key: key.upper() for key in answers}
    assert len(answers) == len(emulator.requests) == 48
