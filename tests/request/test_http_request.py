from __future__ import annotations

import base64
import copy
import json
import math
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from cf_gemma.errors import ConfigurationError, GemmaError, InvalidRequest
from cf_gemma.model.facts import MODEL
from cf_gemma.request.http_request import HttpRequest, build
from cf_gemma.request.messages import wire_messages
from cf_gemma.request.parameters import merged
from cf_gemma.settings.resolved import Settings
from tests.request.images import data_url, picture

Body = dict[str, Any]


def settings(**given: Any) -> Settings:
    """Settings of a test account, whatever the environment."""
    return Settings.resolve(**{"account_id": "acc", "api_token": "token", "environ": {}} | given)


def request(
    messages: Any = "hi", *, under: Settings | None = None, stream: bool | None = None, **options: Any
) -> HttpRequest:
    """The request for these messages and options."""
    prompt = options.pop("prompt", None)
    return build(under or settings(), messages, merged(options), prompt=prompt, stream=stream)


def body(messages: Any = "hi", **options: Any) -> Body:
    """The body of that request."""
    return json.loads(request(messages, **options).body)


def tool(name: str = "add") -> Body:
    """A tool."""
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


NAMED = {"type": "function", "function": {"name": "add"}}
HI = [{"role": "user", "content": "hi"}]
ROOT = "https://api.cloudflare.com/client/v4/accounts/acc/ai"


@pytest.mark.parametrize(
    ("given", "options", "url", "names_the_model"),
    [
        ({}, {}, f"{ROOT}/run/{MODEL}", False),
        ({}, {"model": "@cf/openai/gpt-oss-20b"}, f"{ROOT}/run/@cf/openai/gpt-oss-20b", False),
        ({"endpoint": "chat_completions"}, {}, f"{ROOT}/v1/chat/completions", True),
        ({"base_url": "http://127.0.0.1:87/api/"}, {}, f"http://127.0.0.1:87/api/accounts/acc/ai/run/{MODEL}", False),
        ({"base_url": "http://[::1]:80/v1", "account_id": None, "endpoint": "chat_completions"}, {"model": "gemma:26b"},
         "http://[::1]:80/v1/chat/completions", True),
        ({"gateway": "gate"}, {}, f"{ROOT}/run/{MODEL}", False),
    ],
)  # fmt: skip
def test_where_it_goes(given: Body, options: Body, url: str, names_the_model: bool) -> None:
    """Both endpoints have their address; the model stands in the address, or else in the body."""
    sent = request(under=settings(**given), **options)
    assert sent.url == url
    assert ("model" in json.loads(sent.body)) is names_the_model


def test_the_whole_body_of_a_plain_call() -> None:
    """A plain call says all that would otherwise be left to the service's defaults."""
    assert body() == {
        "messages": HI,
        "chat_template_kwargs": {"enable_thinking": True},
        "max_tokens": 16_384,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert body(None, prompt="once", max_tokens=5) == {
        "prompt": "once",
        "chat_template_kwargs": {"enable_thinking": True},
        "max_tokens": 5,
    }


def test_headers() -> None:
    """Token, gateway and affinity go out as headers; a call's own headers come on top."""
    headers = request(
        under=settings(gateway="gate", session_affinity="s-1", default_headers={"cf-aig-cache-ttl": "60", "X-A": "a"}),
        extra_headers={"X-a": "b"},
    ).headers
    assert headers["authorization"] == "Bearer token"
    assert headers["cf-aig-gateway-id"] == "gate"
    assert headers["x-session-affinity"] == "s-1"
    assert headers["accept-encoding"] == "identity"
    assert (headers["cf-aig-cache-ttl"], headers["x-a"]) == ("60", "b")


def test_the_request_does_not_show_its_secrets() -> None:
    """Neither token nor prompt is in the request's repr."""
    assert "token" not in repr(request("prompt"))
    assert "prompt" not in repr(request("prompt"))


@pytest.mark.parametrize(
    ("options", "thinking", "max_tokens"),
    [
        ({}, True, 16_384),
        ({"thinking": True}, True, 16_384),
        ({"thinking": False}, False, 4_096),
        ({"chat_template_kwargs": {"enable_thinking": False}}, False, 4_096),
        ({"chat_template_kwargs": {"enable_thinking": False}, "thinking": True}, True, 16_384),
        ({"chat_template_kwargs": {"clear_thinking": False}}, True, 16_384),
        ({"response_format": {"type": "json_object"}}, False, 4_096),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}}, False, 4_096),
        ({"response_format": {"type": "json_object"}, "thinking": True}, True, 16_384),
        ({"response_format": {"type": "json_object"}, "chat_template_kwargs": {"enable_thinking": True}}, True, 16_384),
        ({"response_format": {"type": "text"}}, True, 16_384),
        ({"max_tokens": 5}, True, 5),
        ({"max_tokens": 300_000}, True, 300_000),
        ({"max_completion_tokens": 5}, True, None),
        ({"tools": [tool()], "tool_choice": NAMED}, True, 16_384),
        ({"tools": [tool()], "tool_choice": NAMED, "max_tokens": 4_096}, True, 4_096),
        ({"tools": [tool()], "tool_choice": NAMED, "max_tokens": 4_095}, False, 4_095),
        ({"tools": [tool()], "tool_choice": NAMED, "max_tokens": 4_095, "thinking": True}, True, 4_095),
        ({"tools": [tool()], "tool_choice": NAMED, "max_completion_tokens": 100}, False, None),
        ({"tools": [tool()], "max_tokens": 100}, True, 100),
        ({"extra_body": {"max_tokens": 9}}, True, 9),
        ({"extra_body": {"max_tokens": None}}, True, None),
        ({"extra_body": {"max_completion_tokens": 9}}, True, None),
    ],
)
def test_thinking_and_room(options: Body, thinking: bool, max_tokens: int | None) -> None:
    """Thinking is always said, on but where it does harm unasked; max_tokens is, and the caller's goes out as it is."""
    sent = body(**copy.deepcopy(options))
    assert sent["chat_template_kwargs"]["enable_thinking"] is thinking
    assert sent.get("max_tokens") == max_tokens
    assert sent["chat_template_kwargs"].items() >= (
        options.get("chat_template_kwargs", {}).items() - {("enable_thinking", False)}
    )


