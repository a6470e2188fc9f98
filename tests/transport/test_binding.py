from __future__ import annotations

import asyncio
import copy
import json
import pickle
import subprocess
import sys
from contextlib import aclosing
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.load import dumps
from llama_index.core.base.llms.types import ChatMessage

from cf_gemma import AsyncGemma, Gemma
from cf_gemma import errors as e
from cf_gemma.model.facts import MODEL
from cf_gemma.testing import no_waits
from cf_gemma.transport.binding import refused, run_options
from langchain_cf_gemma import ChatCloudflareGemma
from llama_index_cf_gemma import CloudflareGemma
from tests.faultserver import FaultServer, chunk
from tests.response.wire import S_REPLY, S_STREAM
from tests.worker import javascript
from tests.worker.cases import CASES, JSON, TEXT, Answer, Case, awaited
from tests.worker.http import over_http
from tests.worker.javascript import Ai, JsException, ReadableStream, Response, raw

if TYPE_CHECKING:
    from collections.abc import Callable

WHOLE = Answer((S_REPLY.encode(),), JSON)
STREAM = Answer((S_STREAM.encode(),))
WORDS = "أهلاً بك يا صديقي! أنت رائع جداً اليوم."


def name(case: Case) -> str:
    """A case's name."""
    return case.name


@pytest.fixture(autouse=True)
def _in_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, fake in javascript.modules().items():
        monkeypatch.setitem(sys.modules, module, fake)


@pytest.mark.parametrize("case", CASES, ids=name)
def test_the_same_through_each_shell(case: Case) -> None:
    """Whatever the service says comes to the same through HTTP, blocking and not, and through a binding."""
    ai = Ai(*case.answers)
    gemma = AsyncGemma(binding=ai, timeout=case.timeout)
    through_binding = asyncio.run(asyncio.wait_for(awaited(gemma, case), 20))
    blocking, asynchronous, requests = over_http(case)
    assert through_binding.plain() == asynchronous.plain() == blocking.plain()
    assert len(ai.runs) == requests
    assert through_binding.deltas or through_binding.completion or through_binding.error


HEADERS: list[tuple[dict[str, str], dict[str, Any]]] = [
    ({"content-type": "application/json", "accept-encoding": "identity"}, {}),
    ({"x-session-affinity": "7", "user-agent": "x"}, {"extraHeaders": {"x-session-affinity": "7", "user-agent": "x"}}),
    ({"cf-aig-cache-ttl": "60"}, {"extraHeaders": {"cf-aig-cache-ttl": "60"}}),
    (
        {
            "cf-aig-gateway-id": "mine",
            "cf-aig-cache-key": "60",
            "cf-aig-cache-ttl": "60",
            "cf-aig-skip-cache": "true",
            "cf-aig-metadata": '{"user": "x"}',
            "cf-aig-collect-log": "no",
            "x-other": "1",
        },
        {
            "gateway": {
                "id": "mine",
                "cacheKey": "60",
                "cacheTtl": 60,
                "skipCache": True,
                "metadata": {"user": "x"},
                "collectLog": "no",
            },
            "extraHeaders": {"x-other": "1"},
        },
    ),
]


@pytest.mark.parametrize(("headers", "options"), HEADERS)
def test_headers_become_options(headers: dict[str, str], options: dict[str, Any]) -> None:
    """What a header says over HTTP, a binding is told by the option of that meaning; nothing is left out."""
    assert run_options(headers, queued=False) == {"returnRawResponse": True, **options}
    assert run_options({}, queued=True) == {"returnRawResponse": True, "queueRequest": True}


def test_what_is_run() -> None:
    """The inputs are the body of the same request over HTTP; `options` in it go where a binding reads them."""
    ai = Ai(WHOLE)
    made: dict[str, Any] = {"extra_body": {"options": {"rejectIfBusy": True}}, "session_affinity": "7"}
    asyncio.run(AsyncGemma(binding=ai, **made).chat("hé", temperature=None, extra_headers={"x-a": "b"}))
    with FaultServer([chunk(b"")]) as server, pytest.raises(e.GemmaError):
        Gemma("acc", "token", base_url=server.url, max_retries=0, **made).chat("hé")
    ((model, inputs, options),) = ai.runs
    body = json.loads(server.requests[0].body)
    assert (model, body.pop("options")) == (MODEL, {"rejectIfBusy": True})
    assert javascript.plain(inputs) == body
    signal = options.signal
    del options.signal
    headers = javascript.plain(options).pop("extraHeaders")
    assert (headers["x-session-affinity"], headers["x-a"], signal.aborted) == ("7", "b", False)
    assert options.rejectIfBusy
    assert options.returnRawResponse


