"""The emulator's life: starting, stopping, and clients that leave."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from cf_gemma.emulator import Emulator, Reply, ScriptedEngine
from cf_gemma.emulator.engines import Engine, Event, Opening, Step
from cf_gemma.errors import ConfigurationError
from cf_gemma.model.completion import TextDelta

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Caller

    from cf_gemma.emulator.chat import ChatRequest


class Endless:
    """An engine that talks until nobody listens."""

    name = "endless"

    def __init__(self, word: str = "on and ") -> None:
        self.word = word
        self.stopped = threading.Event()

    def generate(self, request: ChatRequest, cancelled: threading.Event) -> Iterator[Event]:
        try:
            yield Opening(1)
            while not cancelled.wait(0.001):
                yield Step(TextDelta(self.word))
        finally:
            self.stopped.set()

    def close(self) -> None: ...


class Broken(Endless):
    """An engine with a bug, after some words."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.words = words

    def generate(self, request: ChatRequest, cancelled: threading.Event) -> Iterator[Event]:
        for _ in range(self.words):
            yield Opening(1)
        raise RuntimeError("a bug")


def test_start_is_fast() -> None:
    """Starting and stopping take no noticeable time, so that each test can have its own emulator."""
    began = time.monotonic()
    for _ in range(5):
        Emulator("Hello!").close()
    assert time.monotonic() - began < 1.5


def test_close_frees_the_port_and_may_be_repeated(serve: Callable[..., Caller]) -> None:
    """After close nobody answers; closing again is nothing."""
    caller = serve("Hello!")
    assert caller.run().status_code == 200
    caller.emulator.close()
    caller.emulator.close()
    with pytest.raises(httpx.ConnectError):
        caller.run()


def test_port_that_is_taken() -> None:
    """A port in use is an OSError of the constructor, not a silence."""
    with (
        Emulator("Hello!") as emulator,
        pytest.raises(OSError, match=r"can't listen on port \d+ of 127.0.0.1: .* in use; port 0 takes a free one"),
    ):
        Emulator("Hello!", port=emulator.port)


@pytest.mark.parametrize(
    ("option", "value", "requirement"),
    [
        ("dialect", "Q", "one of S, V, .*random, not 'Q'"),
        ("tool_calls", "Q", "one of server, whole, .*, random, not 'Q'"),
        ("quirks", ("Q",), "a tuple of cut_calls, grammar, history, not .*"),
        ("quirks", "grammar", "a tuple of cut_calls, grammar, history, not 'grammar'"),
        ("capacity", "many", "a whole number of at least 1, not 'many'"),
        ("capacity", 0, "a whole number of at least 1, not 0"),
        ("requests_per_minute", 0, "a whole number of at least 1 or None, not 0"),
        ("daily_neurons", -1, "a number of at least 0 or None, not -1"),
        ("queue_polls", None, "a whole number of at least 0, not None"),
        ("gateway_cache_ttl", "1", "a number of at least 0, not '1'"),
        ("port", -1, "a whole number, 0 to 65535, not -1"),
        ("port", 65_536, "a whole number, 0 to 65535, not 65536"),
        ("host", None, "a text, not None"),
        ("seed", "x", "a whole number or None, not 'x'"),
        ("models", "@cf/a", "a tuple of texts, not '@cf/a'"),
        ("clock", 1.0, "a function, not 1.0"),
        ("account_id", "", "a text, not ''"),
        ("api_token", 7, "a text"),
    ],
)
def test_option_that_cannot_be(option: str, value: Any, requirement: str) -> None:
    """A value that an option can't have is one kind of error, which names the option and what it can be."""
    options: dict[str, Any] = {option: value}
    with pytest.raises(ConfigurationError, match=f"^{option} must be {requirement}$"):
        Emulator("Hello!", **options)


def test_option_that_there_is_not() -> None:
    """An option that there isn't is the same kind of error."""
    options: dict[str, Any] = {"dialekt": "S"}
    with pytest.raises(ConfigurationError, match=r"^the emulator has no option dialekt; see .*Settings$"):
        Emulator("Hello!", **options)


def test_engine_protocol() -> None:
    """The engines are Engines, and scripts are not, which is how the constructor tells them apart."""
    assert isinstance(ScriptedEngine("x"), Engine)
    assert not any(isinstance(script, Engine) for script in ("x", ["x"], Reply("x"), lambda body: "x"))