def test_one_limit_goes_out() -> None:
    """A limit in `extra_body`, which comes last, replaces the other name of it."""
    sent = body(max_tokens=5, extra_body={"max_completion_tokens": 9})
    assert ("max_tokens" in sent, sent["max_completion_tokens"]) == (False, 9)


@pytest.mark.parametrize(
    ("characters", "options", "max_tokens"),
    [
        (900_000, {}, 16_384),
        (1_000_000, {}, 5_960),
        (1_500_000, {}, 256),
        (1_000_000, {"thinking": False}, 4_096),
        (1_000_000, {"max_tokens": 16_384}, 16_384),
    ],
)
def test_our_default_shrinks_near_the_window(characters: int, options: Body, max_tokens: int) -> None:
    """Our own limit gives way before the edge would refuse the sum of prompt and answer; the caller's doesn't."""
    assert body("x" * characters, **options)["max_tokens"] == pytest.approx(max_tokens, abs=60)


@pytest.mark.parametrize(
    ("given", "options", "stream", "streams"),
    [
        ({}, {}, None, True),
        ({}, {"max_tokens": 2_048}, None, False),
        ({}, {"max_tokens": 2_049}, None, True),
        ({}, {"max_completion_tokens": 5}, None, False),
        ({}, {"max_tokens": 5}, True, True),
        ({}, {"extra_body": {"max_tokens": 5}}, None, False),
        ({}, {"extra_body": {"max_tokens": None}}, None, True),
        ({}, {"extra_body": {"max_tokens": "many"}}, None, True),
        ({"wire_streaming": True}, {"max_tokens": 5}, None, True),
        ({"wire_streaming": False}, {}, None, False),
        ({"wire_streaming": False}, {}, True, True),
    ],
)
def test_when_it_streams(given: Body, options: Body, stream: bool | None, streams: bool) -> None:
    """A stream that was asked for streams; else an answer that may become long does, unless the setting decides."""
    sent = request(under=settings(**given), stream=stream, **options)
    assert sent.stream is streams
    assert json.loads(sent.body).get("stream", False) is streams


def test_stream_options_are_the_callers() -> None:
    """What the caller says of the stream stays; usage is asked for unless they say otherwise."""
    given = {"include_obfuscation": False}
    assert body(stream_options=given)["stream_options"] == {"include_usage": True, "include_obfuscation": False}
    assert body(stream_options={"include_usage": False})["stream_options"] == {"include_usage": False}
    assert given == {"include_obfuscation": False}