def test_a_stream_that_is_left_is_cancelled() -> None:
    """Leaving a stream tells the runtime that no more is wanted; so does its end."""
    ai = Ai(Answer((TEXT, TEXT), ending="silent"))

    async def left() -> None:
        async with aclosing(AsyncGemma(binding=ai).stream("hi")) as items:
            await anext(items)
            assert not ai.streams[0].cancelled.is_set()

    asyncio.run(left())
    assert ai.streams[0].cancelled.is_set()


def test_a_run_that_is_given_up_is_aborted() -> None:
    """A call that is cancelled, or was silent for too long, before a response came aborts its run."""
    ai = Ai(Answer(ending="never begins"))

    async def given_up() -> None:
        task = asyncio.create_task(AsyncGemma(binding=ai).chat("hi"))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(e.RequestTimeout):
            await AsyncGemma(binding=ai, timeout=0.01, max_retries=0).chat("hi")

    asyncio.run(given_up())
    assert [options.signal.aborted for _, _, options in ai.runs] == [True, True]


def test_a_slow_reader_is_not_silence() -> None:
    """Only what the service is waited for counts, not what the caller does between two words."""
    ai = Ai(Answer((TEXT, S_STREAM.encode())))

    async def slowly() -> list[Any]:
        items: list[Any] = []
        async with aclosing(AsyncGemma(binding=ai, timeout=0.05).stream("hi")) as stream:
            async for item in stream:
                items.append(item)
                await asyncio.sleep(0.12)
        return items

    *_, last = asyncio.run(slowly())
    assert last.finish_reason == "stop"


def without_raw(answer: Answer) -> Any:
    """What a binding that doesn't know `returnRawResponse` gives."""
    body = b"".join(answer.pieces)
    if answer.status != 200:
        raise JsException("InferenceUpstreamError", body.decode())
    if answer.headers["content-type"] == "application/json":
        return javascript.JsObject(json.loads(body))
    return ReadableStream(answer.pieces, answer.ending)


def in_python(answer: Answer) -> Any:
    """What Cloudflare's package for Python Workers makes of a Response."""
    return SimpleNamespace(js_object=raw(answer), status=answer.status)


def as_dict(answer: Answer) -> Any:
    """What that package makes of an object."""
    return json.loads(b"".join(answer.pieces))


@pytest.mark.parametrize(
    ("gives", "answer"),
    [(without_raw, WHOLE), (without_raw, STREAM), (in_python, WHOLE), (in_python, STREAM), (as_dict, WHOLE)],
)
def test_whatever_a_binding_gives(gives: Callable[[Answer], Any], answer: Answer) -> None:
    """A Response, Python's own form of one, a stream, an object and a dict are all read."""
    completion = asyncio.run(AsyncGemma(binding=Ai(answer, gives=gives)).chat("hi"))
    assert completion.text == (WORDS if answer is WHOLE else "أ")
    assert completion.usage is not None
    assert completion.usage.total_tokens == 163


def test_a_body_that_is_packed_by_its_header_only() -> None:
    """JavaScript unpacks bodies and leaves the header; a response may have no body at all."""
    packed = Answer(WHOLE.pieces, {**JSON, "content-encoding": "gzip"})
    assert asyncio.run(AsyncGemma(binding=Ai(packed)).chat("hi")).text == WORDS
    bare = Ai(WHOLE, gives=lambda _: Response(None, 503, {}))
    with no_waits(), pytest.raises(e.ServerError):
        asyncio.run(AsyncGemma(binding=bare).chat("hi"))
    assert len(bare.runs) == 3


