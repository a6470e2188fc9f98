"""An engine's events on the wire: one whole body, or a stream of server-sent events. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from string import ascii_lowercase, digits
from typing import TYPE_CHECKING, Any, Final

from cf_gemma.emulator.backends.billing import usage
from cf_gemma.emulator.backends.common import Call, Dialect, Finished, Top
from cf_gemma.emulator.backends.parsing import Parser, Quirk
from cf_gemma.emulator.backends.styles import ToolCallStyle, cut
from cf_gemma.emulator.engines.protocol import Ending, Event, Opening, Step
from cf_gemma.emulator.envelope import dumps, envelope
from cf_gemma.emulator.faults import Refusal
from cf_gemma.model.completion import ReasoningDelta, ToolCallDelta

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from cf_gemma.emulator.chat import ChatRequest


@dataclass(frozen=True, slots=True)
class Stamp:
    """What is the same all over one answer."""

    dialect: Dialect
    chat: ChatRequest
    """The request."""
    random: Random
    model: str
    """As requested."""
    now: float
    """Unix seconds."""
    compat: bool = False
    """The chat-completions route, which rewrites the top level and has no envelope."""
    compat_tail: bool = False
    """Whether that route's streams, too, end with the native `response` event."""
    tool_calls: ToolCallStyle = "fragments"
    quirks: tuple[Quirk, ...] = ()
    request_id: str = ""

    def top(self) -> Top:
        """The top level of one answer, with an id of its own."""
        if self.compat:
            return Top(f"id-{int(self.now * 1000)}", int(self.now), self.model)
        return Top(self.dialect.new_id(self.random), int(self.now), self.dialect.model(self.model))

    def parser(self, *, streamed: bool) -> Parser:
        """What reads the answer before it is written."""
        return Parser(self.dialect, self.chat, self.random, self.quirks, streamed=streamed)


def body(events: Iterable[Event], stamp: Stamp) -> tuple[dict[str, Any], float]:
    """The answer as one JSON body, and its neurons."""
    opening, choices, completion_tokens = _gather(stamp.parser(streamed=False).parse(events), stamp.chat.n)
    used = usage(opening.prompt_tokens, completion_tokens, opening.cached_tokens)
    rendered, top = [stamp.dialect.choice(choice) for choice in choices], stamp.top()
    if not stamp.compat:
        return envelope(stamp.dialect.completion(top, rendered, used)), used["neurons"]
    fields = {"id": top.id, "object": "chat.completion", "created": top.created, "model": top.model}
    return {**fields, "choices": rendered, "usage": used}, used["neurons"]


def sse(events: Iterable[Event], stamp: Stamp) -> Generator[bytes]:
    """The answer as server-sent events. A refusal after the first becomes an error event, and ends the stream."""
    begun = False
    try:
        for chunk in chunks(events, stamp):
            yield b"data: " + dumps(chunk) + b"\n\n"
            begun = True
    except Refusal as refusal:
        if not begun or refusal.fault.shape == "cut":
            raise
        fault = refusal.fault.as_server(stamp.dialect.name) if stamp.compat else refusal.fault
        yield b"data: " + dumps(fault.to_dict(stamp.request_id, streamed=True)) + b"\n\n"
        return
    yield DONE


def chunks(events: Iterable[Event], stamp: Stamp) -> Iterator[dict[str, Any]]:
    """The data of each event: chunks, each with its own share of the usage, then the rest of it, then the whole."""
    write = _CompatChunks(stamp, stamp.top()) if stamp.compat else _NativeChunks(stamp, stamp.top())
    parsed = stamp.parser(streamed=True).parse(events)
    riding: dict[int, Step] = {}
    left = 0
    for event in cut(parsed, stamp.tool_calls, stamp.dialect, stamp.chat):
        match event:
            case Opening():
                for index in range(stamp.chat.n):
                    yield write.opening(index, event)
            case Step() if event.last and stamp.dialect.rides:
                riding[event.delta.choice] = event
            case Step():
                if before := riding.pop(event.delta.choice, None):
                    yield write.step(before)
                yield write.step(event)
            case Ending():
                left += event.tokens
                yield write.ending(event, riding.pop(event.choice, None))
    yield from write.tail(left)