@pytest.mark.parametrize(
    ("options", "choice", "required"),
    [
        ({"tools": [tool()], "tool_choice": "required"}, NAMED, True),
        ({"tools": [tool(), tool("sub")], "tool_choice": "required"}, "required", True),
        ({"tools": [tool(), tool("sub")], "tool_choice": NAMED}, NAMED, True),
        ({"tools": [tool()], "tool_choice": "auto"}, "auto", False),
        ({"tools": [tool()], "tool_choice": "none"}, "none", False),
        ({"tools": [tool()]}, None, False),
        ({"tools": [], "tool_choice": "required", "parallel_tool_calls": True}, None, False),
        ({"tool_choice": "auto"}, None, False),
    ],
)
def test_tool_choice(options: Body, choice: object, required: bool) -> None:
    """`required` becomes the enforced named form where there is one tool; without tools nothing of them is sent."""
    before = copy.deepcopy(options)
    sent = request(**options)
    content = json.loads(sent.body)
    assert content.get("tool_choice") == choice
    assert sent.requires_call is required
    assert (sent.named is not None) is isinstance(choice, dict)
    assert ("tools" in content) is bool(options.get("tools"))
    assert "parallel_tool_calls" not in content
    assert options == before


SCHEMA = {"type": "object", "title": "Point", "properties": {}}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"name": "p", "schema": SCHEMA, "strict": True}, {"name": "p", "schema": SCHEMA, "strict": True}),
        ({"schema": SCHEMA}, {"name": "answer", "schema": SCHEMA}),
        (SCHEMA, {"name": "Point", "schema": SCHEMA}),
        ({"type": "object"}, {"name": "answer", "schema": {"type": "object"}}),
    ],
)
def test_a_bare_schema_is_wrapped(given: Body, sent: Body) -> None:
    """A JSON schema goes out in the wrapper that the published input schema requires, with a name."""
    before = copy.deepcopy(given)
    wanted = {"type": "json_schema", "json_schema": given}
    assert body(response_format=wanted)["response_format"] == {"type": "json_schema", "json_schema": sent}
    assert given == before


def test_extra_body_comes_last() -> None:
    """`extra_body` beats everything and adds what the schema doesn't have."""
    sent = body(temperature=1, extra_body={"top_k": 64, "temperature": 0, "chat_template_kwargs": {"x": 1}})
    assert (sent["top_k"], sent["temperature"], sent["chat_template_kwargs"]) == (64, 0, {"x": 1})


CIRCLE: list[Any] = []
CIRCLE.append(CIRCLE)
KNOT: Body = {}
KNOT["x"] = KNOT


@pytest.mark.parametrize(
    ("messages", "options", "message"),
    [
        (None, {}, "pass messages, or a prompt"),
        ("hi", {"prompt": "hi"}, "not both"),
        (None, {"prompt": ""}, "prompt must not be empty"),
        ([], {}, "messages must not be empty"),
        ("half \ud83d", {}, "surrogate"),
        ("hi", {"extra_body": {"x": math.nan}}, "NaN"),
        ("hi", {"extra_body": {"x": -math.inf}}, "infinity"),
        ("NaN", {"logit_bias": {"1": math.inf}}, "infinity"),
        ("hi", {"extra_body": {"x": object()}}, "Python object"),
        ("hi", {"extra_body": {"x": CIRCLE}}, "JSON"),
        ("NaN", {"metadata": {(1, 2): math.nan}}, "NaN"),
        ("hi", {"extra_body": {"stream": True}}, "stream"),
        ("hi", {"extra_body": {"api_key": "canary"}}, "^extra_body: api_key looks like a secret"),
        ("hi", {"extra_body": {"apiToken": "canary"}}, "apiToken looks like a secret"),
        ("hi", {"extra_body": {"x": {"y": {"secret-access-key": "canary"}}}}, "secret-access-key looks like a secret"),
        ("hi", {"extra_body": {"tools": [{"headers": {"authorization": "canary"}}]}}, "authorization looks like"),
        ("hi", {"extra_body": {"x": KNOT}}, "JSON"),
        ("hi", {"tools": [{"name": "f", "parameters": {}}]}, r"tools\[0\] must be"),
        ("hi", {"tools": [tool(), {"type": "function", "function": {"name": ""}}]}, r"tools\[1\] must be"),
        ("hi", {"tools": ["f"]}, r"tools\[0\] must be"),
        ("hi", {"tools": [{"type": "function", "function": {"name": "f", "description": False}}]}, "description"),
        ("hi", {"tools": [tool()], "tool_choice": {"type": "function", "function": {"name": "sub"}}}, "sub.*add"),
        ("hi", {"tools": [tool()], "tool_choice": {"type": "function"}}, "tool_choice must be"),
        ("hi", {"chat_template_kwargs": {"enable_thinking": "yes"}}, "chat_template_kwargs.*enable_thinking"),
        ("hi", {"response_format": {"type": "json_schema"}}, "response_format must be"),
        ("hi", {"response_format": {"type": "json_schema", "json_schema": "x"}}, "response_format must be"),
    ],
)  # fmt: skip
def test_what_can_not_be_sent(messages: Any, options: Body, message: str) -> None:
    """What can't be sent is refused here, with the parameter's name or what to look for."""
    with pytest.raises(InvalidRequest, match=message) as caught:
        request(messages, **options)
    assert "canary" not in str(caught.value)


