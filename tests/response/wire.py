"""What the service sends: captures, byte for byte, and answers written in the manner of both back-ends."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from cf_gemma.request.http_request import HttpRequest
from cf_gemma.response import replies
from cf_gemma.response.answer import AnswerBuilder
from cf_gemma.response.stream import Streamed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cf_gemma.model.completion import Completion, Delta

Dialect = Literal["S", "V"]
ToolStyle = Literal[
    "fragments",
    "whole",
    "object",
    "one array",
    "interleaved",
    "null finaliser",
    "no index",
    "tool's place as index",
    "shared index",
    "arguments first",
    "id everywhere",
    "empty arrays",
]
UsageStyle = Literal["increments and tail", "increments", "running totals", "closing total", "none"]

S_STREAM: Final = """\
data: {"choices":[{"delta":{"content":"","reasoning_content":null,"role":"assistant"},"finish_reason":null,"index":0,"logprobs":null,"matched_stop":null}],"created":1791402526,"id":"f962191d3d2f47418286b60056319eb5","model":"@cf/google/gemma-4-26b-a4b-it-external","object":"chat.completion.chunk","p":"pf8tbfo2fkeejbo6kdfvsifkyf6po10nt","usage":{"prompt_tokens":147,"completion_tokens":0,"total_tokens":147,"prompt_tokens_details":{"cached_tokens":0},"neurons":1.3363635540008545}}

data: {"choices":[{"delta":{"content":"أ","reasoning_content":null},"finish_reason":null,"index":0,"logprobs":null,"matched_stop":null}],"created":1791402526,"id":"f962191d3d2f47418286b60056319eb5","model":"@cf/google/gemma-4-26b-a4b-it-external","object":"chat.completion.chunk","p":"nnvb131g3hod32avnlj91d5bzje5sg","usage":{"prompt_tokens":0,"completion_tokens":1,"total_tokens":1,"prompt_tokens_details":{"cached_tokens":0},"neurons":0.027272727340459824}}

