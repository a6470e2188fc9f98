from __future__ import annotations

import asyncio
import json
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from cf_gemma import AsyncGemma, Gemma
from cf_gemma.emulator import CUT, Emulator, Fault, Reply, ScriptedEngine, ToolCallSpec
from cf_gemma.errors import GemmaError, InvalidRequest
from cf_gemma.telemetry import GemmaInstrumentor
from cf_gemma.testing import no_waits
from langchain_cf_gemma import ChatCloudflareGemma
from llama_index_cf_gemma import CloudflareGemma

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.sdk.trace import ReadableSpan

    Instrument = Callable[..., InMemorySpanExporter]

QUESTION = "Why is the sky blue?"


@pytest.fixture
def instrument() -> Iterator[Instrument]:
    """Switches spans on, and off at the end; gives what collects them."""
    instrumentor = GemmaInstrumentor()

    def on(**options: Any) -> InMemorySpanExporter:
        exporter, provider = InMemorySpanExporter(), TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        instrumentor.instrument(tracer_provider=provider, **options)
        return exporter

    yield on
    instrumentor.uninstrument()


def settings(emulator: Emulator, **more: Any) -> dict[str, Any]:
    """Where to ask."""
    place = {"account_id": emulator.account_id, "api_token": emulator.api_token, "base_url": emulator.base_url}
    return {**place, **more}


def ask(face: str, place: dict[str, Any], question: str = QUESTION) -> None:
    """One question, in one of the ways that there are."""
    match face:
        case "chat":
            Gemma(**place).chat(question)
        case "stream":
            list(Gemma(**place).stream(question))
        case "async chat":
            asyncio.run(AsyncGemma(**place).chat(question))
        case "async stream":
            asyncio.run(_drained(AsyncGemma(**place), question))
        case "LangChain":
            ChatCloudflareGemma(**place).invoke(question)
        case "LangChain stream":
            list(ChatCloudflareGemma(**place).stream(question))
        case "LlamaIndex":
            CloudflareGemma(**place).complete(question)
        case _:
            list(CloudflareGemma(**place).stream_complete(question))


async def _drained(gemma: AsyncGemma, question: str) -> None:
    async for _ in gemma.stream(question):
        pass


FACES = [f"{kind}{stream}" for kind in ("LangChain", "LlamaIndex") for stream in ("", " stream")]
FACES += ["chat", "stream", "async chat", "async stream"]


def facts(span: ReadableSpan) -> dict[str, Any]:
    """A span's attributes."""
    return dict(span.attributes or {})


@pytest.mark.parametrize("face", FACES)
def test_one_span_a_call(instrument: Instrument, face: str) -> None:
    """Each way to ask makes one span, with the conventions' attributes: model, limits, tokens, cost, finish."""
    exporter = instrument()
    with Emulator([Reply("Because of Rayleigh.", reasoning="Hm.")]) as emulator:
        ask(face, settings(emulator, max_tokens=500, temperature=0.5, session_affinity="thread-7"))
    (span,) = exporter.get_finished_spans()
    attributes = facts(span)
    assert span.name == "chat @cf/google/gemma-4-26b-a4b-it"
    assert attributes["gen_ai.operation.name"] == "chat"
    assert attributes["gen_ai.request.model"] == "@cf/google/gemma-4-26b-a4b-it"
    assert (attributes["gen_ai.request.max_tokens"], attributes["gen_ai.request.temperature"]) == (500, 0.5)
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["gen_ai.usage.input_tokens"] > 0
    assert attributes["gen_ai.usage.output_tokens"] > 3
    assert attributes["cf_gemma.usage.cost"] > 0
    assert attributes["server.address"] == "127.0.0.1"
    assert ("gen_ai.response.time_to_first_chunk" in attributes) == ("stream" in face)
    assert "Rayleigh" not in json.dumps(attributes)
    assert QUESTION not in json.dumps(attributes)
    assert emulator.api_token not in json.dumps(attributes)


def test_prompts_and_answers_on_request(instrument: Instrument) -> None:
    """With capture_content, messages, tools, reasoning and calls are there in the conventions' form."""
    exporter = instrument(capture_content=True)
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}
    reply = Reply(reasoning="Hm.", tool_calls=[ToolCallSpec("look_up", {"q": "sky"})])
    with Emulator([reply]) as emulator:
        Gemma(**settings(emulator)).chat([{"role": "user", "content": QUESTION}], tools=[tool])
    attributes = facts(exporter.get_finished_spans()[0])
    question = {"role": "user", "parts": [{"type": "text", "content": QUESTION}]}
    assert json.loads(attributes["gen_ai.input.messages"]) == [question]
    assert json.loads(attributes["gen_ai.tool.definitions"]) == [tool]
    (answer,) = json.loads(attributes["gen_ai.output.messages"])
    assert answer["finish_reason"] == "tool_calls"
    assert [part["type"] for part in answer["parts"]] == ["reasoning", "tool_call"]
    assert answer["parts"][1]["name"] == "look_up"