def test_names_of_secrets_in_schemas_are_words() -> None:
    """A schema may speak of a token, and a body may count them."""
    schema = {
        "properties": {"token": {"type": "string"}},
        "required": ["token"],
        "discriminator": {"mapping": {"token": "#/$defs/Token"}},
    }
    counted = {"max_tokens": 5, "stop_token_ids": [1], "add_bos_token": True}
    extra = {"guided_json": schema, **counted, "monkey": "x", "eos_token": "</s>"}
    assert body("hi", extra_body=extra).items() >= extra.items()


def test_nested_shapes_are_the_services_to_judge() -> None:
    """What is within an object goes out as it is: the service says what is wrong with it, and may learn new forms."""
    regex = {"type": "regex", "regex": "a+"}
    assert body("hi", response_format=regex)["response_format"] == regex
    assert body("hi", reasoning_effort="none")["reasoning_effort"] == "none"


def test_a_server_of_ones_own_gets_no_limit_of_ours() -> None:
    """Its window may be smaller than our default, which it would refuse; a caller's own limit goes out."""
    own = Settings.resolve(base_url="http://127.0.0.1:1/v1", endpoint="chat_completions", environ={})
    assert "max_tokens" not in json.loads(build(own, "hi", {}).body)
    assert json.loads(build(own, "hi", {"max_tokens": 7}).body)["max_tokens"] == 7


def _holed(**fields: Any) -> list[Body]:
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": data_url(picture()), **fields}}]}]


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("messages", "options"),
    [
        ([{"role": "user", "content": "hi", "weight": 0}], {}),
        (_holed(detail=0), {}),
        ([*HI, {"role": "assistant", "content": "", "tool_calls": [
            {"id": "a", "function": {"name": "f"}, "score": [0]}]}], {}),
        ("hi", {"tools": [{**tool(), "weight": 0}]}),
        ("hi", {"metadata": {"a": [{"b": 0}]}}),
        ("hi", {"extra_body": {"messages": _holed(url=0)}}),
        (None, {"prompt": "hi", "extra_body": {"messages": _holed(url=0)}}),
    ],
    ids=["message", "image", "call", "tool", "metadata", "messages of extra_body", "prompt"],
)  # fmt: skip
def test_a_bad_number_is_found_wherever_it_hides(messages: Any, options: Body, number: float) -> None:
    """A number that JSON hasn't is refused in every corner of a request, beside texts and images that aren't read."""
    under = settings()

    def sent(number: float) -> HttpRequest:
        filled = _with(number, [messages, options])
        return request(filled[0], under=under, **filled[1])

    assert b"NaN" not in sent(0.5).body
    with pytest.raises(InvalidRequest, match="NaN, infinity"):
        sent(number)


def _with(number: float, value: Any) -> Any:
    """The same with this number in the place of zeros."""
    if isinstance(value, list):
        return [_with(number, item) for item in value]
    if isinstance(value, dict):
        return {name: _with(number, item) for name, item in value.items()}
    return number if value == 0 else value


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes of JSON were written at a time."""
    lengths: list[int] = []

    def write(value: Any, **mode: Any) -> bytes:
        body = to_json(value, **mode)
        lengths.append(len(body))
        return body

    monkeypatch.setattr("cf_gemma.request.http_request.to_json", write)
    return lengths


def test_a_body_is_written_once_and_never_read(written: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts are gone through once and images not at all, also where their base64 reads like a bad number."""

    def read(*_: Any, **__: Any) -> None:
        raise AssertionError("the body was parsed")

    for reader in ("cf_gemma.request.http_request.from_json", "pydantic_core.from_json", "json.loads"):
        monkeypatch.setattr(reader, read, raising=False)
    image = picture() + b"x" * (-len(picture()) % 3) + base64.b64decode("NaN+Infinity") * 20_000
    answer = {"role": "assistant", "content": "NaN is no number, and Infinity isn't, either. " * 3_000}
    sent = request([*_holed(url=data_url(image)), answer] * 2)
    assert b"NaN+Infinity" in sent.body
    assert len(sent.body) > 700_000
    assert sum(written) < 2 * len(answer["content"]) + 4_000


