"""OpenTelemetry: a span for each call of the model, by the semantic conventions for generative AI (1.40, 2026-11).

    from cf_gemma.telemetry import GemmaInstrumentor

    GemmaInstrumentor().instrument()  # or start the program with `opentelemetry-instrument`

Needs the extra `telemetry`. Nothing of this is loaded, and no call pays for it, until it is asked for.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import aclosing, closing
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from opentelemetry.instrumentation.utils import unwrap
from opentelemetry.trace import SpanKind, Status, StatusCode
from typing_extensions import override
from wrapt import wrap_function_wrapper

from cf_gemma import MODEL, AsyncGemma, Completion, Gemma, __version__
from cf_gemma.model.json_object import as_object
from cf_gemma.transport import log

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Generator, Mapping

    from opentelemetry.trace import Span, Tracer

    from cf_gemma import Choice, Delta

    Items = Delta | Completion

_PARAMETERS: Final = {
    **{name: f"gen_ai.request.{name}" for name in ("max_tokens", "temperature", "top_p", "seed")},
    **{name: f"gen_ai.request.{name}" for name in ("frequency_penalty", "presence_penalty")},
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "stop": "gen_ai.request.stop_sequences",
    "n": "gen_ai.request.choice.count",
    "session_affinity": "gen_ai.conversation.id",
}
"""Parameters of a call, and the attributes that show them."""

_ELSEWHERE: Final = (
    ("langchain", "openinference.instrumentation.langchain", "LangChainInstrumentor"),
    ("langchain", "opentelemetry.instrumentation.langchain", "LangchainInstrumentor"),
    ("llama_index", "openinference.instrumentation.llama_index", "LlamaIndexInstrumentor"),
    ("llama_index", "opentelemetry.instrumentation.llamaindex", "LlamaIndexInstrumentor"),
)
"""Others that make a span of each call that a framework makes."""


class GemmaInstrumentor(BaseInstrumentor):
    """Makes a span of each call of `Gemma` and `AsyncGemma`, and so of both frameworks' models.

    Where OpenInference or OpenLLMetry already makes spans of a framework's calls, those get none from here.

    `instrument` takes `tracer_provider`, by default the global one, and `capture_content`: whether prompts and answers
    are in the spans, too; by default they are not.
    """

    @override
    def instrumentation_dependencies(self) -> Collection[str]:
        return ()

    @override
    def _instrument(self, **kwargs: Any) -> None:
        calls = _Calls(
            trace.get_tracer("cf_gemma", __version__, kwargs.get("tracer_provider")),
            content=bool(kwargs.get("capture_content")),
        )
        wrap_function_wrapper(Gemma, "chat", calls.chat)
        wrap_function_wrapper(Gemma, "stream", calls.stream)
        wrap_function_wrapper(AsyncGemma, "chat", calls.async_chat)
        wrap_function_wrapper(AsyncGemma, "stream", calls.async_stream)
        wrap_function_wrapper(log, "retry", _retry)

    @override
    def _uninstrument(self, **kwargs: Any) -> None:
        for owner, name in ((Gemma, "chat"), (Gemma, "stream"), (AsyncGemma, "chat"), (AsyncGemma, "stream")):
            unwrap(owner, name)
        unwrap(log, "retry")


class _Calls:
    """The clients' methods, each within a span."""

    def __init__(self, tracer: Tracer, *, content: bool) -> None:
        self._tracer, self._content = tracer, content

    def chat(self, chat: Callable[..., Completion], client: Gemma, args: Any, kwargs: Any) -> Completion:
        if _traced_elsewhere(client):
            return chat(*args, **kwargs)
        call = self._begun(client, args, kwargs)
        with call, call.current():
            return call.ended(chat(*args, **kwargs))

    async def async_chat(self, chat: Callable[..., Any], client: AsyncGemma, args: Any, kwargs: Any) -> Completion:
        if _traced_elsewhere(client):
            return await chat(*args, **kwargs)
        call = self._begun(client, args, kwargs)
        with call, call.current():
            return call.ended(await chat(*args, **kwargs))

    def stream(self, stream: Callable[..., Any], client: Gemma, args: Any, kwargs: Any) -> Any:
        items = stream(*args, **kwargs)
        return items if _traced_elsewhere(client) else self._streamed(items, client, args, kwargs)

    def async_stream(self, stream: Callable[..., Any], client: AsyncGemma, args: Any, kwargs: Any) -> Any:
        items = stream(*args, **kwargs)
        return items if _traced_elsewhere(client) else self._async_streamed(items, client, args, kwargs)

    def _streamed(
        self, items: Generator[Items, None, None], client: Gemma, args: Any, kwargs: Any
    ) -> Generator[Items, None, None]:
        call = self._begun(client, args, kwargs, streams=True)
        with call, closing(items):
            while True:
                with call.current():
                    item = next(items, None)
                if item is None:
                    return
                call.got(item)
                yield item

    async def _async_streamed(
        self, items: AsyncGenerator[Items, None], client: AsyncGemma, args: Any, kwargs: Any
    ) -> AsyncGenerator[Items, None]:
        call = self._begun(client, args, kwargs, streams=True)
        with call:
            async with aclosing(items):
                while True:
                    with call.current():
                        item = await anext(items, None)
                    if item is None:
                        return
                    call.got(item)
                    yield item

    def _begun(
        self, client: Gemma | AsyncGemma, args: Any, kwargs: Mapping[str, Any], *, streams: bool = False
    ) -> _Call:
        parameters = {**client.options, **{name: value for name, value in kwargs.items() if value is not None}}
        model = parameters.get("model") or MODEL
        place = urlsplit(client.settings.base_url)
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "cloudflare.workers_ai",
            "gen_ai.request.model": model,
            "gen_ai.request.stream": streams,
            "gen_ai.output.type": "json" if parameters.get("response_format") else "text",
            "server.address": place.hostname,
            "server.port": place.port or (443 if place.scheme == "https" else 80),
        }
        attributes |= {_PARAMETERS[name]: parameters[name] for name in _PARAMETERS if parameters.get(name) is not None}
        if self._content:
            messages = args[0] if args else kwargs.get("messages") or kwargs.get("prompt")
            attributes["gen_ai.input.messages"] = _json(_messages(messages))
            if tools := parameters.get("tools"):
                attributes["gen_ai.tool.definitions"] = _json(tools)
        span = self._tracer.start_span(f"chat {model}", kind=SpanKind.CLIENT, attributes=attributes)
        return _Call(span, content=self._content)


