"""What the LlamaIndex tests share: a scripted emulator, a model that talks to it, one way to call both halves."""

import asyncio
import inspect
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack
from importlib.metadata import version
from typing import Any

import pytest
from llama_index.core.base.response.schema import AsyncStreamingResponse, StreamingResponse
from llama_index.core.callbacks import CBEventType
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.chat_engine.types import StreamingAgentChatResponse
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from packaging.version import Version

from cf_gemma.emulator import Emulator, Reply, ScriptedEngine
from llama_index_cf_gemma import CloudflareGemma

from .sensible import sensible

TOKEN = "canary-token-4711"  # the emulator accepts what it is told to accept

Emulate = Callable[..., Emulator]
Connect = Callable[..., CloudflareGemma]
Call = Callable[..., Any]


def needs(package: str, lowest: str, why: str) -> pytest.MarkDecorator:
    """Skips a test where a package is older; `why` says what came with this version, and where that can be read."""
    installed = version(package)
    return pytest.mark.skipif(
        Version(installed) < Version(lowest), reason=f"needs {package} {lowest}, not {installed}: {why}"
    )


class Watched(ScriptedEngine):
    """Counts what it generates, and knows when the client has left."""

    def __init__(self, text: str = "word " * 200) -> None:
        super().__init__([Reply(text, gap=0.01)], repeat=True)
        self.events = 0
        self.left = threading.Event()

    def generate(self, request: Any, cancelled: threading.Event) -> Iterator[Any]:
        """The script, counted."""
        try:
            for event in super().generate(request, cancelled):
                self.events += 1
                yield event
        finally:
            if cancelled.is_set() or self.events < 200:
                self.left.set()


def assert_left(engine: Watched) -> None:
    """The service noticed at once that nobody reads any more."""
    assert engine.left.wait(1.0)
    assert engine.events < 100


@pytest.fixture
def emulate() -> Iterator[Emulate]:
    """Starts emulators; closes them at the end."""
    with ExitStack() as stack:

        def start(script: Any, **options: Any) -> Emulator:
            return stack.enter_context(Emulator(script, api_token=TOKEN, **options))

        yield start


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes models that talk to an emulator; closes them at the end."""
    with ExitStack() as stack:

        def make(emulator: Emulator, **settings: Any) -> CloudflareGemma:
            settings = {
                "base_url": emulator.base_url,
                "account_id": emulator.account_id,
                "api_token": TOKEN,
                **settings,
            }
            return stack.enter_context(CloudflareGemma(**settings))

        yield make


@pytest.fixture(params=[("run", "S"), ("run", "V"), ("chat_completions", "S"), ("chat_completions", "V")], ids="-".join)
def wire(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Both endpoints, both back-ends."""
    return request.param


@pytest.fixture
def gemma(wire: tuple[str, str], emulate: Emulate, connect: Connect) -> Connect:
    """A model over one of the wires, with a script; `model.emulator` is what it talks to."""
    endpoint, dialect = wire

    def make(script: Any, **settings: Any) -> tuple[CloudflareGemma, Emulator]:
        emulator = emulate(script, dialect=dialect)
        return connect(emulator, endpoint=endpoint, **settings), emulator

    return make


@pytest.fixture
def model(emulate: Emulate, connect: Connect) -> Connect:
    """A model with a script over one wire, for what no wire changes."""

    def make(script: Any, **settings: Any) -> tuple[CloudflareGemma, Any]:
        emulator = emulate(script)
        return connect(emulator, **settings), emulator

    return make


@pytest.fixture(scope="session")
def sensible_llm() -> Iterator[CloudflareGemma]:
    """A model that reads what it is asked, for whatever component asks; either back-end may answer."""
    with (
        Emulator(sensible, api_token=TOKEN) as emulator,
        CloudflareGemma(base_url=emulator.base_url, account_id=emulator.account_id, api_token=TOKEN) as llm,
    ):
        yield llm


class Events(BaseEventHandler):
    """Keeps the events."""

    seen: list[BaseEvent]

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        """Keeps one."""
        self.seen.append(event)


class Calls(BaseCallbackHandler):
    """Counts the LLM calls that the older callbacks see."""

    def __init__(self) -> None:
        super().__init__([], [])
        self.ended = 0

    def on_event_start(self, event_type: CBEventType, *args: Any, **kwargs: Any) -> str:
        """Nothing to count."""
        return ""

    def on_event_end(self, event_type: CBEventType, *args: Any, **kwargs: Any) -> None:
        """Counts the ends."""
        self.ended += event_type is CBEventType.LLM

    def start_trace(self, trace_id: str | None = None) -> None:
        """Traces don't count."""

    def end_trace(self, trace_id: str | None = None, trace_map: Any = None) -> None:
        """Nor do their ends."""


@pytest.fixture
def events() -> Iterator[list[BaseEvent]]:
    """What observers are told."""
    dispatcher = get_dispatcher()
    handler = Events(seen=[])
    dispatcher.add_event_handler(handler)
    yield handler.seen
    dispatcher.event_handlers.remove(handler)


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """Calls a method or its asynchronous twin (in a loop of its own).

    A stream of responses comes as a list, the streamed answer of an engine as its text.
    """
    return _sync if request.param == "sync" else _async


def _sync(owner: Any, method: str, *args: Any, **kwargs: Any) -> Any:
    result = getattr(owner, method)(*args, **kwargs)
    if isinstance(result, StreamingResponse | StreamingAgentChatResponse):
        return "".join(result.response_gen)
    return list(result) if inspect.isgenerator(result) else result


def _async(owner: Any, method: str, *args: Any, **kwargs: Any) -> Any:
    async def run() -> Any:
        result = await getattr(owner, f"a{method.strip('_')}")(*args, **kwargs)
        if isinstance(result, AsyncStreamingResponse | StreamingAgentChatResponse):
            return "".join([token async for token in result.async_response_gen()])
        return [item async for item in result] if isinstance(result, AsyncGenerator) else result

    return asyncio.run(run())
