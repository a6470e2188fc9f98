"""What the rows of the table are made of."""

from __future__ import annotations

import gzip
import socket
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from cf_gemma import errors as e
from tests.faultserver import (
    END,
    FIN,
    Action,
    FaultServer,
    Repeat,
    chunk,
    error_reply,
    head,
    json_reply,
    stream_head,
)
from tests.response.wire import sse, text_chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Scenario = list[Action]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A fault on the wire, and what every face must make of it."""

    number: int
    name: str
    scenarios: Sequence[Scenario]
    """What the server does with each request; the last one is for all further ones, too."""
    stream: bool = False
    """Whether the answer is asked for as a stream; otherwise as a whole, which comes as JSON when `json` is set."""
    json: bool = True
    text: str = "ab"
    """What is said in the end."""
    reason: str | None = "stop"
    prompt_tokens: int | None = None
    calls: Sequence[tuple[str, Any]] = ()
    invalid: int = 0
    """How many tool calls must not be executed."""
    error: type[e.GemmaError] | None = None
    """The class of the error, when there must be one."""
    message: str = ""
    """A pattern for the error's text."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Attributes of the error."""
    partial: str | None = None
    """What the error's `partial` must have of the text; it was handed out before."""
    requests: int = 1
    """How many the server sees, over all `ask`s."""
    waits: Sequence[float] | None = None
    """The waits between the attempts, when they matter."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    asks: int = 1
    """How many calls are made; each must come to the same."""
    url: Callable[[FaultServer], str] = lambda server: server.url
    reads: bool = True
    """Whether the server waits for a request before it acts."""
    remark: str = ""
    """Why we decided so."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A bad input, which is refused before anything is sent."""

    number: int
    name: str
    message: str
    """A pattern for the error's text: it names the setting."""
    secret: str = ""
    """The part of the input that the error must not show."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    prompt: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    error: type[e.GemmaError] = e.ConfigurationError


@dataclass(frozen=True)
class Elsewhere:
    """A row that isn't one scenario and one answer."""

    number: int
    why: str
    tests: Sequence[str]
    """`file::test`, from tests/."""


A, B = (sse([text_chunk(text)], done=False) for text in "ab")
STOP: Final = sse([text_chunk("", "stop")], done=False)
DONE: Final = b"data: [DONE]\n\n"
CLOSING: Final = head(200, {"content-type": "text/event-stream", "connection": "close"})
USAGE: Final = sse([{"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}], done=False)
GOOD: Final = json_reply({"choices": [{"message": {"content": "ab"}, "finish_reason": "stop"}]})
STREAM: Final[Scenario] = [stream_head(), chunk(A + B + STOP + DONE), END]
SHORT: Final = {"timeout": (1.0, 0.15)}
SHORTER: Final = {"timeout": (1.0, 0.08)}
"""For what times out whenever it is looked at, also on a busy machine."""
PINGS: Final = Repeat(chunk(b": ping\n\n"), every=0.02)
EMPTY: Final = {
    name: Repeat(chunk(sse([event], done=False)), every=0.02)
    for name, event in (
        ("no choices", {"choices": []}),
        ("an empty delta", {"choices": [{"index": 0, "delta": {}}]}),
        ("an empty text", text_chunk("")),
    )
}
"""Events that say nothing."""
AGAIN: Final = "Nothing was handed out yet, so the answer is asked for again."


def streamed(*pieces: bytes | Action) -> list[Scenario]:
    """A stream without a length, so that its end is a FIN, in good order or not."""
    return [[CLOSING, *pieces, FIN]]


def events(*values: object) -> bytes:
    """Events as they are given, not as JSON."""
    return b"".join(b"data: %s\n\n" % (value if isinstance(value, bytes) else str(value).encode()) for value in values)


def called(*deltas: list[dict[str, Any]]) -> bytes:
    """Events with tool calls, and the finish."""
    chunks = [{"id": "a", "choices": [{"index": 0, "delta": {"tool_calls": calls}}]} for calls in deltas]
    return sse([*chunks, {"id": "a", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}])


def call(arguments: Any, **more: Any) -> dict[str, Any]:
    """A piece of a tool call; `name` goes where it belongs."""
    name = {"name": more.pop("name")} if "name" in more else {}
    return {**more, "function": {**name, "arguments": arguments}}


def answered(**choice: Any) -> bytes:
    """A whole JSON answer."""
    return json_reply({"choices": [choice], "service_tier": "unknown", "usage": None})


def cut(number: int, name: str, *scenario: Action, **more: Any) -> list[Row]:
    """A cut stream, as a stream and as the carrier of a whole answer."""
    common: dict[str, Any] = {"number": number, "scenarios": [list(scenario)], "error": e.StreamTruncated, **more}
    return [
        Row(name=name, stream=True, partial="a", facts={"attempts": 1}, **common),
        Row(name=f"{name}, whole", json=False, partial="a", requests=3, facts={"attempts": 3}, remark=AGAIN, **common),
    ]


def refused(status: int, code: int | None, kind: type[e.GemmaError]) -> Row:
    """An answer with this status, which another request wouldn't change."""
    return Row(
        number=25,
        name=str(status),
        scenarios=[[error_reply(status, code, "because")]],
        error=kind,
        message="because",
        facts={"status": status, "code": code, "attempts": 1},
    )


def passing(number: int, name: str, *faults: Scenario, **more: Any) -> list[Row]:
    """What passes by when it is asked for again, for a stream and for a whole answer."""
    common: dict[str, Any] = {"number": number, "requests": len(faults) + 1, **more}
    return [
        Row(name=f"{name}, stream", stream=True, scenarios=[*faults, STREAM], **common),
        Row(name=f"{name}, whole", scenarios=[*faults, [GOOD]], **common),
    ]


def spoilt(number: int, name: str, data: bytes, **more: Any) -> Row:
    """A stream that goes wrong after its first delta."""
    return Row(
        **{
            "number": number,
            "name": name,
            "scenarios": streamed(A + data),
            "stream": True,
            "error": e.ProtocolError,
            "partial": "a",
            **more,
        }
    )


def framed(number: int, name: str, *pieces: Action) -> Row:
    """A stream in an odd frame, which says `ab` all the same."""
    return Row(number=number, name=name, scenarios=streamed(*pieces), stream=True)


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def bomb(mebibytes: int) -> bytes:
    """A gzip body that unpacks to so many MiB of zeros: about 1 kB for each.

    A compressor that is flushed ends on a byte, so that the same block can be repeated.
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return gzip.compress(b"")[:10] + block * mebibytes + b"\x03\x00" + bytes(8)


def bad(number: int, setting: str, message: str, *values: str, **more: Any) -> list[Refusal]:
    """Bad values of one setting; none of them may be shown."""
    return [
        Refusal(number=number, name=f"{setting} {value!r}"[:60], message=message, secret=value.strip("\n /"),
                settings={setting: value}, **more)
        for value in values
    ]  # fmt: skip