THROWN: list[tuple[str, type[e.GemmaError], int | None, int | None]] = [
    ("InferenceUpstreamError: 3040: Capacity temporarily exceeded, please try again.", e.CapacityExceeded, 429, 3040),
    ("AiError: 5006: Error: required properties at '/' are 'prompt'", e.BadRequest, 400, 5006),
    ("AiError: AiError: 4006: you have used up your daily free allocation", e.QuotaExhausted, 429, 4006),
    ("InvalidInput: 1001: prompt and messages are mutually exclusive", e.ApiError, None, 1001),
    ('InferenceUpstreamError: {"error": {"code": 3046, "message": "Request timeout"}}', e.ServiceTimeout, None, 3046),
    ("InferenceUpstreamError: <html>bad gateway</html>", e.ApiError, None, None),
    ("TypeError: Network connection lost.", e.ConnectionFailed, None, None),
]


@pytest.mark.parametrize(("text", "kind", "status", "code"), THROWN)
def test_whatever_a_binding_throws(text: str, kind: type[e.GemmaError], status: int | None, code: int | None) -> None:
    """An exception of the binding's is a typed error, by its code; the service's words stand in it."""
    error = refused(text)
    assert (type(error), error.status, error.code) == (kind, status, code)
    assert text.rpartition(": ")[2].strip('"}') in error.message


def test_a_refusal_in_the_bindings_words() -> None:
    """The body of a raw response may be the binding's own form of a refusal, with the code under its own name."""
    body = {"internalCode": 3040, "message": "AiError: no room", "name": "AiError", "description": "no room"}
    ai = Ai(Answer((json.dumps(body).encode(),), JSON, 429))
    with pytest.raises(e.CapacityExceeded, match=r"^429 from Workers AI: no room") as caught:
        asyncio.run(AsyncGemma(binding=ai, max_retries=0).chat("hi"))
    assert (caught.value.code, caught.value.request_id) == (3040, JSON["cf-ai-req-id"])


def test_a_busy_binding_is_asked_again() -> None:
    """What is thrown counts as any refusal does: sent again where that may help."""

    def busy(answer: Answer) -> Any:
        raise JsException("InferenceUpstreamError", "3040: Capacity temporarily exceeded")

    ai = Ai(WHOLE, gives=busy)
    with no_waits() as waits, pytest.raises(e.CapacityExceeded) as caught:
        asyncio.run(AsyncGemma(binding=ai).chat("hi"))
    assert (len(ai.runs), caught.value.attempts, waits) == (3, 3, [2.0, 4.0])


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"account_id": "acc"}, "account_id"),
        ({"api_token": "token"}, "api_token"),
        ({"base_url": "https://x.test"}, "base_url"),
        ({"endpoint": "chat_completions"}, "endpoint"),
        ({"http_client": object()}, "HTTP client"),
    ],
)
def test_what_has_no_meaning_beside_a_binding(settings: dict[str, Any], named: str) -> None:
    """Settings of HTTP are refused; what the environment says of them is not for a binding."""
    with pytest.raises(e.ConfigurationError, match=named):
        AsyncGemma(binding=Ai(), **settings)


def test_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A binding has its account, whatever the environment holds."""
    monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", "acc")
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "token")
    settings = AsyncGemma(binding=Ai()).settings
    assert (settings.account_id, settings.api_token, "authorization" in settings.headers) == (None, None, False)


BLOCKING: list[Callable[[Any], object]] = [
    lambda ai: Gemma(binding=ai),
    lambda ai: ChatCloudflareGemma(binding=ai).invoke("hi"),
    lambda ai: list(ChatCloudflareGemma(binding=ai).stream("hi")),
    lambda ai: CloudflareGemma(binding=ai).complete("hi"),
    lambda ai: CloudflareGemma(binding=ai).stream_chat([ChatMessage("hi")]),
]


@pytest.mark.parametrize("call", BLOCKING)
def test_blocking_calls_name_the_asynchronous_ones(call: Callable[[Any], object]) -> None:
    """A binding can't be waited for by blocking; the error says what to call instead."""
    ai = Ai(WHOLE)
    with pytest.raises(e.ConfigurationError, match=r"AsyncGemma.*ainvoke.*achat"):
        call(ai)
    assert ai.runs == []


