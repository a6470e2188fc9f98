"""`cf-gemma demo`, with an emulator in the place of the service, and of the local model."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from cf_gemma.emulator import Emulator, Fault, Reply, ScriptedEngine, ToolCallSpec
from tests.cli.conftest import Shell

if TYPE_CHECKING:
    from click.testing import Result

HEADINGS = [
    "1. LangChain: an answer, token by token",
    "2. LangChain: a Pydantic object",
    "3. LangChain: a tool",
    "4. LlamaIndex: an answer from three documents",
    "What answered",
    "What next",
]
SHOWN = [
    "Paris is the capital of France.",
    "Person(name='Maria', age=34, city='Lisbon')",
    "multiply({'a': 37, 'b': 12}) = 444",
    "It is 444.",
    "A reader may borrow eight.",
    "Sources: borrowing.txt",
]


def answer(body: dict[str, Any]) -> Reply | Fault:
    """What a good model would say to the demo."""
    question = str(body["messages"][-1]["content"])
    if "response_format" in body:
        return Reply('{"name": "Maria", "age": 34, "city": "Lisbon"}')
    if isinstance(body.get("tool_choice"), dict):
        return Reply(tool_calls=[ToolCallSpec("multiply", {"a": 37, "b": 12})])
    if body["messages"][-1]["role"] == "tool":
        return Reply("It is 444.") if question == "444" else Fault(400, message=f"not 444: {question}")
    if "How many books" in question:
        return Reply("A reader may borrow eight." if "up to eight books at a time" in question else "Not a word of it.")
    return Reply("Paris is the capital of France.", reasoning="Easy.")


def check(result: Result) -> list[str]:
    """Sees to it that all parts are there, in order and with room around them; the last two, each in one line."""
    output = result.stdout
    assert re.findall(r"\n\n─+ (.+?) ─+\n\n", f"\n{output}") == HEADINGS
    assert re.search(r"\(\d\.\d\d\)", output) is None, "a score that nobody explains"
    assert [line for line in SHOWN if line not in output] == []
    assert " tokens in, " in output
    return [" ".join(part.strip(" ─\n").split()) for part in re.split("What answered|What next", output)[1:]]


def test_service() -> None:
    """Where credentials are set, all of it goes to the service."""
    with Emulator(answer) as emulator:
        result = Shell(emulator).run("demo", COLUMNS="120")
        assert len(emulator.requests) == 5
    answered, following = check(result)
    assert answered == f"Whatever it is that answers at {emulator.base_url}."
    assert " doctor checks the token" in following
    assert "export" not in following


@pytest.mark.parametrize("arguments", [(), ("--local",)], ids=["no credentials", "--local"])
def test_local(shell: Shell, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without credentials, or when told to, a local model answers; the end says which, and what to do next."""
    monkeypatch.setattr("cf_gemma.emulator.LlamaEngine", lambda: ScriptedEngine(answer))
    nothing = {} if arguments else dict.fromkeys(shell.environment, "")
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("sys.argv", [".venv/bin/cf-gemma", "demo"])
    answered, following = check(shell.run("demo", *arguments, COLUMNS="120", **nothing))
    assert "The model in it is scripted, a small stand-in for Gemma 4" in answered
    assert following.startswith("export CLOUDFLARE_ACCOUNT_ID=… CLOUDFLARE_API_TOKEN=… Gemma 4 answers")
    assert " .venv/bin/cf-gemma chat a conversation" in following
    assert following.endswith("from a first call to a web chat")
    assert shell.emulator.requests == []


def test_a_service_that_refuses(shell: Shell) -> None:
    """Trouble is told in a line, with exit code 1."""
    result = shell.run("demo", code=1, COLUMNS="300", CLOUDFLARE_API_TOKEN="wrong")
    assert "cf-gemma demo: 401 from Workers AI" in result.stdout
    assert "Traceback" not in result.output
