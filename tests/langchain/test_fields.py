"""How the chat model is configured, and what an application asks about it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from langchain.chat_models import init_chat_model
from langchain.chat_models.base import _BUILTIN_PROVIDERS
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.load import dumps
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage, trim_messages
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import ConfigurableField
from pydantic import SecretStr

from cf_gemma.emulator import Fault, Reply
from cf_gemma.errors import ConfigurationError, GemmaError, InvalidRequest
from langchain_cf_gemma import ChatCloudflareGemma, register_init_chat_model
from langchain_cf_gemma.errors import RequestTimeout
from tests.langchain.conftest import CANARY, gemma

if TYPE_CHECKING:
    from tests.langchain.conftest import Emulate

pytestmark = pytest.mark.usefixtures("bare_environment")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"account_id": None}, "account_id.*CLOUDFLARE_ACCOUNT_ID"),
        ({"api_token": None}, "api_token.*CLOUDFLARE_API_TOKEN"),
        ({"api_token": f"Bearer {CANARY}"}, "api_token.*Bearer"),
        ({"api_token": f"{CANARY}\n"}, "api_token.*line end"),
        ({"account_id": f"../{CANARY}"}, "account_id"),
        ({"base_url": "http://example.com"}, "base_url.*https"),
        ({"temprature": 1}, "temprature.*temperature"),
        ({"extra_body": {"api_key": CANARY}}, "api_key.*secret"),
        ({"model_kwargs": {"authorization": CANARY}}, "authorization.*secret"),
        ({"temperature": 3}, "temperature.*0 to 2"),
        ({"top_logprobs": 50}, "top_logprobs.*0 to 20"),
        ({"stop": list("abcde")}, "stop.*4"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_retries": -1}, "max_retries"),
        ({"timeout": 0}, "timeout"),
        ({"default_headers": {"authorization": CANARY}}, "default_headers"),
    ],
    ids=repr,
)
def test_bad_argument(arguments: dict[str, Any], message: str) -> None:
    """A bad argument is refused when the model is made: the error names it and the remedy, and shows no secret."""
    with pytest.raises((ConfigurationError, InvalidRequest), match=rf"(?s){message}") as caught:
        gemma(**arguments)
    assert CANARY not in str(caught.value)


def test_wrong_type() -> None:
    """A value of a wrong type is refused without being shown."""
    with pytest.raises(ValueError, match="account_id") as caught:
        gemma(account_id=[CANARY])
    assert CANARY not in str(caught.value)


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Account, token and base URL come from the environment, and an argument comes before it."""
    monkeypatch.setenv("CF_ACCOUNT_ID", "theirs")
    monkeypatch.setenv("CF_AI_API_TOKEN", CANARY)
    monkeypatch.setenv("CLOUDFLARE_BASE_URL", "https://example.com/v4")
    model = ChatCloudflareGemma(account_id="mine")
    assert (model.account_id, model.base_url) == ("mine", "https://example.com/v4")
    assert model.api_token is not None
    assert model.api_token.get_secret_value() == CANARY


def test_other_names() -> None:
    """LangChain's other names of the arguments are understood, and `api_token` beats an `api_key` beside it."""
    model = ChatCloudflareGemma(
        account_id="acct",
        api_key=CANARY,
        model_name="@cf/google/other",
        max_completion_tokens=5,
        stop_sequences="!",
        request_timeout=3,
        model_kwargs={"top_k": 3},
    )
    assert (model.model, model.model_name) == ("@cf/google/other", "@cf/google/other")
    assert (model.max_tokens, model.stop, model.timeout, model.extra_body) == (5, ["!"], 3.0, {"top_k": 3})
    for tokens in ({"api_token": CANARY, "api_key": "other"}, {"api_token": None, "api_key": CANARY}):
        both = ChatCloudflareGemma(account_id="acct", **tokens)
        assert both.api_token == both.api_key == SecretStr(CANARY)


def test_secrets_are_shown_nowhere() -> None:
    """Neither token nor headers stand in what is printed, saved, traced or used as a cache key."""
    model = gemma(default_headers={"cf-aig-authorization": f"Bearer {CANARY}"})
    assert "cf-aig" in str(model.default_headers)
    shown = [repr(model), str(model), dumps(model), str(model.asdict()), str(model._get_llm_string())]
    shown.append(str(model._get_invocation_params()))
    assert not [text for text in shown if CANARY in text]


def test_own_server() -> None:
    """A server of one's own needs neither account nor token."""
    model = ChatCloudflareGemma(base_url="http://127.0.0.1:8080/v1", endpoint="chat_completions")
    assert (model.account_id, model.api_token) == (None, None)


def test_cache_key_differs_when_the_answer_would() -> None:
    """Two models share cached answers only when everything that makes the answer is the same."""
    same = gemma()
    others = [
        gemma(temperature=0.5),
        gemma(model="@cf/google/other"),
        gemma(thinking=False),
        gemma(stop=["."]),
        gemma(extra_body={"top_k": 3}),
        gemma(base_url="https://example.com"),
        gemma(endpoint="chat_completions"),
        gemma(gateway="my-gateway"),
    ]
    keys = {model._get_llm_string() for model in [same, gemma(), *others]}
    assert len(keys) == 1 + len(others)
    assert len({str(sorted(model._identifying_params.items())) for model in [same, *others]}) == 1 + len(others)
    assert same._get_llm_string(temperature=0.1) != same._get_llm_string()