def test_images_on_the_web_are_refused() -> None:
    """There are no sockets to fetch one with; nothing is run."""
    ai = Ai(WHOLE)
    image = {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
    with pytest.raises(e.UnsupportedContent, match="inline_image_urls"):
        asyncio.run(
            AsyncGemma(binding=ai, inline_image_urls=True).chat([{"role": "user", "content": [image]}], max_tokens=9)
        )
    assert ai.runs == []


def test_langchain() -> None:
    """The model answers and streams; copies share the binding, and nothing that is saved has it."""
    model = ChatCloudflareGemma(binding=Ai(STREAM))

    async def both() -> tuple[Any, Any]:
        first, *rest = [chunk async for chunk in model.astream("hi")]
        return await model.ainvoke("hi"), first + rest

    whole, streamed = asyncio.run(both())
    assert whole.text == streamed.text == "أ"
    assert whole.usage_metadata == streamed.usage_metadata
    assert copy.deepcopy(model).binding is model.model_copy(deep=True).binding is model.binding
    assert "binding" not in repr(model) + dumps(model)
    assert model.model_copy(update={"temperature": 0.5}).async_client.settings.binding is model.binding
    with pytest.warns(UserWarning, match="binding"):
        assert b"Ai" not in pickle.dumps(model)


def test_llama_index() -> None:
    """The same for LlamaIndex."""
    llm = CloudflareGemma(binding=Ai(STREAM))

    async def both() -> tuple[Any, Any]:
        *_, last = [response async for response in await llm.astream_chat([ChatMessage("hi")])]
        return await llm.acomplete("hi"), last

    whole, streamed = asyncio.run(both())
    assert whole.text == streamed.message.content == "أ"
    assert copy.deepcopy(llm).binding is llm.model_copy().binding is llm.binding
    assert "binding" not in repr(llm) + llm.to_json()
    with pytest.warns(UserWarning, match="binding"):
        assert b"Ai" not in pickle.dumps(llm)


def test_the_queue() -> None:
    """A batch is handed over, and collected, with the option that the queue wants."""
    done = {"responses": [{"id": 0, "external_reference": "0", "success": True, "result": json.loads(S_REPLY)}]}
    receipt = {"status": "queued", "request_id": "r", "model": MODEL}
    ai = Ai(*(Answer((json.dumps(payload).encode(),), JSON) for payload in (receipt, done)))

    async def batched() -> Any:
        queue = AsyncGemma(binding=ai).batch
        return await queue.results(await queue.submit(["hi"]))

    (result,) = asyncio.run(batched())
    assert result.completion.text == WORDS
    assert [options.queueRequest for _, _, options in ai.runs] == [True, True]
    assert javascript.plain(ai.runs[1][1]) == {"request_id": "r"}


def test_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside a Worker the error says so."""
    monkeypatch.delitem(sys.modules, "js")
    with pytest.raises(e.ConfigurationError, match="Python Worker"):
        asyncio.run(AsyncGemma(binding=Ai()).chat("hi"))


ALONE = """
import asyncio, importlib.abc, socket, sys, threading

class Forbidding(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("httpx", "httpx2", "httpcore", "h11", "anyio", "ssl", "_ssl", "certifi", "idna"):
            raise ModuleNotFoundError(f"{name} is not there", name=name)

def refuse(*_, **__):
    raise RuntimeError("can't start new thread, nor open a socket")

sys.meta_path.insert(0, Forbidding())
from tests.worker import javascript
from tests.worker.cases import CASES, awaited
sys.modules.update(javascript.modules())
from cf_gemma import AsyncGemma
loop = asyncio.new_event_loop()  # it opens a pair of sockets for itself, which Pyodide's has no need of
threading.Thread.start = socket.socket.__init__ = socket.getaddrinfo = refuse
for case in CASES:
    ai = javascript.Ai(*case.answers)
    outcome = loop.run_until_complete(awaited(AsyncGemma(binding=ai, timeout=case.timeout), case))
    assert outcome.completion or outcome.error or outcome.deltas, case
print(len(CASES))
"""


def test_nothing_but_the_binding_is_needed() -> None:
    """Without an HTTP library, TLS, threads and sockets, all cases run: a Worker has none of them."""
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=False)  # noqa: S603 - our own program
    assert done.stdout.split() == [str(len(CASES))], done.stderr
