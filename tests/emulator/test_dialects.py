"""The two back-ends, byte for byte against replies that users of the service have published."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from cf_gemma.emulator.backends import DIALECTS
from cf_gemma.emulator.backends.rendering import Stamp, body, chunks, sse
from cf_gemma.emulator.edge.validation import check
from cf_gemma.emulator.engines import Ending, Event, Opening, Step
from cf_gemma.emulator.envelope import dumps
from cf_gemma.model.completion import ReasoningDelta, TextDelta, ToolCallDelta
from cf_gemma.model.facts import MODEL

ARABIC = "أهلاً بك يا صديقي! أنت رائع جداً اليوم."

S_WHOLE = (
    '{"choices":[{"finish_reason":"stop","index":0,"logprobs":null,"message":{"content":"أهلاً بك يا صديقي! أنت رائع '
    'جداً اليوم.","role":"assistant"}}],"created":1791402397,"id":"ID","model":"@cf/google/gemma-4-26b-a4b-it-external",'
    '"object":"chat.completion","usage":{"prompt_tokens":147,"completion_tokens":16,"total_tokens":163,'
    '"prompt_tokens_details":{"cached_tokens":0},"neurons":1.7727272510528564}}'
)
S_STREAM = [
    '{"choices":[{"delta":{"content":"","reasoning_content":null,"role":"assistant"},"finish_reason":null,"index":0,'
    '"logprobs":null,"matched_stop":null}],"created":1791402526,"id":"ID","model":"@cf/google/gemma-4-26b-a4b-it-external",'
    '"object":"chat.completion.chunk","p":"P","usage":{"prompt_tokens":147,"completion_tokens":0,"total_tokens":147,'
    '"prompt_tokens_details":{"cached_tokens":0},"neurons":1.3363635540008545}}',
    '{"choices":[{"delta":{"content":"أ","reasoning_content":null},"finish_reason":null,"index":0,"logprobs":null,'
    '"matched_stop":null}],"created":1791402526,"id":"ID","model":"@cf/google/gemma-4-26b-a4b-it-external","object":'
    '"chat.completion.chunk","p":"P","usage":{"prompt_tokens":0,"completion_tokens":1,"total_tokens":1,'
    '"prompt_tokens_details":{"cached_tokens":0},"neurons":0.027272727340459824}}',
    '{"choices":[{"delta":{"reasoning_content":null},"finish_reason":"stop","index":0,"logprobs":null,"matched_stop":106}],'
    '"created":1791402526,"id":"ID","model":"@cf/google/gemma-4-26b-a4b-it-external","object":"chat.completion.chunk",'
    '"p":"P","usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0,"prompt_tokens_details":{"cached_tokens":0},'
    '"neurons":0}}',
    '{"choices":[],"created":1791402526,"id":"ID","model":"@cf/google/gemma-4-26b-a4b-it-external","object":'
    '"chat.completion.chunk","p":"P","usage":{"prompt_tokens":0,"completion_tokens":1,"total_tokens":1,'
    '"prompt_tokens_details":{"cached_tokens":0},"neurons":0.027272727340459824}}',
    '{"response":"","usage":{"prompt_tokens":147,"completion_tokens":16,"total_tokens":163,"prompt_tokens_details":'
    '{"cached_tokens":0},"neurons":1.7727271914482117}}',
]
V_WHOLE = (
    '{"id":"ID","object":"chat.completion","created":1791109137,"model":"@cf/google/gemma-4-26b-a4b-it","choices":'
    '[{"index":0,"message":{"role":"assistant","content":null,"refusal":null,"annotations":null,"audio":null,'
    '"function_call":null,"tool_calls":[],"reasoning":"1.  **Analyze…"},"logprobs":null,"finish_reason":"length",'
    '"stop_reason":null,"token_ids":null}],"service_tier":null,"system_fingerprint":null,"usage":{"prompt_tokens":62,'
    '"completion_tokens":512,"total_tokens":574,"prompt_tokens_details":{"cached_tokens":0},"neurons":14.527273178100586},'
    '"prompt_logprobs":null,"prompt_token_ids":null,"kv_transfer_params":null}'
)


def stamp(dialect: str, chat: dict[str, Any] | None = None, **fields: Any) -> Stamp:
    """A stamp with the published time, for a request with these options."""
    request = check({"messages": [{"role": "user", "content": "Hi"}], **(chat or {})})
    fixed = {"dialect": DIALECTS[dialect][0], "chat": request, "random": Random(1), "model": MODEL}
    return Stamp(**{"now": 1791402526.75, **fixed, **fields})


def text(*pieces: str) -> list[Event]:
    """An answer of 147 prompt tokens that says these pieces."""
    return [Opening(147), *(Step(TextDelta(piece)) for piece in pieces), Ending("stop", 1)]


def masked(value: dict[str, Any]) -> str:
    """The JSON text with what is drawn at random named instead."""
    return dumps({key: {"id": "ID", "p": "P"}.get(key, entry) for key, entry in value.items()}).decode()


def test_s_whole() -> None:
    """A whole answer of back-end S is the published one, byte for byte but for its id."""
    whole, neurons = body(
        text(*ARABIC.partition("بك")[:2], *[""] * 12, ARABIC.partition("بك")[2]), stamp("S", now=1791402397)
    )
    assert masked(whole["result"]) == S_WHOLE
    assert {key: whole[key] for key in whole if key != "result"} == {"success": True, "errors": [], "messages": []}
    assert neurons == 1.7727272510528564


def test_s_stream() -> None:
    """A stream of back-end S has the published chunks: role, text, finish, left-over usage, native tail."""
    streamed = [masked(chunk) for chunk in chunks(text("أ", *["x"] * 14), stamp("S"))]
    assert [*streamed[:2], *streamed[-3:]] == S_STREAM


def test_stream_framing() -> None:
    """Each event is one data line and a blank one, and [DONE] is the last."""
    streamed = b"".join(sse(text("a"), stamp("S"))).decode()
    assert streamed.endswith("}\n\ndata: [DONE]\n\n")
    assert all(event.startswith("data: ") for event in streamed.split("\n\n")[:-1])


def test_v_whole() -> None:
    """A whole answer of back-end V spells its nulls out, and has no content when reasoning ate the budget."""
    events: list[Event] = [Opening(62), Step(ReasoningDelta("1.  **Analyze…"), 512), Ending("length")]
    whole, _ = body(events, stamp("V", now=1791109137))
    assert masked(whole["result"]) == V_WHOLE


def test_v_tool_choice_that_failed_open() -> None:
    """A required call that the model did not make looks on V as it was published."""
    choice = body([Opening(9218), Ending("tool_calls", 317)], stamp("V"))[0]["result"]["choices"][0]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("tool_calls", 106)
    message = choice["message"]
    assert (message["content"], message["reasoning"], message["tool_calls"]) == ("", None, [])


def test_v_stream() -> None:
    """Back-end V streams one key in a delta, reasoning first, and an empty content with the finish reason."""
    events: list[Event] = [Opening(3), Step(ReasoningDelta("hm")), Step(TextDelta("Hi")), Ending("stop", 1)]
    streamed = list(chunks(events, stamp("V")))
    assert list(streamed[0]) == ["id", "object", "created", "model", "choices", "usage", "p"]
    assert streamed[0]["id"].startswith("chatcmpl-")
    deltas = [chunk["choices"][0]["delta"] for chunk in streamed[:4]]
    assert deltas == [{"role": "assistant", "content": ""}, {"reasoning": "hm"}, {"content": "Hi"}, {"content": ""}]
    assert dumps(streamed[3]["choices"][0]).decode() == (
        '{"index":0,"delta":{"content":""},"logprobs":null,"finish_reason":"stop","stop_reason":106,"token_ids":null}'
    )


def test_s_reasoning() -> None:
    """Back-end S calls reasoning `reasoning_content`, and has the key in a whole answer only when there is some."""
    events: list[Event] = [Opening(3), Step(ReasoningDelta("hm")), Step(TextDelta("Hi")), Ending("stop", 1)]
    message = body(events, stamp("S"))[0]["result"]["choices"][0]["message"]
    assert list(message.items()) == [("content", "Hi"), ("reasoning_content", "hm"), ("role", "assistant")]
    assert list(chunks(events, stamp("S")))[1]["choices"][0]["delta"] == {"reasoning_content": "hm"}


@pytest.mark.parametrize("dialect", ["S", "V"])
def test_usage_increments_add_up_to_the_tail(dialect: str) -> None:
    """The usage of all chunks, summed, is that of the native tail, which is that of the whole answer."""
    events: list[Event] = [
        Opening(20, 8),
        *(Step(TextDelta("x"), tokens) for tokens in (1, 3, 0, 2)),
        Ending("stop", 1),
    ]
    *increments, tail = [chunk["usage"] for chunk in chunks(events, stamp(dialect))]
    for count in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert sum(usage[count] for usage in increments) == tail[count]
    whole = body(events, stamp(dialect))[0]["result"]["usage"]
    assert {**tail, "neurons": 0} == {**whole, "neurons": 0}
    assert tail["neurons"] == pytest.approx(whole["neurons"], rel=1e-6)


def test_cached_tokens_cost_half() -> None:
    """64 cached tokens take 0.29 neurons off, as in the one published reply that had some."""
    full = body([Opening(124), Ending("stop", 40)], stamp("S"))[1]
    discounted = body([Opening(124, 64), Ending("stop", 40)], stamp("S"))[1]
    assert full - discounted == pytest.approx(0.2909, abs=1e-3)


@pytest.mark.parametrize("dialect", ["S", "V"])
def test_compat_top_level(dialect: str) -> None:
    """The chat-completions route rewrites the top level and leaves the back-end's choices as they are."""
    whole, _ = body(text("Hi"), stamp(dialect, compat=True))
    assert list(whole) == ["id", "object", "created", "model", "choices", "usage"]
    assert (whole["id"], whole["created"], whole["model"]) == ("id-1791402526750", 1791402526, MODEL)
    assert whole["choices"] == body(text("Hi"), stamp(dialect))[0]["result"]["choices"]


