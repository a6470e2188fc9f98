"""An engine that answers from a script: for tests of this package, and for yours.

Tokens are counted by one rule: a word with the white space before it is a token, and so is each piece of a text that
comes in pieces. The end of the turn is one more, unless `max_tokens` cut the answer. A prompt counts its words, and 280
for an image.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Self, cast

from cf_gemma.emulator.engines.logprobs import token_logprob
from cf_gemma.emulator.engines.protocol import Ending, Event, Opening, Step
from cf_gemma.emulator.engines.reply import Replies, Reply, Script, Text, kind_of, tokens
from cf_gemma.emulator.faults import Fault, Refusal
from cf_gemma.model.completion import Delta, ReasoningDelta, TextDelta, ToolCallDelta
from cf_gemma.model.facts import IMAGE_TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from cf_gemma.emulator.chat import ChatRequest


class ScriptedEngine:
    """Answers from a list, in order, or from a function of the request's JSON body.

    `ScriptedEngine(["Hello!", Fault(429, 3040), Reply("Hi", reasoning="Be brief.")])` answers three requests. The
    fourth is refused, with a message that says so; with `repeat=True` the script starts again. A single reply answers
    every request. A request with `n` choices takes n replies, all at the pace of the first. Deterministic: the same
    requests in the same order get the same answers.

    Raises:
        TypeError: the script holds something else.
    """

    def __init__(self, replies: Replies, *, repeat: bool = False) -> None:
        single = isinstance(replies, Script)
        if not (single or callable(replies)):
            listed = cast("object", replies)
            turns = cast("Sequence[object]", listed) if isinstance(listed, Sequence) else [listed]
            wrong = [reply for reply in turns if not isinstance(reply, Script)]
            if wrong:
                raise TypeError(f"a script is of str, Reply and Fault, or a function; not of {kind_of(wrong[0])}")
        self._replies = [replies] if single else replies
        self._repeat = repeat or single
        self._taken = 0
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """`scripted`."""
        return "scripted"

    def generate(self, request: ChatRequest, cancelled: threading.Event) -> Iterator[Event]:
        """The next reply, or the next `n`, word by word.

        Raises Refusal for a Fault, and when the script has run out.
        """
        turns = [_Turn(self._next(request), request, index) for index in range(request.n)]
        first = turns[0].reply
        cancelled.wait(first.delay)
        if first.error and not turns[0].deltas:
            raise Refusal(first.error)
        yield Opening(first.usage[0] if first.usage else count_prompt(request))
        for event in _round_robin([turn.events() for turn in turns]):
            yield event
            if first.gap and cancelled.wait(first.gap):
                return

    def close(self) -> None:
        """Nothing to free."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _next(self, request: ChatRequest) -> Reply:
        script = reply_of(self._replies, request.body) if callable(self._replies) else self._take(self._replies)
        if isinstance(script, Fault):
            return Reply(error=script)
        return Reply(script) if isinstance(script, str) else script

    def _take(self, replies: Sequence[Script]) -> Script:
        with self._lock:
            turn = self._taken
            self._taken += 1
        if turn >= len(replies) and not (self._repeat and replies):
            had = f"request {turn + 1} came, and there are {len(replies)} replies"
            raise Refusal(
                Fault(400, message=f"the script has run out: {had}; ScriptedEngine([...], repeat=True) starts it again")
            )
        return replies[turn % len(replies)]


