"""What the loopback server answers: the service's own bytes, rendered once, and what must come of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = "@cf/google/gemma-4-26b-a4b-it"
ANSWER_ID = "f962191d3d2f47418286b60056319eb5"
PROMPT_TOKENS = 147
PADDING = "nnvb131g3hod32avnlj91d5bzje5sg"
"""The service pads each event with letters of random number, so that lengths tell an eavesdropper nothing."""

CALLS = 10
ARGUMENT_BYTES = 512
PIECE = 10
"""Characters of arguments in one event."""

TOOL = {
    "type": "function",
    "function": {
        "name": "save_note",
        "description": "Saves a note.",
        "parameters": {
            "type": "object",
            "properties": {"title": {"type": "string"}, "text": {"type": "string"}},
            "required": ["title", "text"],
        },
    },
}


class Answer(NamedTuple):
    """What came of an answer: how many pieces, their text, and the arguments of each call."""

    pieces: int
    text: str
    arguments: list[str]


@dataclass(frozen=True)
class Scenario:
    """One kind of answer. It stands in the URL, so that every client can ask for it."""

    kind: Literal["text", "tools"] = "text"
    events: int = 200
    """Tokens of text, one an event. Tool calls have as many events as they need."""
    per_packet: int = 1
    """Events in one chunk of HTTP."""
    delay: int = 0
    """Milliseconds before the answer begins."""

    @property
    def path(self) -> str:
        """The first segment of the URL's path."""
        return f"{self.kind}-{self.events}-{self.per_packet}-{self.delay}"

    @classmethod
    def of(cls, path: str) -> Scenario:
        """The scenario that a path names."""
        kind, *numbers = path.split("-")
        return cls("tools" if kind == "tools" else "text", *map(int, numbers))

    @cached_property
    def expected(self) -> Answer:
        """What every client must make of it."""
        if self.kind == "tools":
            arguments = [_arguments(number) for number in range(CALLS)]
            return Answer(sum(len(_pieces(text)) for text in arguments), "", arguments)
        return Answer(self.events, "".join(self._words), [])

    @property
    def units(self) -> int:
        """The events that carry something, which costs are divided by."""
        return self.expected.pieces

    def stream(self, *, native: bool) -> bytes:
        """The streamed answer as a whole HTTP response; `native` with the tail that OpenAI's clients can't read."""
        events = [b"data: %s\n\n" % _encoded(event) for event in self._events(native=native)]
        events.append(b"data: [DONE]\n\n")
        packets = [b"".join(events[at : at + self.per_packet]) for at in range(0, len(events), self.per_packet)]
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        return head + b"".join(b"%x\r\n%s\r\n" % (len(packet), packet) for packet in packets) + b"0\r\n\r\n"

    def reply(self, *, native: bool) -> bytes:
        """The same text unstreamed; `native` in the envelope of the service's own route."""
        message = {"content": self.expected.text, "role": "assistant"}
        choice = {"finish_reason": "stop", "index": 0, "logprobs": None, "message": message}
        result = {"choices": [choice], **_base("chat.completion"), "usage": _usage(PROMPT_TOKENS, self.events)}
        enveloped = {"result": result, "success": True, "errors": [], "messages": []}
        body = _encoded(enveloped if native else result)
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        return head % len(body) + body

    @property
    def _words(self) -> Iterator[str]:
        return (f" word{number}" for number in range(self.events))

    def _events(self, *, native: bool) -> Iterator[dict[str, object]]:
        yield _event({"content": "", "reasoning_content": None, "role": "assistant"}, usage=_usage(PROMPT_TOKENS, 0))
        deltas = list(self._deltas())
        yield from (_event(delta, usage=_usage(0, 1)) for delta in deltas)
        finish = "tool_calls" if self.kind == "tools" else "stop"
        yield _event({"reasoning_content": None}, finish=finish, usage=_usage(0, 0))
        yield {"choices": [], **_base("chat.completion.chunk"), "p": PADDING, "usage": _usage(0, 1)}
        if native:
            yield {"response": "", "usage": _usage(PROMPT_TOKENS, len(deltas) + 1)}

    def _deltas(self) -> Iterator[dict[str, object]]:
        if self.kind == "text":
            yield from ({"content": word, "reasoning_content": None} for word in self._words)
            return
        for number, arguments in enumerate(self.expected.arguments):
            yield _call(number, arguments="", name="save_note", id=f"call_{number:024x}")
            yield from (_call(number, arguments=piece) for piece in _pieces(arguments))


def _encoded(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _event(delta: dict[str, object], *, usage: dict[str, object], finish: str | None = None) -> dict[str, object]:
    stop = 106 if finish == "stop" else None
    choice = {"delta": delta, "finish_reason": finish, "index": 0, "logprobs": None, "matched_stop": stop}
    return {"choices": [choice], **_base("chat.completion.chunk"), "p": PADDING, "usage": usage}


def _base(kind: str) -> dict[str, object]:
    return {"created": 1791402526, "id": ANSWER_ID, "model": f"{MODEL}-external", "object": kind}


def _usage(prompt: int, completion: int) -> dict[str, object]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0},
        "neurons": prompt * 0.00909090880304575 + completion * 0.027272727340459824,
    }


def _call(number: int, *, arguments: str, name: str | None = None, id: str | None = None) -> dict[str, object]:  # noqa: A002 - the wire's name
    call = {"function": {"arguments": arguments, "name": name}, "id": id, "index": number, "type": "function"}
    return {"content": None, "reasoning_content": None, "role": None, "tool_calls": [call]}


def _arguments(number: int) -> str:
    words = " ".join(f"word{at}" for at in range(ARGUMENT_BYTES))
    begin = f'{{"title": "Note {number}", "text": "'
    return begin + words[: ARGUMENT_BYTES - len(begin) - 2] + '"}'


def _pieces(arguments: str) -> list[str]:
    return [arguments[at : at + PIECE] for at in range(0, len(arguments), PIECE)]