def test_compat_stream() -> None:
    """The chat-completions route streams without padding; usage comes once, whole, in a chunk without choices."""
    streamed = list(chunks(text("Hi"), stamp("S", compat=True)))
    assert [("usage" in chunk, "p" in chunk) for chunk in streamed] == [(False, False)] * 3 + [(True, False)]
    assert streamed[-1]["choices"] == []
    assert streamed[-1]["usage"]["total_tokens"] == 149
    assert list(chunks(text("Hi"), stamp("S", compat=True, compat_tail=True)))[-1]["response"] == ""


def test_tool_calls_whole() -> None:
    """Both back-ends give a call's id in their own manner and its arguments as one string."""
    events: list[Event] = [
        Opening(3),
        Step(ToolCallDelta(0, None, "grep", '{"a": ')),
        Step(ToolCallDelta(0, arguments="1}")),
    ]
    events.append(Ending("tool_calls", 1))
    s = body(events, stamp("S"))[0]["result"]["choices"][0]["message"]["tool_calls"][0]
    v = body(events, stamp("V"))[0]["result"]["choices"][0]["message"]["tool_calls"][0]
    assert json.dumps(s).startswith('{"function": {"arguments": "{\\"a\\": 1}", "name": "grep"}, "id": "call_')
    assert len(s["id"]) == len("call_") + 24
    assert list(v) == ["id", "type", "function"]
    assert v["id"].startswith("chatcmpl-tool-")
    assert v["function"] == {"name": "grep", "arguments": '{"a": 1}'}


def test_choices_interleave() -> None:
    """With n choices each opens, and ends, on its own; only the first opening bears the prompt's tokens."""
    events: list[Event] = [Opening(5), Step(TextDelta("a", 0)), Step(TextDelta("b", 1)), Ending("stop", 1, choice=0)]
    events.append(Ending("length", 0, choice=1))
    streamed = list(chunks(events, stamp("V", {"n": 2})))
    assert [chunk["choices"][0]["index"] for chunk in streamed if chunk.get("choices")] == [0, 1, 0, 1, 0, 1]
    assert [chunk["usage"]["prompt_tokens"] for chunk in streamed[:2]] == [5, 0]
    assert [choice["finish_reason"] for choice in body(events, stamp("V", {"n": 2}))[0]["result"]["choices"]] == [
        "stop",
        "length",
    ]
