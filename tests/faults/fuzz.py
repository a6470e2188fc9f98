"""Mutated answers through the whole decoder: an answer or a GemmaError, in time; never anything else.

    python -m tests.faults.fuzz [inputs] [seed]

Each input is made from its number and the seed alone, so that one that fails can be made again.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import pickle
import random
import secrets
import signal
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, get_args

from pydantic_core import from_json

from cf_gemma.errors import GemmaError
from cf_gemma.model.completion import ReasoningDelta, TextDelta, ToolCall, ToolCallDelta
from cf_gemma.request.http_request import HttpRequest
from cf_gemma.response.reception import Reception
from tests.engines_bytes.samples import SAMPLES
from tests.response.wire import S_REPLY, S_STREAM, V_FAILED_CALL, V_REPLY, V_TOOL_REPLY, Call, ToolStyle, Written, sse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cf_gemma.model.completion import Completion, Delta

LIMIT: Final = 1.0
"""Seconds of the processor that one input may take; it takes a fraction of a millisecond."""

PATIENCE: Final = 30.0
"""Seconds on the clock, which also pass while other processes run."""


class Hang(BaseException):
    """An input took too long. Not an Exception, so that nothing on its way can take it for one of its own."""


@dataclass(frozen=True)
class Input:
    """One mutated answer."""

    stream: bool
    status: int
    headers: dict[str, str]
    pieces: tuple[bytes, ...]
    tools: bool = False
    """Whether the request had tools, by whose schemas calls are judged."""

    def outcome(self) -> tuple[str, Any]:
        """The answer as a dict, or the error's class and text."""
        try:
            completion = self._received(self.pieces)
        except GemmaError as error:
            _shown(error)
            return type(error).__name__, (str(error), error.partial and error.partial.to_dict())
        return "Completion", completion.to_dict()

    def in_one_piece(self) -> Input:
        """The same bytes, as if the network had not cut them."""
        return replace(self, pieces=(b"".join(self.pieces),))

    def _received(self, pieces: tuple[bytes, ...]) -> Completion:
        request = HttpRequest("https://fuzz.test", {}, b"", stream=self.stream, tools=SCHEMAS if self.tools else {})
        reception = Reception.of_answer(request, self.status, self.headers, now=0.0)
        deltas: list[Delta] = []
        for piece in pieces:
            deltas += reception.feed(piece)
            if reception.reader.done:
                break
        deltas += reception.close()
        completion = reception.result()
        _add_up(deltas, completion)
        return completion


def _add_up(deltas: list[Delta], completion: Completion) -> None:
    """The pieces of what was said are, all in all, what was said."""
    for choice in completion.choices:
        own = [delta for delta in deltas if delta.choice == choice.index]
        assert "".join(delta.text for delta in own if isinstance(delta, TextDelta)) == choice.text
        assert "".join(delta.text for delta in own if isinstance(delta, ReasoningDelta)) == choice.reasoning
        for place, call in enumerate(choice.calls):
            pieces = [delta.arguments for delta in own if isinstance(delta, ToolCallDelta) and delta.index == place]
            if isinstance(call, ToolCall) and call.args:
                assert from_json("".join(pieces)) == call.args


def _shown(error: GemmaError) -> None:
    """All that a user may do with an error."""
    assert str(error)
    assert type(pickle.loads(pickle.dumps(error))) is type(error)  # noqa: S301 - our own
    assert error.attempts == 0
    assert error.retry_after is None or error.retry_after > 0


def inputs(seed: int, start: int = 0) -> Iterator[tuple[int, Input]]:
    """Mutated answers, numbered."""
    number = start
    while True:
        yield number, made(seed, number)
        number += 1


