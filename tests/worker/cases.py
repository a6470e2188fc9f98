"""Calls, what the service says to them, and what comes of it: the same for each shell, in each interpreter.

Nothing here needs a socket, a thread or a test runner, so that it runs within WebAssembly, too.
"""

from __future__ import annotations

import json
from contextlib import aclosing, closing
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Literal

from cf_gemma import Completion, GemmaError
from cf_gemma.transport.waits import no_waits
from tests.engines_bytes.samples import SAMPLES
from tests.response.wire import S_REPLY, S_STREAM, V_FAILED_CALL, V_REPLY, V_TOOL_REPLY, sse, text_chunk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cf_gemma import AsyncGemma, Delta, Gemma

JSON: Final = {"content-type": "application/json", "cf-ai-req-id": "3a1983d7"}
EVENTS: Final = {"content-type": "text/event-stream", "cf-ai-req-id": "3a1983d7"}
TEXT, STOP = sse([text_chunk("a")], done=False), sse([text_chunk("b", "stop")])
BUSY = {"errors": [{"code": 3040, "message": "AiError: AiError: Capacity temporarily exceeded"}], "success": False}
SILENCE: Final = 0.2
"""Seconds that a case about silence waits."""


@dataclass(frozen=True)
class Answer:
    """One response of the service."""

    pieces: tuple[bytes, ...] = ()
    headers: Mapping[str, str] = field(default_factory=lambda: EVENTS)
    status: int = 200
    ending: Literal["whole", "cut", "silent", "never begins"] = "whole"


@dataclass(frozen=True)
class Case:
    """A call, and the responses to its requests; the last one serves all further ones."""

    name: str
    answers: tuple[Answer, ...]
    streamed: bool = True
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    timeout: float = 60.0
    take: int | None = None
    """How many items to take before the stream is left."""


@dataclass
class Outcome:
    """What a call comes to."""

    deltas: list[Any] = field(default_factory=list[Any])
    completion: Any = None
    error: dict[str, Any] | None = None
    waits: list[float] = field(default_factory=list[float])
    """Seconds that were to be waited between the attempts."""

    def add(self, item: Delta | Completion) -> None:
        """Takes what a stream says."""
        if isinstance(item, Completion):
            self.completion = item.to_dict()
        else:
            self.deltas.append([type(item).__name__, asdict(item)])

    def fail(self, error: GemmaError) -> None:
        """Takes the error that a call ends with. The words for a lost connection are each library's own."""
        self.error = {
            "type": type(error).__name__,
            "message": error.message.partition(":")[0],
            "partial": error.partial and error.partial.to_dict(),
            **{name: getattr(error, name) for name in ("status", "code", "attempts", "retry_after", "request_id")},
        }

    def plain(self) -> dict[str, Any]:
        """As JSON gives it back."""
        return json.loads(json.dumps(asdict(self)))


def called(gemma: Gemma, case: Case) -> Outcome:
    """The outcome of blocking calls."""
    outcome = Outcome()
    with no_waits() as outcome.waits:
        try:
            if case.streamed:
                with closing(gemma.stream("hi", **case.options)) as items:
                    for item in islice(items, case.take):
                        outcome.add(item)
            else:
                outcome.add(gemma.chat("hi", **case.options))
        except GemmaError as error:
            outcome.fail(error)
    return outcome


async def awaited(gemma: AsyncGemma, case: Case) -> Outcome:
    """The outcome of asynchronous ones."""
    outcome = Outcome()
    with no_waits() as outcome.waits:
        try:
            if case.streamed:
                async with aclosing(gemma.stream("hi", **case.options)) as items:
                    async for item in items:
                        outcome.add(item)
                        if len(outcome.deltas) == case.take:
                            break
            else:
                outcome.add(await gemma.chat("hi", **case.options))
        except GemmaError as error:
            outcome.fail(error)
    return outcome


def _json(payload: object, status: int = 200, **headers: str) -> Answer:
    body = payload if isinstance(payload, str) else json.dumps(payload)
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer((body.encode(),), {**JSON, **more}, status)


def _stream(*pieces: bytes | str, ending: Literal["whole", "cut", "silent"] = "whole") -> Answer:
    return Answer(tuple(piece.encode() if isinstance(piece, str) else piece for piece in pieces), ending=ending)


