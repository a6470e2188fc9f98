"""The web chat, as a server of its own: with a plain HTTP client, and in a browser where there is one."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import socket
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn

from cf_gemma.emulator import Emulator, Fault, Reply, ScriptedEngine, ToolCallSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cf_gemma.emulator.chat import ChatRequest
    from cf_gemma.emulator.engines.protocol import Event

EXAMPLE = Path(__file__).parent.parent / "examples" / "web_chat.py"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
WEATHER = [
    Reply(
        reasoning="There is a tool for the weather.",
        tool_calls=[ToolCallSpec("get_weather", {"city": "Lisbon"})],
    ),
    "It is sunny in Lisbon.",
]
ENDLESS = Reply(reasoning="This takes a while. " * 3, text="on and " * 10_000, gap=0.02)


class Watched(ScriptedEngine):
    """A script that knows whether somebody still listens."""

    gone: threading.Event
    """Set when nobody listens to the last answer any more."""

    def generate(self, request: ChatRequest, cancelled: threading.Event) -> Iterator[Event]:
        self.gone = cancelled
        return super().generate(request, cancelled)


class Chat:
    """The example's server on a free port, and the emulator behind it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engine = Watched([])
        self.emulator = Emulator(self.engine)
        monkeypatch.setenv("CLOUDFLARE_ACCOUNT_ID", self.emulator.account_id)
        monkeypatch.setenv("CLOUDFLARE_API_TOKEN", self.emulator.api_token)
        monkeypatch.setenv("CLOUDFLARE_BASE_URL", self.emulator.base_url)
        app = runpy.run_path(str(EXAMPLE))["app"]
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none", lifespan="off"))
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self.server.run, args=([listener],))
        self.thread.start()

    def says(self, *replies: Reply | str | Fault) -> None:
        """Sets the script."""
        self.engine.__init__(list(replies))

    def close(self) -> None:
        """Stops both."""
        self.server.should_exit = True
        self.thread.join()
        self.emulator.close()

    def events(self, response: httpx.Response) -> Iterator[list[str]]:
        """What the server sends, as it comes."""
        for line in response.iter_lines():
            if line:
                yield json.loads(line.removeprefix("data: "))

    def ask(self, question: str, thread: str = "1") -> Any:
        """A question; a context manager of the response."""
        body = {"question": question, "thread": thread}
        return httpx.stream("POST", f"{self.url}/answer", json=body, timeout=10, trust_env=False)


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[Chat]:
    """The running chat."""
    chat = Chat(monkeypatch)
    yield chat
    chat.close()


def test_everything_is_sent(chat: Chat) -> None:
    """Reasoning, tool calls with their results and text come, each under its name; a thread remembers what was said."""
    chat.says(*WEATHER, "Yes.")
    with chat.ask("How is the weather in Lisbon?") as response:
        events = list(chat.events(response))
    joined: dict[str, str] = {}
    for kind, text in events:
        joined[kind] = joined.get(kind, "") + text
    assert joined == {
        "reasoning": "There is a tool for the weather.",
        "call": 'get_weather {"city": "Lisbon"}\n→ Sunny in Lisbon, 24 degrees',
        "text": "It is sunny in Lisbon.",
    }
    with chat.ask("Is that warm?") as response:
        assert list(chat.events(response)) == [["text", "Yes."]]
    assert [message["role"] for message in chat.emulator.requests[-1].json["messages"]][-3:] == [
        "tool",
        "assistant",
        "user",
    ]


def test_words_come_one_by_one_until_the_browser_goes(chat: Chat) -> None:
    """Words arrive while the model is still at it; when the connection is closed, the model's request ends."""
    chat.says(ENDLESS)
    with chat.ask("Go on!") as response:
        events = chat.events(response)
        assert next(events) == ["reasoning", "This"]
        assert next(text for kind, text in events if kind == "text") == "on"
        assert not chat.engine.gone.is_set()
    assert chat.engine.gone.wait(5)


def test_an_error_is_shown(chat: Chat) -> None:
    """What the service refuses is the last event."""
    chat.says(Fault(429, 4006))
    with chat.ask("Hello!") as response:
        [(kind, text)] = chat.events(response)
    assert kind == "error"
    assert "4006" in text


@pytest.mark.skipif(
    find_spec("playwright") is None or CHROMIUM is None,
    reason="make browser installs Playwright, and asks for Chromium",
)
def test_in_a_browser(chat: Chat) -> None:
    """The page shows all of it, folds the reasoning, and fills word by word; closing the tab ends the request."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        page = browser.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(chat.url)

        chat.says(*WEATHER)
        page.get_by_label("Question").fill("How is the weather in Lisbon?")
        page.keyboard.press("Enter")
        page.get_by_text("It is sunny in Lisbon.").wait_for()
        assert page.locator(".call").inner_text() == 'get_weather {"city": "Lisbon"}\n→ Sunny in Lisbon, 24 degrees'
        assert page.locator("details").inner_text() == "Reasoning"
        page.get_by_text("Reasoning").click()
        assert "There is a tool for the weather." in page.locator("details").inner_text()

        chat.says(ENDLESS)
        page.get_by_label("Question").fill("<b>Go on!</b>")
        page.get_by_role("button", name="Send").click()
        page.locator(".answer:last-child .text").wait_for()
        lengths = page.evaluate(
            """async () => {
                const text = document.querySelector('.answer:last-child .text'), lengths = []
                const seen = new MutationObserver(() => lengths.push(text.textContent.length))
                seen.observe(text, {childList: true})
                while (lengths.length < 10) await new Promise(done => setTimeout(done, 10))
                return lengths
            }"""
        )
        assert lengths == sorted(set(lengths))
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("Stopped.").wait_for()
        assert chat.engine.gone.wait(5)
        assert page.locator(".question").last.inner_text() == "<b>Go on!</b>"

        chat.says(ENDLESS)
        page.get_by_label("Question").fill("And again.")
        page.keyboard.press("Enter")
        page.locator(".answer:last-child .text").wait_for()
        assert not chat.engine.gone.is_set()
        page.close()
        assert chat.engine.gone.wait(5)
        assert problems == []
        browser.close()