@dataclass(slots=True)
class _NativeChunks:
    """The run route: increments of usage in every chunk, random padding, a native event at the end."""

    stamp: Stamp
    top: Top
    prompt: int = 0
    cached: int = 0
    completion: int = 0
    neurons: float = 0.0

    def opening(self, index: int, opening: Opening) -> dict[str, Any]:
        self.prompt, self.cached = opening.prompt_tokens, opening.cached_tokens
        used = usage(0, 0) if index else usage(self.prompt, 0, self.cached)
        return self._chunk([self.stamp.dialect.first(index)], used)

    def step(self, step: Step) -> dict[str, Any]:
        return self._chunk([self.stamp.dialect.step(step)], usage(0, step.tokens))

    def ending(self, ending: Ending, step: Step | None) -> dict[str, Any]:
        return self._chunk([self.stamp.dialect.last(ending, step)], usage(0, step.tokens if step else 0))

    def tail(self, left: int) -> Iterator[dict[str, Any]]:
        yield self._chunk([], usage(0, left))
        yield {"response": "", "usage": usage(self.prompt, self.completion, self.cached, self.neurons)}

    def _chunk(self, choices: list[Any], used: dict[str, Any]) -> dict[str, Any]:
        self.completion += used["completion_tokens"]
        self.neurons += used["neurons"]
        return self.stamp.dialect.chunk(self.top, choices, used, padding(self.stamp.random))


@dataclass(slots=True)
class _CompatChunks:
    """The chat-completions route: a plain stream, the usage once, in a chunk without choices."""

    stamp: Stamp
    top: Top
    prompt: int = 0
    cached: int = 0
    completion: int = 0

    def opening(self, index: int, opening: Opening) -> dict[str, Any]:
        self.prompt, self.cached = opening.prompt_tokens, opening.cached_tokens
        return self._chunk([self.stamp.dialect.first(index)])

    def step(self, step: Step) -> dict[str, Any]:
        self.completion += step.tokens
        return self._chunk([self.stamp.dialect.step(step)])

    def ending(self, ending: Ending, step: Step | None) -> dict[str, Any]:
        self.completion += step.tokens if step else 0
        return self._chunk([self.stamp.dialect.last(ending, step)])

    def tail(self, left: int) -> Iterator[dict[str, Any]]:
        used = usage(self.prompt, self.completion + left, self.cached)
        yield {**self._chunk([]), "usage": used}
        if self.stamp.compat_tail:
            yield {"response": "", "usage": used}

    def _chunk(self, choices: list[Any]) -> dict[str, Any]:
        return {
            "id": self.top.id,
            "created": self.top.created,
            "model": self.top.model,
            "object": "chat.completion.chunk",
            "choices": choices,
        }


def padding(random: Random) -> str:
    """A string of random length, as the service adds to every chunk so that sizes tell nothing."""
    start = int(random.random() * len(_PADDING) / 2)
    return _PADDING[start : start + 1 + int(random.random() * 36)]


def _gather(events: Iterable[Event], n: int) -> tuple[Opening, list[Finished], int]:
    opening, choices, tokens = Opening(0), [Finished(index) for index in range(n)], 0
    for event in events:
        match event:
            case Opening():
                opening = event
            case Step():
                tokens += event.tokens
                _add(choices[event.delta.choice], event)
            case Ending():
                tokens += event.tokens
                _finish(choices[event.choice], event)
    return opening, choices, tokens


def _add(choice: Finished, step: Step) -> None:
    delta = step.delta
    if isinstance(delta, ToolCallDelta):
        if delta.name is not None:
            choice.calls.append(Call(delta.id or "", delta.name))
        choice.calls[-1].arguments += delta.arguments
    elif isinstance(delta, ReasoningDelta):
        choice.reasoning += delta.text
    else:
        choice.text += delta.text
    _add_logprobs(choice, step.logprobs)


def _finish(choice: Finished, ending: Ending) -> None:
    choice.finish_reason, choice.stop = ending.finish_reason, ending.stop
    _add_logprobs(choice, ending.logprobs)


def _add_logprobs(choice: Finished, logprobs: tuple[dict[str, Any], ...] | None) -> None:
    if logprobs is not None:
        choice.logprobs = [*(choice.logprobs or []), *logprobs]


DONE: Final = b"data: [DONE]\n\n"
"""The last event of a stream that is whole."""

_PADDING: Final = "".join(Random(0).choices(ascii_lowercase + digits, k=1024))  # noqa: S311 - filling, not a secret