class _Turn:
    """One reply to one request: what `max_tokens`, `stop` and the thinking switch leave of it."""

    def __init__(self, reply: Reply, request: ChatRequest, index: int) -> None:
        self.reply, self._request, self._index = reply, request, index
        self._stop: str | None = None
        everything = list(self._everything())
        self.deltas = everything[: request.max_tokens]
        """One for each token."""
        self._cut = len(everything) > request.max_tokens

    def events(self) -> Iterator[Event]:
        """The steps, then the ending. Raises Refusal where the reply has an error."""
        steps, ending = [self._step(batch) for batch in self._batches()], self._ending()
        if self.reply.usage:
            steps, ending = _recounted(steps, ending, self.reply.usage[1])
        if self._cut and steps and not self.reply.error:
            steps[-1] = replace(steps[-1], last=True)
        yield from steps
        if self.reply.error:
            raise Refusal(self.reply.error)
        yield ending

    def _everything(self) -> Iterator[Delta]:
        """The reply token by token, up to the first stop string."""
        if self._request.thinking:
            for token in tokens(self.reply.reasoning):
                yield ReasoningDelta(token, self._index)
        for token in tokens(self._before_stop(self.reply.text)):
            yield TextDelta(token, self._index)
        for place, call in enumerate(self.reply.tool_calls):
            if self._stop is None:
                first, *rest = tokens(self._before_stop(call.arguments)) or [""]
                yield ToolCallDelta(place, call.id, call.name, first, self._index)
                for token in rest:
                    yield ToolCallDelta(place, arguments=token, choice=self._index)

    def _before_stop(self, text: Text) -> Text:
        joined = text if isinstance(text, str) else "".join(text)
        stops = [(joined.find(stop), stop) for stop in self._request.stop if stop in joined]
        if not stops:
            return text
        end, self._stop = min(stops)
        return joined[:end]

    def _batches(self) -> Iterator[list[Delta]]:
        """The deltas in lots of `chunk`, the kinds never mixed."""
        batch: list[Delta] = []
        for delta in self.deltas:
            if batch and (len(batch) >= self.reply.chunk or not _joinable(batch[0], delta)):
                yield batch
                batch = []
            batch.append(delta)
        if batch:
            yield batch

    def _step(self, batch: list[Delta]) -> Step:
        first, mark = batch[0], self.reply.as_reasoning
        if isinstance(first, ToolCallDelta):
            return Step(replace(first, arguments="".join(map(_words, batch))), len(batch), as_reasoning=mark)
        top = self._request.top_logprobs
        logprobs = tuple(token_logprob(_words(delta), top) for delta in batch) if self._request.logprobs else None
        return Step(replace(first, text="".join(map(_words, batch))), len(batch), logprobs, as_reasoning=mark)

    def _ending(self) -> Ending:
        called = any(isinstance(delta, ToolCallDelta) for delta in self.deltas)
        natural = "length" if self._cut else "tool_calls" if called else "stop"
        stop, left = (None, 0) if self._cut else (self._stop, 1)
        return Ending(self.reply.finish_reason or natural, left, stop, self._index)


def reply_of(function: Callable[[dict[str, Any]], Script], body: Mapping[str, Any]) -> Script:
    """What a function of the user's own replies to a body. Raises Refusal when it raises, or returns something else."""
    try:
        reply = cast("object", function(dict(body)))
    except Refusal:
        raise
    except Exception as error:  # the user's own function: whoever tests with it wants to see whatever it raised
        raise Refusal(Fault(400, message=f"the reply function raised {error!r}")) from error
    if not isinstance(reply, Script):
        kind = "None" if reply is None else f"a {kind_of(reply)}"
        raise Refusal(Fault(400, message=f"the reply function returned {kind}; it must return a str, Reply or Fault"))
    return reply


def count_prompt(request: ChatRequest) -> int:
    """Words of the messages and of the tools' declarations, and 280 for an image."""
    declared = len(tokens(json.dumps(request.tools))) if request.tools else 0
    return declared + sum(_count_content(message.get("content")) for message in request.messages)


def _count_content(content: Any) -> int:
    if isinstance(content, list):
        parts = cast("list[dict[str, Any]]", content)
        return sum(_count_content(part.get("text")) if "text" in part else IMAGE_TOKENS for part in parts)
    return len(tokens(content)) if isinstance(content, str) else 0


def _words(delta: Delta) -> str:
    return delta.arguments if isinstance(delta, ToolCallDelta) else delta.text


def _joinable(first: Delta, delta: Delta) -> bool:
    if isinstance(delta, ToolCallDelta):
        return isinstance(first, ToolCallDelta) and delta.index == first.index and delta.name is None
    return type(delta) is type(first)


def _recounted(steps: list[Step], ending: Ending, total: int) -> tuple[list[Step], Ending]:
    """The same events, with `total` completion tokens spread over them."""
    parts = len(steps) + 1
    shares = [total * (i + 1) // parts - total * i // parts for i in range(parts)]
    counted = [replace(step, tokens=share) for step, share in zip(steps, shares[:-1], strict=True)]
    return counted, replace(ending, tokens=shares[-1])


def _round_robin(streams: list[Iterator[Event]]) -> Iterator[Event]:
    """One event of each in turn, until all have ended: the choices of one answer come interleaved."""
    waiting = deque(streams)
    while waiting:
        stream = waiting.popleft()
        for event in islice(stream, 1):
            yield event
            waiting.append(stream)


"""The model card's default budget for an image."""