@pytest.mark.parametrize("stream", [True, False])
def test_engine_stops_when_the_client_leaves(serve: Callable[..., Caller], *, stream: bool) -> None:
    """A client that closes its connection stops the engine, whether it had been streaming or waiting."""
    engine = Endless()
    caller = serve(engine)
    body: dict[str, Any] = {"prompt": "Hi", "stream": stream}
    url = f"{caller.ai}/run/@cf/google/gemma-4-26b-a4b-it"
    if stream:
        with caller.http.stream("POST", url, json=body) as response:
            next(response.iter_bytes())
    else:
        with pytest.raises(httpx.ReadTimeout):
            caller.post(url, body, timeout=0.05)
    assert engine.stopped.wait(2)


def test_close_cuts_what_is_under_way(serve: Callable[..., Caller]) -> None:
    """Closing the emulator stops the engine at once and cuts the client's stream."""
    engine = Endless()
    caller = serve(engine)
    url = f"{caller.ai}/run/@cf/google/gemma-4-26b-a4b-it"
    with caller.http.stream("POST", url, json={"prompt": "Hi", "stream": True}) as response:
        pieces = response.iter_bytes()
        next(pieces)
        began = time.monotonic()
        caller.emulator.close()
        assert engine.stopped.is_set()
        assert time.monotonic() - began < 1
        with pytest.raises(httpx.RemoteProtocolError):
            list(pieces)


def test_close_does_not_wait_for_a_client_that_reads_nothing(serve: Callable[..., Caller]) -> None:
    """A client whose buffers are full, because it doesn't read, can't hold the emulator up."""
    engine = Endless("x" * 200_000)
    caller = serve(engine)
    url = f"{caller.ai}/run/@cf/google/gemma-4-26b-a4b-it"
    with caller.http.stream("POST", url, json={"prompt": "Hi", "stream": True, "max_tokens": 9}):
        time.sleep(0.2)
        began = time.monotonic()
        caller.emulator.close()
        assert engine.stopped.is_set()
        assert time.monotonic() - began < 2


def test_engine_with_a_bug(serve: Callable[..., Caller], caplog: pytest.LogCaptureFixture) -> None:
    """An engine that raises is a 500 and a traceback in the log; in mid-stream it cuts the connection."""
    response = serve(Broken(0)).run(stream=True)
    assert response.status_code == 500
    assert "Internal server error" in response.text
    assert "a bug" in caplog.text
    with pytest.raises(httpx.RemoteProtocolError):
        serve(Broken(1)).run(stream=True)


def test_many_at_once(serve: Callable[..., Caller]) -> None:
    """Requests are answered side by side: 16 that wait 0.1 s each take far less than 1.6 s."""
    caller = serve(Reply("Hello!", delay=0.1))
    statuses: list[int] = []
    threads = [threading.Thread(target=lambda: statuses.append(caller.run().status_code)) for _ in range(16)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 16
    assert time.monotonic() - began < 1.2


def python(code: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a program, warnings being errors."""
    command = [sys.executable, "-W", "error", "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)  # noqa: S603 - our own
    return ran.returncode, ran.stdout, ran.stderr


def test_imports_are_lean() -> None:
    """Neither importing the package nor scripting replies loads a web server or a language model."""
    code = (
        "import sys, cf_gemma.emulator as e; e.ScriptedEngine([e.Reply('x')]); "
        "print([m for m in ('starlette', 'uvicorn', 'xllamacpp', 'typer') if m in sys.modules])"
    )
    assert python(code) == (0, "[]\n", "")


def test_leaves_nothing_behind() -> None:
    """A program that never closes its emulator still ends, without a warning."""
    code = "from cf_gemma.emulator import Emulator; e = Emulator('x'); print(e.base_url[:16])"
    assert python(code) == (0, "http://127.0.0.1\n", "")


def test_web_server_that_is_missing() -> None:
    """Without starlette the package says what to install."""
    code = "import sys; sys.modules['starlette.applications'] = None; from cf_gemma.emulator import Emulator"
    status, _, errors = python(code)
    assert status == 1
    assert errors.endswith("ImportError: the emulator needs starlette: pip install 'cf-gemma[testing]'\n")