data: {"choices":[{"delta":{"reasoning_content":null},"finish_reason":"stop","index":0,"logprobs":null,"matched_stop":106}],"created":1791402526,"id":"f962191d3d2f47418286b60056319eb5","model":"@cf/google/gemma-4-26b-a4b-it-external","object":"chat.completion.chunk","p":"l48shpm1b","usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0,"prompt_tokens_details":{"cached_tokens":0},"neurons":0}}

data: {"choices":[],"created":1791402526,"id":"f962191d3d2f47418286b60056319eb5","model":"@cf/google/gemma-4-26b-a4b-it-external","object":"chat.completion.chunk","p":"sxm6dki9","usage":{"prompt_tokens":0,"completion_tokens":1,"total_tokens":1,"prompt_tokens_details":{"cached_tokens":0},"neurons":0.027272727340459824}}

data: {"response":"","usage":{"prompt_tokens":147,"completion_tokens":16,"total_tokens":163,"prompt_tokens_details":{"cached_tokens":0},"neurons":1.7727271914482117}}

data: [DONE]

"""  # noqa: E501 - a capture, byte for byte
"""Back-end S on the run route, thinking off (published 2026-10; the chunks between are left out)."""

S_REPLY: Final = """{"choices":[{"finish_reason":"stop","index":0,"logprobs":null,"message":{"content":"أهلاً بك يا صديقي! أنت رائع جداً اليوم.","role":"assistant"}}],"created":1791402397,"id":"4bb245b612b04449b9efe83d17ce90e0","model":"@cf/google/gemma-4-26b-a4b-it-external","object":"chat.completion","usage":{"prompt_tokens":147,"completion_tokens":16,"total_tokens":163,"prompt_tokens_details":{"cached_tokens":0},"neurons":1.7727272510528564}}"""  # noqa: E501 - a capture, byte for byte
"""Back-end S's `result` on the run route (published 2026-10)."""

V_REPLY: Final = """{"id":"chatcmpl-aff67409f4679b08","object":"chat.completion","created":1791109137,"model":"@cf/zai-org/glm-4.7-flash","choices":[{"index":0,"message":{"role":"assistant","content":null,"refusal":null,"annotations":null,"audio":null,"function_call":null,"tool_calls":[],"reasoning":"1.  **Analyze…","reasoning_content":"1.  **Analyze…"},"logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null}],"service_tier":null,"system_fingerprint":null,"usage":{"prompt_tokens":62,"completion_tokens":512,"total_tokens":574,"prompt_tokens_details":{"cached_tokens":0},"neurons":18.977800000000002},"prompt_logprobs":null,"prompt_token_ids":null,"kv_transfer_params":null}"""  # noqa: E501 - a capture, byte for byte
"""Back-end V's manner, from a sibling model that sends the reasoning under both names (published 2026-10)."""

V_TOOL_REPLY: Final = r"""{"id":"id-1778019692747","object":"chat.completion","model":"@cf/google/gemma-4-26b-a4b-it","choices":[{"finish_reason":"tool_calls","index":0,"message":{"role":"assistant","content":null,"reasoning":"I need to find…","tool_calls":[{"id":"chatcmpl-tool-99199f627f866dcf","type":"function","function":{"name":"grep","arguments":"{\"pattern\": \"processOrder\"}"}}]}}],"usage":{"prompt_tokens":396,"completion_tokens":60,"total_tokens":456}}"""  # noqa: E501 - a capture, byte for byte
"""Back-end V on the chat-completions route, a tool call (published 2026-05)."""

V_FAILED_CALL: Final = """{"choices":[{"finish_reason":"tool_calls","message":{"content":"","reasoning":null,"tool_calls":[]},"stop_reason":106}],"usage":{"prompt_tokens":9218,"completion_tokens":317}}"""  # noqa: E501 - a capture, byte for byte
"""A required call that was not made (cloudflare/ai#561)."""


@dataclass(frozen=True)
class Call:
    """A tool call to be written."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Written:
    """An answer to be written, in pieces where it is streamed."""

    reasoning: Sequence[str] = ()
    text: Sequence[str] = ()
    calls: Sequence[Call] = ()
    finish_reason: str = "stop"
    prompt_tokens: int = 7
    cached_tokens: int = 0
    dialect: Dialect = "S"
    tool_style: ToolStyle = "fragments"
    usage_style: UsageStyle = "increments and tail"
    id: str = field(default="f962191d3d2f47418286b60056319eb5")

    def reply(self) -> dict[str, Any]:
        """The answer as one `chat.completion`."""
        reasoning, text = "".join(self.reasoning), "".join(self.text)
        calls = [_whole(call, None) for call in self.calls]
        if self.dialect == "S":
            message: dict[str, Any] = {"content": text, "role": "assistant"}
            message |= {"reasoning_content": reasoning} if reasoning else {}
            message |= {"tool_calls": calls} if calls else {}
        else:
            message = {"role": "assistant", "content": text or None, "refusal": None, "tool_calls": calls}
            message |= {"reasoning": reasoning or None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self.finish_reason}
        choice |= {} if self.dialect == "S" else {"stop_reason": None, "token_ids": None}
        usage = (
            {} if self.usage_style == "none" else {"usage": self._usage(self.prompt_tokens, self._completion_tokens())}
        )
        return {"id": self.id, "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], **usage}

    def chunks(self) -> Iterator[dict[str, Any]]:
        """The answer as the chunks of a stream."""
        deltas = [{"role": "assistant", "content": ""}, *self._deltas(), {}]
        written = 0
        for place, delta in enumerate(deltas):
            last = place == len(deltas) - 1
            tokens = 0 if place == 0 or last else 1
            written += tokens
            yield self._chunk(delta, self.finish_reason if last else None) | self._report(place, tokens, written)
        if self.usage_style == "closing total":
            yield {"id": self.id, "choices": [], "usage": self._usage(self.prompt_tokens, written)}
        if self.usage_style == "increments and tail":
            yield {"response": "", "usage": self._usage(self.prompt_tokens, written)}

    def _completion_tokens(self) -> int:
        return len(list(self._deltas()))

    def _report(self, place: int, tokens: int, written: int) -> dict[str, Any]:
        if self.usage_style.startswith("increments"):
            return {"usage": self._usage(0 if place else self.prompt_tokens, tokens)}
        return {"usage": self._usage(self.prompt_tokens, written)} if self.usage_style == "running totals" else {}

    def _usage(self, prompt: int, completion: int) -> dict[str, Any]:
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens if prompt else 0},
        }

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        if self.dialect == "S":
            choice["delta"] = {"reasoning_content": None, **delta}
            choice["matched_stop"] = None
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [choice],
            "p": "x",
        }

    def _deltas(self) -> Iterator[dict[str, Any]]:
        name = "reasoning_content" if self.dialect == "S" else "reasoning"
        quiet: dict[str, Any] = {"tool_calls": []} if self.tool_style == "empty arrays" else {}
        yield from ({name: piece, **quiet} for piece in self.reasoning)
        yield from ({"content": piece, **quiet} for piece in self.text)
        yield from ({"tool_calls": pieces} for pieces in tool_pieces(self.calls, self.tool_style))


def tool_pieces(calls: Sequence[Call], style: ToolStyle) -> Iterator[list[dict[str, Any]]]:
    """The `tool_calls` arrays of the deltas that carry these calls, in one of the manners that have been met."""
    if style in ("whole", "object"):
        yield from ([_whole(call, index, decoded=style == "object")] for index, call in enumerate(calls))
    elif style in ("one array", "interleaved"):
        yield [_opener(call, index) for index, call in enumerate(calls)]
        parts = [_parts(call.arguments) for call in calls]
        if style == "one array":
            yield from ([_part(part, index)] for index, pieces in enumerate(parts) for part in pieces)
        else:
            yield from ([_part(parts[index][turn], index) for index in range(len(calls))] for turn in range(3))
    else:
        for place, call in enumerate(calls):
            yield from _sequence(call, place, style)


def _sequence(call: Call, place: int, style: ToolStyle) -> Iterator[list[dict[str, Any]]]:
    """One call after the other."""
    index = {"no index": None, "tool's place as index": 3 + 2 * place, "shared index": 3}.get(style, place)
    same_id = {"id": call.id} if style == "id everywhere" else {}
    parts = [[_part(part, index) | same_id] for part in _parts(call.arguments)]
    opener = [_opener(call, index)]
    if style == "arguments first":
        yield from parts[:1]
        yield opener
        yield from parts[1:]
    else:
        yield opener
        yield from parts
    if style == "null finaliser":
        yield [{"index": index, "id": None, "type": None, "function": {"name": None, "arguments": ""}}]


def _parts(arguments: str) -> list[str]:
    third = -(-len(arguments) // 3)
    return [arguments[:third], arguments[third : 2 * third], arguments[2 * third :]]


def _opener(call: Call, index: int | None) -> dict[str, Any]:
    return _placed({"id": call.id, "type": "function", "function": {"name": call.name}}, index)


def _part(arguments: str, index: int | None) -> dict[str, Any]:
    return _placed({"function": {"arguments": arguments}}, index)


def _whole(call: Call, index: int | None, *, decoded: bool = False) -> dict[str, Any]:
    arguments: Any = json.loads(call.arguments) if decoded else call.arguments
    function = {"name": call.name, "arguments": arguments}
    return _placed({"id": call.id, "type": "function", "function": function}, index)


def _placed(entry: dict[str, Any], index: int | None) -> dict[str, Any]:
    return entry if index is None else {"index": index, **entry}


def sse(events: Iterable[object], *, done: bool = True, ensure_ascii: bool = False) -> bytes:
    """These events as the body of an event stream."""
    lines = [f"data: {json.dumps(event, ensure_ascii=ensure_ascii)}\n\n" for event in events]
    return ("".join(lines) + ("data: [DONE]\n\n" if done else "")).encode()


def text_chunk(text: str, finish_reason: str | None = None, index: int = 0) -> dict[str, Any]:
    """The least chunk that carries text."""
    return {"id": "a", "choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish_reason}]}


def streaming(
    headers: Mapping[str, str] | None = None, *, choices: int = 1, limit: int | None = None, **limits: int
) -> Streamed:
    """A stream that is about to come."""
    request = HttpRequest("https://x.test", {}, b"", stream=True, choices=choices, limit=limit)
    return Streamed(request, headers or {}, **limits)


def streamed(
    *pieces: bytes, headers: Mapping[str, str] | None = None, choices: int = 1
) -> tuple[list[Delta], Completion]:
    """What a stream that comes in these pieces says: its deltas and the whole answer."""
    stream = streaming(headers, choices=choices)
    deltas = [delta for piece in pieces for delta in stream.feed(piece)]
    deltas += stream.close()
    return deltas, stream.result()


def replied(
    payload: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> tuple[list[Delta], Completion]:
    """What a whole reply says."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    answer = AnswerBuilder(headers or {})
    return list(replies.deltas(answer, status, headers or {}, body)), answer.completion()