async def test_cache(emulate: Emulate) -> None:
    """A cached answer is the same message, and costs nothing."""
    emulated = emulate([Reply("Hi!", reasoning="Hm.")], cache=InMemoryCache())
    first, second = emulated.model.invoke("Hello"), emulated.model.invoke("Hello")
    assert len(emulated.requests) == 1
    assert (second.text, second.additional_kwargs) == (first.text, first.additional_kwargs)


def test_tracing_parameters() -> None:
    """Traces name the provider as the messages do, the call's own model, and this package's version."""
    params = gemma(temperature=0.5, max_tokens=10, stop=["."])._get_ls_params(model="@cf/google/other")
    assert params == {
        "ls_provider": "cloudflare",
        "ls_model_name": "@cf/google/other",
        "ls_model_type": "chat",
        "ls_temperature": 0.5,
        "ls_max_tokens": 10,
        "ls_stop": ["."],
    }
    metadata = gemma().metadata
    assert metadata is not None
    assert "cf-gemma" in metadata["lc_versions"]


def test_profile() -> None:
    """The model's profile says what it can do; of another model nothing is claimed."""
    profile = gemma().profile
    assert profile is not None
    assert (profile["max_input_tokens"], profile["structured_output"], profile["audio_inputs"]) == (
        256_000,
        True,
        False,
    )
    assert gemma(model="@cf/google/other").profile is None
    for inlined in (False, True):
        profile = gemma(inline_image_urls=inlined).profile
        assert profile is not None
        assert profile["image_url_inputs"] is inlined


async def test_configurable_fields(emulate: Emulate) -> None:
    """Fields can be set per call through LangChain's configuration, and are checked; the others stay."""
    emulated = emulate(["Hi!"], default_headers={"cf-aig-cache-ttl": "60"})
    configurable = emulated.model.configurable_fields(
        temperature=ConfigurableField(id="temperature"), session_affinity=ConfigurableField(id="user")
    )
    configurable.invoke("Hi", {"configurable": {"temperature": 0.1, "user": "me"}})
    assert emulated.body["temperature"] == 0.1
    headers = emulated.requests[0].headers
    assert (headers["x-session-affinity"], headers["cf-aig-cache-ttl"]) == ("me", "60")
    with pytest.raises(InvalidRequest, match="temperature"):
        configurable.invoke("Hi", {"configurable": {"temperature": 5}})


async def test_configurable_alternatives(emulate: Emulate) -> None:
    """Another model can take the place of this one per call."""
    either = emulate(["A"]).model.configurable_alternatives(
        ConfigurableField(id="llm"), default_key="first", second=emulate(["B"]).model
    )
    assert either.invoke("Hi").text == "A"
    assert either.invoke("Hi", {"configurable": {"llm": "second"}}).text == "B"


async def test_retry_and_fallbacks(emulate: Emulate) -> None:
    """LangChain's own retries and fallbacks work on our errors, in streams as long as nothing was shown."""
    emulated = emulate([Fault(503, 3050), "Hi!"])
    patient = emulated.model.with_retry(retry_if_exception_type=(GemmaError,), wait_exponential_jitter=False)
    assert patient.invoke("Hi").text == "Hi!"
    failing = emulate([Fault(429, 4006)]).model
    fallback = emulate(["From elsewhere."]).model
    assert failing.with_fallbacks([fallback], exceptions_to_handle=(GemmaError,)).invoke("Hi").text == "From elsewhere."
    streams = emulate([Fault(429, 4006)]).model.with_fallbacks([emulate(["From elsewhere."]).model])
    assert "".join(chunk.text for chunk in streams.stream("Hi")) == "From elsewhere."


@pytest.mark.parametrize("dialect", ["random"])
async def test_usage_callback(emulate: Emulate) -> None:
    """LangChain's usage counter adds up calls, streamed or not, under one model's name."""
    emulated = emulate([Reply("Hi!", usage=(3, 4))] * 2)
    counter = UsageMetadataCallbackHandler()
    emulated.model.invoke("Hi", {"callbacks": [counter]})
    list(emulated.model.stream("Hi", {"callbacks": [counter]}))
    ((_, usage),) = counter.usage_metadata.items()
    assert (usage["input_tokens"], usage["output_tokens"]) == (6, 8)


async def test_rate_limiter(emulate: Emulate) -> None:
    """A rate limiter is asked before each request."""
    asked: list[bool] = []

    class Limiter(InMemoryRateLimiter):
        def acquire(self, *, blocking: bool = True) -> bool:
            asked.append(blocking)
            return True

    emulated = emulate(["Hi!"] * 2, rate_limiter=Limiter())
    emulated.model.invoke("Hi")
    list(emulated.model.stream("Hi"))
    assert asked == [True, True]