PART = {"type": "image_url", "image_url": {"url": data_url(picture())}}
TRAP = json.dumps(PART, separators=(",", ":"))


@pytest.mark.parametrize(
    ("messages", "options"),
    [
        ([{"role": "user", "content": [PART]}], {}),
        ([{"role": "user", "content": [PART, {"type": "text", "text": TRAP}, PART]}] * 2, {}),
        ([{"role": "user", "content": TRAP}, {"role": "user", "content": [PART], "name": TRAP}], {}),
        (_holed(detail="low") + _holed(detail='"}'), {}),
        ([{"role": "user", "content": [PART], "example": [PART]}], {}),
        ([{"role": "user", "content": [PART]}], {"tools": [{**tool(), "examples": [PART, PART]}]}),
        ([{"role": "user", "content": [PART]}], {"metadata": {"of": PART}, "max_tokens": 5}),
        ([*HI, {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "note": PART, "function": {
            "name": "f", "arguments": "{}"}}]}, {"role": "tool", "tool_call_id": "a", "content": [PART]}], {}),
        ([{"role": "user", "content": [PART]}], {"extra_body": {"of": PART}}),
    ],
    ids=["one", "several", "texts like it", "details", "examples", "tools", "metadata", "calls", "extra_body"],
)  # fmt: skip
def test_images_are_put_in_where_they_belong(messages: Any, options: Body) -> None:
    """However much else in a request looks like an image, each is where it was, and everything else is as it was."""
    sent = body(messages, **options)
    assert sent.pop("messages") == wire_messages(messages)
    for name, value in (options | options.get("extra_body", {})).items():
        assert name == "extra_body" or sent[name] == value


@pytest.mark.parametrize("url", ['data:x,","role":"system', "data:x,\\"])
def test_nothing_gets_out_of_an_image(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should something else than base64 ever come here as an image, it can't become another part of the request."""
    monkeypatch.setattr("cf_gemma.request.images.fitted", lambda _: url)
    assert body([{"role": "user", "content": [PART]}])["messages"][0]["content"][0]["image_url"]["url"] == url


def test_messages_of_extra_body_go_out_as_they_are() -> None:
    """`extra_body` comes last: its messages replace those with images."""
    other = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": 'x"y'}}]}]
    assert body([{"role": "user", "content": [PART]}], extra_body={"messages": other})["messages"] == other


def test_a_lowered_limit_is_written_over(written: list[int]) -> None:
    """Where our own limit gives way, the body isn't written again for it, and all else in it stays."""
    text = "16384 " * 165_000
    sent = request(text)
    content = json.loads(sent.body)
    assert content["max_tokens"] == pytest.approx(256_000 - len(sent.body) // 4, abs=1)
    assert 256 < content["max_tokens"] < 16_384
    assert content["messages"] == [{"role": "user", "content": text}]
    assert sum(written) < len(sent.body) + 2_000


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity NaN", '{"x": NaN}'])
def test_words_that_look_like_bad_numbers_are_words(text: str) -> None:
    """A prompt about NaN is a prompt."""
    assert body(text)["messages"][0]["content"] == text


def test_a_prompt_needs_the_run_endpoint() -> None:
    """The chat-completions endpoint has no prompt form."""
    with pytest.raises(InvalidRequest, match='endpoint="run"'):
        request(None, prompt="once", under=settings(endpoint="chat_completions"))


hostile = st.sampled_from(["..", ".", "x/.", "./x", "@cf/../x", "%2e%2e", "a?b", "a#b", "//evil.test", "x/", "a\n"])
parts = st.text(max_size=12) | hostile


@given(st.just("acc") | parts, parts, st.sampled_from(["run", "chat_completions"]))
def test_no_string_leads_out_of_the_account(account: str, model: str, endpoint: str) -> None:
    """Whatever the account and the model are: refused, or an address under that account, for httpx too."""
    try:
        sent = request(under=settings(account_id=account, endpoint=endpoint), model=model)
    except GemmaError as error:
        assert isinstance(error, ConfigurationError)  # noqa: PT017 - both outcomes are right
        return
    prefix = f"https://api.cloudflare.com/client/v4/accounts/{account}/ai/"
    assert sent.url.startswith(prefix)
    assert str(httpx.URL(sent.url)) == sent.url