def test_odd_messages_are_the_client_s_to_refuse(instrument: Instrument) -> None:
    """Nulls and bare texts are no trouble, and what is no message gets the client's own error."""
    exporter = instrument(capture_content=True)
    with Emulator([Reply("a")]) as emulator:
        gemma = Gemma(**settings(emulator))
        gemma.chat([{"role": "assistant", "content": None, "tool_calls": None}, {"role": "user", "content": QUESTION}])
        with pytest.raises(InvalidRequest):
            gemma.chat(["no message"])
    shown = [json.loads(facts(span)["gen_ai.input.messages"]) for span in exporter.get_finished_spans()]
    question = {"role": "user", "parts": [{"type": "text", "content": QUESTION}]}
    assert shown == [[{"role": "assistant", "parts": []}, question], []]


def test_a_null_says_nothing(instrument: Instrument) -> None:
    """A parameter that is None for a call is the client's own, in the span as in the request."""
    exporter = instrument()
    with Emulator([Reply("a")]) as emulator:
        Gemma(**settings(emulator, temperature=0.5)).chat(QUESTION, temperature=None)
    assert facts(exporter.get_finished_spans()[0])["gen_ai.request.temperature"] == 0.5


@pytest.mark.parametrize("face", FACES)
def test_retries_are_events(instrument: Instrument, face: str) -> None:
    """What was sent again is an event of the one span, with the reason."""
    exporter = instrument()
    with Emulator([Fault(429, 3040), Reply("a")]) as emulator, no_waits():
        ask(face, settings(emulator))
    (span,) = exporter.get_finished_spans()
    (event,) = span.events
    assert event.name == "retry"
    assert dict(event.attributes or {})["error.type"] == "CapacityExceeded"


@pytest.mark.parametrize("face", FACES)
def test_an_error_has_what_had_arrived(instrument: Instrument, face: str) -> None:
    """A cut answer's span says so, and has the tokens that were reported."""
    exporter = instrument()
    engine = ScriptedEngine([Reply("one two three four", error=CUT)], repeat=True)
    with Emulator(engine) as emulator, pytest.raises(GemmaError):
        ask(face, settings(emulator, max_retries=0))
    (span,) = exporter.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert facts(span)["error.type"] == "StreamTruncated"
    assert facts(span)["gen_ai.usage.output_tokens"] > 0


def test_an_abandoned_stream_ends_its_span(instrument: Instrument) -> None:
    """Whoever leaves a stream leaves no span open, and that is no error."""
    exporter = instrument()
    with Emulator([Reply("one two three four")]) as emulator:
        stream = Gemma(**settings(emulator)).stream(QUESTION)
        next(stream)
        assert exporter.get_finished_spans() == ()
        stream.close()
    (span,) = exporter.get_finished_spans()
    assert span.status.status_code is not StatusCode.ERROR


@pytest.mark.parametrize(
    ("module", "name", "silent"),
    [
        ("openinference.instrumentation.langchain", "LangChainInstrumentor", "LangChain"),
        ("openinference.instrumentation.llama_index", "LlamaIndexInstrumentor", "LlamaIndex"),
        ("opentelemetry.instrumentation.langchain", "LangchainInstrumentor", "LangChain"),
        ("opentelemetry.instrumentation.llamaindex", "LlamaIndexInstrumentor", "LlamaIndex"),
    ],
)
@pytest.mark.parametrize("active", [True, False])
def test_no_span_twice(
    instrument: Instrument, monkeypatch: pytest.MonkeyPatch, module: str, name: str, silent: str, active: bool
) -> None:
    """Where OpenInference makes spans of a framework's calls, none is made here; of all others one is."""
    exporter = instrument()
    other = SimpleNamespace(is_instrumented_by_opentelemetry=active)
    idle = SimpleNamespace(is_instrumented_by_opentelemetry=False)
    for there in ("openinference.instrumentation.langchain", "openinference.instrumentation.llama_index"):
        names = dict.fromkeys(("LangChainInstrumentor", "LlamaIndexInstrumentor"), lambda: idle)
        monkeypatch.setitem(sys.modules, there, SimpleNamespace(**names))
    monkeypatch.setitem(sys.modules, module, SimpleNamespace(**{name: lambda: other}))
    with Emulator(ScriptedEngine([Reply("a")], repeat=True)) as emulator:
        for face in FACES:
            ask(face, settings(emulator))
    of_it = [face for face in FACES if face.startswith(silent)]
    assert len(exporter.get_finished_spans()) == len(FACES) - (len(of_it) if active else 0)


def test_off_again() -> None:
    """Without it, the methods are the client's own."""
    before = Gemma.chat, Gemma.stream, AsyncGemma.chat, AsyncGemma.stream
    GemmaInstrumentor().instrument(tracer_provider=TracerProvider())
    assert Gemma.chat is not before[0]
    GemmaInstrumentor().uninstrument()
    assert (Gemma.chat, Gemma.stream, AsyncGemma.chat, AsyncGemma.stream) == before