def _refused(name: str, status: int, body: object, **headers: str) -> Case:
    return Case(f"refused: {name}", (_json(body, status, **headers),), streamed=False)


def _envelope(code: int | None, message: str) -> dict[str, Any]:
    error = {"message": f"AiError: AiError: {message}"} | ({} if code is None else {"code": code})
    return {"errors": [error], "success": False, "result": {}, "messages": []}


FUNCTION: Final = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
REQUIRED: Final = {"tools": [FUNCTION], "tool_choice": "required"}
EMPTY: Final = sse([text_chunk("", "stop")])
SCHEMA: Final = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
CLOSING: Final = {
    "tools": [FUNCTION],
    "response_format": {"type": "json_schema", "json_schema": {"name": "number", "schema": SCHEMA}},
}

CASES: Final[list[Case]] = [
    Case("whole, S", (_json(S_REPLY),), streamed=False),
    Case("whole in an envelope", (_json({"result": json.loads(S_REPLY), "success": True}),), streamed=False),
    Case("whole, V, thinking only", (_json(V_REPLY),), streamed=False),
    Case("whole, V, a call", (_json(V_TOOL_REPLY),), streamed=False),
    Case("stream, S, a capture", (_stream(S_STREAM),)),
    Case("stream, S, each byte alone", (_stream(*(bytes([byte]) for byte in S_STREAM.encode())),)),
    Case("stream, asked for as a whole", (_stream(S_STREAM),), streamed=False),
    *(
        Case(f"{one.server}, {one.case}", (_stream(one.stream),), options={"tools": one.request.get("tools") or []})
        for one in SAMPLES
    ),
    Case("cut before a word, then whole", (_stream(ending="cut"), _stream(S_STREAM))),
    Case("cut behind a word", (_stream(TEXT, ending="cut"),)),
    Case("ended behind a word", (_stream(TEXT),)),
    Case("cut behind the end", (_stream(TEXT + STOP, ending="cut"),)),
    Case("silent behind a word", (_stream(TEXT, ending="silent"),), timeout=SILENCE),
    Case("never begun", (Answer(ending="never begins"),), timeout=SILENCE),
    Case("an error first, then whole", (_stream(sse([BUSY], done=False)), _stream(S_STREAM))),
    Case("an error behind a word", (_stream(TEXT, sse([BUSY], done=False)),)),
    Case("busy, then whole", (_json(BUSY, 429), _json(S_REPLY)), streamed=False),
    Case("a wait that is asked for", (_json(BUSY, 429, retry_after="7"), _json(S_REPLY)), streamed=False),
    _refused("no room", 429, BUSY),
    _refused("quota", 429, _envelope(4006, "you have used up your daily free allocation of 10,000 neurons")),
    _refused("schema", 400, _envelope(5006, "Bad input: Error: required properties at '/' are 'messages'")),
    _refused("too long", 413, _envelope(5021, "exceeded this model context window limit (256000).")),
    _refused("no such model", 400, _envelope(5007, "No such model x or task")),
    _refused("timeout", 408, _envelope(3046, "Request timeout")),
    _refused("internal", 500, _envelope(None, "Internal server error")),
    _refused("by the edge", 401, {"success": False, "errors": [{"code": 10000, "message": "Authentication error"}]}),
    _refused(
        "by the gateway",
        402,
        {"success": False, "error": [{"code": 2021, "message": "no credits"}], "name": "AiGatewayError"},
    ),
    _refused(
        "in a binding's words",
        429,
        {"internalCode": 3040, "message": "AiError: no room", "name": "AiError", "description": "no room"},
    ),
    _refused("in words that are no JSON", 502, "<html>bad gateway</html>"),
    Case("a failure with 200", (_json(_envelope(3040, "busy")),), streamed=False),
    Case("a required call isn't made", (_json(V_FAILED_CALL),), streamed=False, options=REQUIRED),
    Case("nothing usable, then whole", (_stream(EMPTY), _json(S_REPLY))),
    Case("not the object, then a closing request", (_json(S_REPLY), _json(S_REPLY)), streamed=False, options=CLOSING),
    Case("left behind a word", (_stream(TEXT, TEXT, ending="silent"),), take=1),
]
