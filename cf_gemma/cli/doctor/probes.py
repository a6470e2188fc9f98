"""The probe list: for each open question about the service, the smallest requests that show its answer. A table.

The numbers are those of docs/fidelity.md. A question that no request can settle is watched for in all exchanges.
"""

from __future__ import annotations

import base64
import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from cf_gemma.cli.doctor import reading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cf_gemma.cli.doctor.witness import Exchange
    from cf_gemma.settings.defaults import Endpoint

    Read = Callable[[Sequence[Exchange]], str]
    """From the exchanges to what they show, in a phrase."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A call of the client's."""

    question: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    endpoint: Endpoint = "run"
    stream: bool = False


@dataclass(frozen=True, slots=True)
class Post:
    """A request that the client would never send, so it goes out as it is."""

    body: Mapping[str, Any]
    query: str = ""
    account: str | None = None
    """Another account than the user's."""


@dataclass(frozen=True, slots=True)
class Get:
    """A question about the account."""

    path: str
    """Below the account."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A batch of the client's, waited for."""

    requests: tuple[Mapping[str, Any], ...]


Step = Ask | Post | Get | Queue


@dataclass(frozen=True, slots=True)
class Probe:
    """What is asked, how, and who reads the answer. Without steps, it reads what all the others have brought."""

    questions: tuple[int, ...]
    title: str
    steps: tuple[Step, ...]
    read: Read
    client: str
    """What the client does about it, whatever is seen."""


def user(content: Any) -> list[dict[str, Any]]:
    """One message of the user's."""
    return [{"role": "user", "content": content}]


def image(side: int) -> dict[str, Any]:
    """A grey square as an image part."""
    rows = (b"\0" + b"\x80" * side) * side
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    packed = [struct.pack(">I", len(data)) + kind + data + _checksum(kind + data) for kind, data in chunks]
    data = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(packed)).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


def _checksum(data: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(data))


QUIET: Final = {"chat_template_kwargs": {"enable_thinking": False}}
SHORT: Final = {"max_tokens": 16, "thinking": False}
WEATHER: Final = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
UNDESCRIBED: Final = {"type": "function", "function": {"name": "f", "description": False}}
FORCED: Final = {"type": "function", "function": {"name": "get_weather"}}
LONG: Final = "The quick brown fox jumps over the lazy dog. " * 120
AFFINITY: Final = {"extra_headers": {"x-session-affinity": "cf-gemma-doctor"}}
THOUGHT: Final = [
    {"role": "user", "content": "Is 91 a prime?"},
    {"role": "assistant", "content": "No.", "reasoning_content": "91 is 7 times 13, both primes. " * 8},
    {"role": "user", "content": "And 97?"},
]