async def test_extra_headers(emulate: Emulate) -> None:
    """Headers go out for every call and for one."""
    emulated = emulate(["Hi!"], default_headers={"cf-aig-cache-ttl": "60"}, session_affinity="me")
    emulated.model.invoke("Hi", extra_headers={"cf-aig-skip-cache": "true"})
    headers = emulated.requests[0].headers
    assert (headers["cf-aig-cache-ttl"], headers["cf-aig-skip-cache"]) == ("60", "true")
    assert headers["x-session-affinity"] == "me"


def test_token_counts() -> None:
    """Tokens are estimated without a network, images and tools included, or with the tokenizer that was given."""
    model = gemma()
    assert model.get_num_tokens("four") == 1
    text = [HumanMessage("word " * 100)]
    image = [HumanMessage([{"type": "image", "base64": "A" * 400_000, "mime_type": "image/png"}])]
    assert 100 < model.get_num_tokens_from_messages(text) < 150
    assert model.get_num_tokens_from_messages(image) < 300
    tool = {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {}}}
    assert model.get_num_tokens_from_messages(text, tools=[tool]) > model.get_num_tokens_from_messages(text)
    call = AIMessage("", tool_calls=[{"name": "add", "args": {"a": "word " * 50}, "id": "1"}])
    assert model.get_num_tokens_from_messages([call, ToolMessage("1", tool_call_id="1")]) > 60
    assert gemma(custom_get_token_ids=lambda text: [0] * len(text)).get_num_tokens("four") == 4
    audio = [HumanMessage([{"type": "audio", "base64": "AAAA"}, {"type": "text", "text": "word " * 100}])]
    assert 100 < model.get_num_tokens_from_messages(audio) < 150


def test_trimming() -> None:
    """LangChain trims a conversation with the model as its counter."""
    history = [SystemMessage("Be brief."), *[HumanMessage("word " * 100) for _ in range(5)]]
    kept = trim_messages(history, max_tokens=300, token_counter=gemma(), include_system=True)
    assert [message.type for message in kept] == ["system", "human", "human"]


def test_init_chat_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """`init_chat_model` makes the model by name, once that was asked for."""
    monkeypatch.setattr("langchain.chat_models.base._BUILTIN_PROVIDERS", dict(_BUILTIN_PROVIDERS))
    register_init_chat_model()
    model = init_chat_model(
        "cloudflare_gemma:@cf/google/gemma-4-26b-a4b-it", account_id="acct", api_token=CANARY, temperature=0.5
    )
    assert isinstance(model, ChatCloudflareGemma)
    assert (model.model, model.temperature) == ("@cf/google/gemma-4-26b-a4b-it", 0.5)


def test_making_one_is_cheap() -> None:
    """Making a model loads no HTTP library."""
    code = (
        "import sys\n"
        "from langchain_cf_gemma import ChatCloudflareGemma\n"
        "before = {name for name in sys.modules if name.startswith('httpx')}\n"
        "ChatCloudflareGemma(account_id='acct', api_token='token')\n"
        "print({name for name in sys.modules if name.startswith('httpx')} - before)\n"
        "print([name for name in sys.modules if name.startswith(('starlette', 'llama_index', 'typer', 'langchain.'))])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - our own program
    assert shown.stdout.split("\n")[:2] == ["set()", "[]"]


def test_without_langchain() -> None:
    """Without LangChain, importing the package says in one line what to install."""
    code = "import sys; sys.modules['langchain_core'] = None; import langchain_cf_gemma"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603 - our own program
    assert shown.returncode == 1
    assert 'ImportError: langchain_cf_gemma needs LangChain: pip install "cf-gemma[langchain]"' in shown.stderr


async def test_no_reasoning_effort(emulate: Emulate) -> None:
    """`reasoning_effort="none"`, OpenAI's word, which the service doesn't know, switches thinking off."""
    emulated = emulate(["Hi"] * 2)
    emulated.model.invoke("Hi", reasoning_effort="none")
    assert emulated.body["chat_template_kwargs"] == {"enable_thinking": False}
    assert "reasoning_effort" not in emulated.body
    emulated.model.invoke("Hi", reasoning_effort="low")
    assert emulated.body["reasoning_effort"] == "low"


@pytest.mark.parametrize("method", ["invoke", "ainvoke", "stream", "astream"])
async def test_a_timeout_of_one_call(emulate: Emulate, method: str) -> None:
    """`timeout=` of a call is the silence that this call bears; others bear the model's own."""
    emulated = emulate([Reply("Hi", delay=0.4)] * 2, max_retries=0)
    with pytest.raises(RequestTimeout):
        await called(emulated.model, method, timeout=0.1)
    assert await called(emulated.model, method) == "Hi"
    with pytest.raises(ConfigurationError, match="timeout must be seconds above 0"):
        await called(emulated.model, method, timeout=-1)


async def called(model: Any, method: str, **options: Any) -> str:
    """The text of one call by this method."""
    if method == "astream":
        return "".join([chunk.text async for chunk in model.astream("Hi", **options)])
    result = getattr(model, method)("Hi", **options)
    if method == "stream":
        return "".join(chunk.text for chunk in result)
    return str((await result if method == "ainvoke" else result).text)