def made(seed: int, number: int) -> Input:
    """The one with this number."""
    rng = random.Random(f"{seed}/{number}")
    stream = rng.random() < 0.75
    kind, body = rng.choice(STREAMS if stream else REPLIES)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 8))):
        body = rng.choice(MUTATIONS)(rng, body)
    headers = {"content-type": kind, "cf-ray": "ray"}
    if rng.random() < 0.05:
        body, headers = _packed(rng, body, headers)
    if rng.random() < 0.1:
        headers.update(rng.choice(ODD_HEADERS))
    status = 200 if rng.random() < 0.9 else rng.choice((204, 302, 400, 401, 404, 408, 413, 429, 500, 502, 599))
    return Input(stream, status, headers, tuple(_pieces(rng, body)), tools=rng.random() < 0.5)


def check(example: Input, *, twice: bool) -> str:
    """The class of what came of it. `twice`: whether the cuts between its pieces make a difference is checked, too."""
    signal.setitimer(signal.ITIMER_PROF, LIMIT)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        kind, facts = example.outcome()
        if twice:
            assert example.in_one_piece().outcome() == (kind, facts), "cut otherwise, it comes to something else"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    return kind


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Within, an input that takes longer than the limit raises Hang. In the main thread only."""

    def hang(*_: object) -> None:
        raise Hang

    before = {number: signal.signal(number, hang) for number in (signal.SIGPROF, signal.SIGALRM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(seed: int, enough: Callable[[int], bool]) -> dict[str, int]:
    """How often each outcome came, over all inputs until it is enough. Raises AssertionError for any other."""
    outcomes: dict[str, int] = {}
    with watched():
        for number, example in inputs(seed):
            if enough(number):
                break
            try:
                kind = check(example, twice=number % 8 == 0 and "content-encoding" not in example.headers)
            except BaseException as error:  # whatever it is, the input that brought it about must be told
                raise AssertionError(f"made({seed}, {number}): {type(error).__name__}: {error}\n{example}") from error
            outcomes[kind] = outcomes.get(kind, 0) + 1
    return outcomes


def _written() -> Iterator[Written]:
    for dialect in ("S", "V"):
        for style in get_args(ToolStyle):
            calls = (Call("call_1", "add", '{"a": 1, "b": [2, "🦜"]}'), Call("call_2", "grep", '{"x": null}'))
            yield Written(["Let ", "me see."], ["Hé", "llo\u2028", "🦜"], calls, "tool_calls", 7, 3, dialect, style)
        yield Written([], ["one"], (), "stop", 7, 0, dialect, usage_style="closing total")
        yield Written(["Hm."], [], (), "length", 7, 0, dialect, usage_style="none")


_ANY_OF: Final = {"type": ["integer", "null"]}
SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "add": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "array", "items": _ANY_OF}}},
    "grep": {"type": "object", "properties": {"x": {"type": "number", "nullable": True}}},
    **{
        tool["function"]["name"]: tool["function"]["parameters"]
        for sample in SAMPLES
        for tool in sample.request.get("tools", ())
    },
}
"""The tools of half of the requests."""

ERRORS: Final = (
    {"success": False, "errors": [{"code": 3040, "message": "full"}], "result": {}},
    {"error": {"message": "boom", "code": 500, "type": "server_error"}},
    {"success": False, "error": [{"code": 2021, "message": "credits"}]},
    {"code": 7003, "message": "AiError: AiError: no route"},
    {"object": "error", "message": "This model's maximum context length", "code": 400},
)
SSE, JSON = "text/event-stream", "application/json"
STREAMS: Final[list[tuple[str, bytes]]] = [
    (SSE, S_STREAM.encode()),
    *[(SSE, sse(one.chunks())) for one in _written()],
    *[(SSE, sse(one.chunks()).replace(b"\n", b"\r\n")) for one in list(_written())[:4]],
    *[(SSE, sse([*list(one.chunks())[:3], error])) for one in list(_written())[::9] for error in ERRORS],
    (SSE, b'event: error\ndata: {"message":"boom"}\n\n'),
    ("", S_STREAM.encode()),
    *[(SSE, sample.stream) for sample in SAMPLES],
]
REPLIES: Final[list[tuple[str, bytes]]] = [
    *[(JSON, text.encode()) for text in (S_REPLY, V_REPLY, V_TOOL_REPLY, V_FAILED_CALL)],
    *[(JSON, json.dumps(one.reply()).encode()) for one in _written()],
    *[(JSON, json.dumps({"result": one.reply(), "success": True}).encode()) for one in list(_written())[::5]],
    *[(JSON, json.dumps(error).encode()) for error in ERRORS],
    (JSON, b'{"result":{"response":"hi","tool_calls":[{"name":"f","arguments":{}}]},"success":true}'),
    ("text/html", b"<html>Bad gateway</html>"),
    *[(JSON, sample.reply) for sample in SAMPLES],
]
ODD_HEADERS: Final = (
    {"content-encoding": "gzip"},
    {"content-encoding": "br"},
    {"content-encoding": "identity"},
    {"retry-after": "nan"},
    {"retry-after": "Fri, 29 Sep 100000 16:26:37 GMT"},
    {"retry-after-ms": "-7"},
    {"content-type": "text/event-stream; charset=iso-8859-1"},
    {"content-type": "application/json"},
    {"content-type": "\xff"},
    {"cf-ai-req-id": ""},
)
TOKENS: Final = (
    *(b"\n", b"\r", b"\n\n", b"\0", b"\xff", b"\xf0\x9f", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xc2\x85"),
    *(b"data: ", b"data:", b"event: error\n", b": ping\n\n", b"id: 1\n", b"[DONE]", b"data: [DONE]\n\n", b"retry: 0\n"),
    *(b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"-0", b"9" * 5_000, b"[" * 2_000, b'{"a":' * 500),
    *(rb"<|\\\"|>", rb"\"3\"", rb"\"null\"", rb"\"1e3\"", b"<|tool_call>call:add{a:1}<tool_call|>", b"<channel|>"),
    *(rb"\ud800", rb"\u0000", b'"', b"{", b"}", b"[", b"]", b",", b":", b"{}", b"[]", b'""'),
    *(b'"choices":[]', b'"error":{}', b'"errors":[1]', b'"success":false', b'"usage":[]', b'"index":-1'),
)
VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 7, 2**63, 10**30, 0.5, -1e308, "", "x", "stop", "é🦜", "\u2028", "x" * 3_000),
    *([], [None], [1, "x", {}], [[]], {}, {"x": 1}, {"index": 5}, {"message": "x"}, {"code": "500"}, [{"text": "x"}]),
)
NAMES: Final = (
    *("id", "choices", "delta", "message", "content", "index", "tool_calls", "function", "name", "arguments", "usage"),
    *("prompt_tokens", "completion_tokens", "total_tokens", "neurons", "response", "result", "error", "errors", "code"),
    *("success", "finish_reason", "logprobs", "created", "model", "reasoning", "reasoning_content", "text", "x"),
    *("function_call", "prompt_tokens_details", "cached_tokens", "type", "detail", "top_logprobs"),
)


def _place(rng: random.Random, body: bytes) -> int:
    return rng.randint(0, len(body))


def _flip(rng: random.Random, body: bytes) -> bytes:
    changed = bytearray(body)
    for _ in range(rng.choice((1, 1, 2, 5))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(rng: random.Random, body: bytes) -> bytes:
    return body[: _place(rng, body)] if rng.random() < 0.5 else body[_place(rng, body) :]


def _leave_out(rng: random.Random, body: bytes) -> bytes:
    start = _place(rng, body)
    return body[:start] + body[start + rng.choice((1, 1, 2, 7, 60)) :]


def _repeat(rng: random.Random, body: bytes) -> bytes:
    start, end = sorted((_place(rng, body), _place(rng, body)))
    return body[:end] + body[start:end][:2_000] * rng.choice((1, 1, 2)) + body[end:]


def _insert(rng: random.Random, body: bytes) -> bytes:
    place = _place(rng, body)
    return body[:place] + rng.choice(TOKENS) + body[place:]


def _splice(rng: random.Random, body: bytes) -> bytes:
    other = rng.choice(STREAMS + REPLIES)[1]
    return body[: _place(rng, body)] + other[_place(rng, other) :]


def _shuffle(rng: random.Random, body: bytes) -> bytes:
    blocks = body.split(b"\n\n")
    if rng.random() < 0.5:
        rng.shuffle(blocks)
    else:
        blocks[rng.randrange(len(blocks))] = rng.choice(blocks)
    return b"\n\n".join(blocks)


def _change_json(rng: random.Random, body: bytes) -> bytes:
    """One value somewhere in one of the JSON texts becomes another, goes, or comes."""
    blocks = body.split(b"\n\n")
    place = rng.randrange(len(blocks))
    prefix, _, text = blocks[place].rpartition(b"data: ") if b"data: " in blocks[place] else (b"", b"", blocks[place])
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _insert(rng, body)
    changed = json.dumps(_changed(rng, value), ensure_ascii=rng.random() < 0.5).encode(errors="replace")
    blocks[place] = (prefix + b"data: " if len(text) < len(blocks[place]) else b"") + changed
    return b"\n\n".join(blocks)


def _changed(rng: random.Random, value: Any) -> Any:
    if isinstance(value, dict) and value and rng.random() < 0.85:
        name = rng.choice(list(value))
        how = rng.random()
        if how < 0.12:
            return {key: one for key, one in value.items() if key != name}
        if how < 0.27:
            return {**value, rng.choice(NAMES): rng.choice(VALUES)}
        return {**value, name: _changed(rng, value[name])}
    if isinstance(value, list) and value and rng.random() < 0.85:
        place = rng.randrange(len(value))
        if rng.random() < 0.2:
            return [*value, rng.choice([*value, *VALUES])]
        return [_changed(rng, one) if at == place else one for at, one in enumerate(value)]
    return rng.choice(VALUES)


MUTATIONS: Final[tuple[Callable[[random.Random, bytes], bytes], ...]] = (
    *(_flip, _cut, _leave_out, _repeat, _insert, _splice, _shuffle),
    *(_change_json, _change_json, _change_json, _change_json),
)


def _packed(rng: random.Random, body: bytes, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
    half = len(body) // 2
    packed = gzip.compress(body, 1) if rng.random() < 0.5 else gzip.compress(body[:half]) + gzip.compress(body[half:])
    return (_flip(rng, packed) if rng.random() < 0.5 else packed), headers | {"content-encoding": "gzip"}


def _pieces(rng: random.Random, body: bytes) -> Iterator[bytes]:
    how = rng.random()
    if how < 0.3:
        yield body
        return
    most = 3 if how < 0.35 else rng.choice((40, 300, 2_000))
    start = 0
    while start < len(body):
        size = rng.randint(1, most)
        yield body[start : start + size]
        start += size


def main(arguments: list[str]) -> None:
    """Runs so many inputs, and prints how many came to what, and the seconds."""
    count = int(arguments[0]) if arguments else 1_000_000
    seed = int(arguments[1]) if len(arguments) > 1 else secrets.randbelow(10**9)
    print(f"{count:,} inputs, seed {seed}", flush=True)  # noqa: T201 - a program
    begin = time.perf_counter()
    outcomes = run(seed, lambda number: number >= count)
    seconds = time.perf_counter() - begin
    for kind, times in sorted(outcomes.items(), key=lambda one: -one[1]):
        print(f"{times:>12,}  {kind}")  # noqa: T201 - a program's output
    print(f"{sum(outcomes.values()):>12,}  in {seconds:.0f} s: each an answer or a typed error")  # noqa: T201 - a program's output


if __name__ == "__main__":
    main(sys.argv[1:])