class _Call:
    """One call's span."""

    def __init__(self, span: Span, *, content: bool) -> None:
        self._span, self._content = span, content
        self._since = time.perf_counter()
        self._spoke = False

    def current(self) -> Any:
        """A context in which what happens belongs to the call."""
        return trace.use_span(self._span, end_on_exit=False, record_exception=False, set_status_on_exception=False)

    def got(self, item: Items) -> None:
        """Takes what a stream says."""
        if not self._spoke:
            self._spoke = True
            self._span.set_attribute("gen_ai.response.time_to_first_chunk", time.perf_counter() - self._since)
        if isinstance(item, Completion):
            self.ended(item)

    def ended(self, completion: Completion) -> Completion:
        """Notes what the answer says of itself."""
        self._note(completion)
        return completion

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, tb: object) -> None:
        if error is not None and not isinstance(error, GeneratorExit):
            self._span.set_attribute("error.type", type(error).__name__)
            self._span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            partial = getattr(error, "partial", None)
            if partial is not None:
                self._note(partial)
        self._span.end()

    def _note(self, completion: Completion) -> None:
        usage = completion.usage
        facts: dict[str, Any] = {
            "gen_ai.response.id": completion.id or None,
            "gen_ai.response.model": completion.model or None,
            "gen_ai.response.finish_reasons": [one.finish_reason for one in completion.choices if one.finish_reason],
            "cf_gemma.request_id": completion.request_id,
            "cf_gemma.gateway.log_id": completion.gateway.get("log_id"),
            "cf_gemma.gateway.cache_status": completion.gateway.get("cache_status"),
        }
        if usage is not None:
            facts |= {
                "gen_ai.usage.input_tokens": usage.prompt_tokens,
                "gen_ai.usage.output_tokens": usage.completion_tokens,
                "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
                "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
                "cf_gemma.usage.neurons": usage.neurons,
                "cf_gemma.usage.cost": usage.cost,
            }
        if self._content:
            facts["gen_ai.output.messages"] = _json([_answer(choice) for choice in completion.choices])
        self._span.set_attributes({name: fact for name, fact in facts.items() if fact not in (None, [])})


def _retry(retry: Callable[..., None], _: object, args: Any, kwargs: Any) -> None:
    step = args[0]
    reason = type(step.reason).__name__
    trace.get_current_span().add_event("retry", {"attempt": step.attempt, "wait": step.seconds, "error.type": reason})
    retry(*args, **kwargs)


def _traced_elsewhere(client: Gemma | AsyncGemma) -> bool:
    """Whether somebody else makes a span of each call of this client's framework."""
    return any(
        getattr(instrumentation, name)().is_instrumented_by_opentelemetry
        for framework, module, name in _ELSEWHERE
        if framework == client.framework and (instrumentation := sys.modules.get(module))
    )


def _messages(messages: Any) -> list[dict[str, Any]]:
    """Messages as the conventions have them. What is no message is the client's to refuse, and not shown."""
    listed = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages or ()
    fields = (as_object(message) for message in listed)
    return [{"role": message.get("role"), "parts": _parts(message)} for message in fields if message is not None]


def _answer(choice: Choice) -> dict[str, Any]:
    return {"role": "assistant", "parts": _parts(choice.message), "finish_reason": choice.finish_reason}


def _parts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A message's parts. Of a picture, that there is one."""
    content = message.get("content")
    listed = [{"type": "text", "text": content}] if isinstance(content, str) else content or ()
    kind = "tool_call_response" if message.get("role") == "tool" else "text"
    fields = (as_object(part) or {"type": "text", "text": part} for part in listed)
    parts: list[dict[str, Any]] = []
    if reasoning := message.get("reasoning_content"):
        parts.append({"type": "reasoning", "content": reasoning})
    for part in fields:
        if part.get("type") != "text":
            parts.append({"type": str(part.get("type"))})
        elif text := part.get("text"):
            parts.append({"type": kind, "content": text})
    calls = (as_object(call) or {} for call in message.get("tool_calls") or ())
    parts += [{"type": "tool_call", "id": call.get("id"), **(as_object(call.get("function")) or {})} for call in calls]
    return parts


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