PROBES: Final = (
    Probe(
        (1, 18), "Streams of the chat-completions route",
        (Ask("Count from 1 to 5.", SHORT, "chat_completions", stream=True),),
        reading.stream_shape,
        "takes streams with and without padding, increments of usage, native tail and [DONE]; never compares the model",
    ),
    Probe(
        (1,), "Streams of the run route",
        (Ask("Count from 1 to 5.", SHORT, stream=True),),
        reading.stream_shape,
        "the same",
    ),
    Probe(
        (2,), "Streamed tool calls",
        (Ask("Weather in Lisbon?", {
            "tools": [WEATHER], "tool_choice": FORCED, "max_tokens": 99, "thinking": False,
        }, stream=True),),
        reading.tool_calls,
        "buffers by index and id, and parses at the end",
    ),
    Probe(
        (3,), "include_usage: false",
        (Ask("Say hello.", {**SHORT, "stream_options": {"include_usage": False}}, stream=True),),
        reading.usage_of_stream,
        "always asks for usage, and does without when none comes",
    ),
    Probe(
        (4,), "rejectIfBusy",
        (Ask("Say hello.", {**SHORT, "extra_body": {"options": {"rejectIfBusy": True}}}),),
        reading.retry_after,
        "heeds Retry-After, else waits longer each time",
    ),
    Probe(
        (5,), "Words and codes of refused inputs",
        (
            Post({"messages": user([image(1)]), "max_tokens": 1, **QUIET}),
            Post({"messages": user("Weather?"), "tools": [WEATHER], "tool_choice": FORCED, "max_tokens": 16}),
            Post({"messages": user("Hi"), "tools": [UNDESCRIBED], "max_tokens": 1, **QUIET}),
        ),
        reading.refusals,
        "goes by code and status, never by words",
    ),
    Probe(
        (6,), "A batch with an item that fails",
        (
            Queue((
                {"messages": user("Say hello."), "max_tokens": 8, "external_reference": "good", "thinking": False},
                # The image goes past the client's own check.
                {"messages": user("See."), "extra_body": {"messages": user([image(1)])}, "max_tokens": 8,
                 "external_reference": "bad", "thinking": False},
            )),
            Post({"request_id": "00000000-0000-4000-8000-000000000000"}, "?queueRequest=true"),
        ),
        reading.batch,
        "takes each documented shape of an item, and an error per item",
    ),
    Probe(
        (7,), "An image's web address",
        (Post({"messages": user([{"type": "text", "text": "What is it?"}, {
            "type": "image_url", "image_url": {"url": "https://developers.cloudflare.com/favicon.png"},
        }]), "max_tokens": 16, **QUIET}),),
        reading.acceptance,
        "never sends one: it refuses, or fetches the image itself",
    ),
    Probe(
        (8,), "top_k",
        (Ask("Write any ten words.", {**SHORT, "temperature": 2, "extra_body": {"top_k": 1}}),) * 2,
        reading.sameness,
        "sends it only by extra_body",
    ),
    Probe(
        (9,), "reasoning_effort",
        tuple(Post({"messages": user("What is 17 times 24?"), "reasoning_effort": effort, "max_tokens": 400})
              for effort in ("low", "high", "none")),
        reading.reasoning,
        "sends it only on request, and switches thinking by the template",
    ),
    Probe(
        (10,), "Default of max_tokens",
        (Post({"messages": user("Count from 1 to 200, one number a line."), **QUIET}),),
        reading.length,
        "always sends a limit",
    ),
    Probe(
        (11,), "Lists of models",
        (Get("/ai/v1/models"), Get("/ai/models/search?search=gemma-4-26b")),
        reading.catalogue,
        "needs neither",
    ),
    Probe(
        (12,), "Tags in the query",
        (Post({"messages": user("Say hello."), "max_tokens": 8, **QUIET}, "?tags=cf-gemma-doctor"),),
        reading.acceptance,
        "sends none",
    ),
    Probe(
        (13,), "Price of cached tokens",
        (Ask(LONG + "Say hello.", {**SHORT, **AFFINITY}), Ask(LONG + "Say goodbye.", {**SHORT, **AFFINITY})),
        reading.cached_price,
        "takes the cost from the neurons that the service reports",
    ),
    Probe(
        (14,), "clear_thinking",
        tuple(Post({"messages": THOUGHT, "max_tokens": 8, "chat_template_kwargs": {
            "enable_thinking": False, "clear_thinking": clear,
        }}) for clear in (False, True)),
        reading.prompt_tokens,
        "leaves it unset, and sends no reasoning of turns that are over",
    ),
    Probe(
        (15,), "Six images at once",
        (Post({"messages": user([image(16)] * 6), "max_tokens": 16, **QUIET}),),
        reading.acceptance,
        "scales images down, and names what was refused",
    ),
    Probe(
        (20,), "Another account",
        (Post({"messages": user("Hi"), "max_tokens": 1}, account="0" * 32),),
        reading.refusals,
        "takes 401 and 403 for the token, 404 and 7003 for the account: never tried again",
    ),
    Probe(
        (22,), "An answer that is a number",
        (Ask("Answer with the digit 7 and nothing else.", SHORT),
         Ask("Answer with the digit 7 and nothing else.", SHORT, "chat_completions")),
        reading.content_type,
        "makes text of numbers and objects",
    ),
    Probe((16,), "Errors in mid-stream", (), reading.stream_errors, "knows every published shape of one"),
    Probe((17,), "Comments and event lines in streams", (), reading.other_lines, "skips both"),
    Probe((19,), "Back-ends that answered", (), reading.back_ends, "understands both on every call"),
    Probe((4, 21), "Refusals for want of room or allocation", (), reading.retry_after,
          "takes 3036 and 4006 for the same: not to be tried again before midnight UTC"),
)  # fmt: skip
