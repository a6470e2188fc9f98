"""The product before llama.cpp's own server, with its own parser for Gemma 4: nothing of ours is between the two.

A grammar forces a text exactly. Beside tools the server takes none, so calls follow the example of earlier ones. It
chooses the parser by a marker in the chat template, whose words are our own. It drops connections that were kept alive,
so a request is sent again.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import pytest

from cf_gemma import Completion, Gemma, ReasoningDelta, TextDelta
from cf_gemma.emulator.engines.llama import _ready  # how a server is made and freed
from cf_gemma.emulator.engines.model_file import find_model
from cf_gemma.errors import ContextOverflow
from tests.faults.faces import FACES

if TYPE_CHECKING:
    from collections.abc import Iterator

xllamacpp: Any = pytest.importorskip("xllamacpp")

KEY: Final = "a-key-of-our-own-0123"
TEMPLATE: Final = """\
{%- for message in messages -%}
{{- '<|turn>' ~ ('model' if message.role == 'assistant' else message.role) ~ '\\n' -}}
{%- for call in message.tool_calls or [] -%}
{{- '<|tool_call>call:' ~ call.function.name ~ '{' -}}
{%- for name, value in call.function.arguments.items() -%}
{{- name ~ ':' ~ value ~ ('' if loop.last else ',') -}}
{%- endfor -%}
{{- '}<tool_call|>' -}}
{%- endfor -%}
{{- (message.content or '') ~ '<turn|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|turn>model\\n' -}}{%- endif -%}"""
INTEGER: Final = {"type": "integer"}
MULTIPLY: Final = {
    "type": "function",
    "function": {
        "name": "multiply",
        "description": "Multiplies.",
        "parameters": {"type": "object", "properties": {"a": INTEGER, "b": INTEGER}, "required": ["a", "b"]},
    },
}
ONE_CALL: Final[dict[str, Any]] = {
    "tools": [MULTIPLY],
    "max_tokens": 60,
    "thinking": False,
    "parallel_tool_calls": False,
}
NUMBERS: Final = {"a": int, "b": int}
QUESTION: Final = {"role": "user", "content": "What is 6 times 7?"}


def _examples() -> Iterator[dict[str, Any]]:
    for a, b in ((2, 3), (4, 5), (8, 9)):
        function = {"name": "multiply", "arguments": json.dumps({"a": a, "b": b})}
        call = {"id": "x", "type": "function", "function": function}
        yield {"role": "user", "content": f"What is {a} times {b}?"}
        yield {"role": "assistant", "content": "", "tool_calls": [call]}
        yield {"role": "tool", "tool_call_id": "x", "content": str(a * b)}


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, Any]]:
    """A server; the settings that reach it."""
    params = xllamacpp.CommonParams()
    params.model.path = str(find_model())
    params.n_ctx, params.n_parallel = 1024, 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1  # several wait for each other on a busy machine
    params.port, params.api_keys, params.ui, params.verbosity = 0, [KEY], False, -1
    params.chat_template, params.use_jinja, params.endpoint_metrics = TEMPLATE, True, True
    with ThreadPoolExecutor(1) as loader:
        running = loader.submit(_ready, xllamacpp.Server, params).result()
    url = f"{running.listening_address}/v1"
    yield {"account_id": None, "api_token": KEY, "base_url": url, "endpoint": "chat_completions"}
    del running


@pytest.fixture(params=[False, True], ids=["whole", "streamed"])
def ask(server: dict[str, Any], request: pytest.FixtureRequest) -> Any:
    """Asks the server. Of a stream, the pieces must add up to the answer."""

    def answer(*messages: dict[str, Any], text: str = "", **options: Any) -> Completion:
        grammar = {"extra_body": {"grammar": f"root ::= {json.dumps(text)}"}} if text else {}
        with Gemma(**server, temperature=0, max_retries=2, wire_streaming=False) as model:
            if not request.param:
                return model.chat([*messages], **grammar, **options)
            *deltas, completion = model.stream([*messages], **grammar, **options)
        assert isinstance(completion, Completion)
        assert "".join(one.text for one in deltas if isinstance(one, TextDelta)) == completion.text
        assert "".join(one.text for one in deltas if isinstance(one, ReasoningDelta)) == completion.reasoning
        return completion

    return answer


def test_text(ask: Any) -> None:
    """A text is that text."""
    completion = ask(QUESTION, text="It is sunny.", max_tokens=40, thinking=False)
    assert (completion.text, completion.reasoning, completion.finish_reason) == ("It is sunny.", "", "stop")


def test_thought(ask: Any) -> None:
    """What stands in the channel is reasoning, and the rest the text."""
    completion = ask(QUESTION, text="<|channel>thought\nSix sevens.<channel|>It is 42.", max_tokens=80)
    assert (completion.text, completion.reasoning.strip()) == ("It is 42.", "Six sevens.")


def test_thought_that_is_cut(ask: Any) -> None:
    """A thought that `max_tokens` cut is no text."""
    completion = ask(QUESTION, text="<|channel>thought\nSix sevens are so many.<channel|>It is 42.", max_tokens=25)
    assert completion.text == ""
    assert completion.thought_only


def test_call(ask: Any) -> None:
    """A call in Gemma's notation is a call, with numbers as numbers."""
    completion = ask(*_examples(), QUESTION, **ONE_CALL)
    (call,) = completion.tool_calls
    assert (call.name, {name: type(value) for name, value in call.args.items()}) == ("multiply", NUMBERS)
    assert (completion.invalid_tool_calls, completion.text.strip()) == ((), "")


def test_call_that_is_cut(ask: Any) -> None:
    """A call that `max_tokens` cut in its arguments is not valid."""
    completion = ask(*_examples(), QUESTION, tools=[MULTIPLY], max_tokens=22, thinking=False)
    assert completion.tool_calls == ()
    assert completion.finish_reason == "length"


def test_overflow(ask: Any) -> None:
    """A prompt beyond the window is an overflow, in the words of this server."""
    with pytest.raises(ContextOverflow, match="exceeds the available context size"):
        ask({"role": "user", "content": "word " * 1500}, max_tokens=5)


@pytest.mark.parametrize("name", ["LangChain", "LlamaIndex"])
def test_call_through_frameworks(server: dict[str, Any], name: str) -> None:
    """Both frameworks see such a call, streamed."""
    face = FACES[name]()
    face.model = face.kind(**server, temperature=0)
    answer = face.ask(stream=True, pieces=[], prompt=[*_examples(), QUESTION], **ONE_CALL)
    face.close()
    ((called, args),) = answer.calls
    assert (called, {name: type(value) for name, value in args.items()}) == ("multiply", NUMBERS)
    assert (answer.invalid, answer.text.strip()) == (0, "")
