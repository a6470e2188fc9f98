"""An answer in the making: chat-completions objects in, whole or in chunks; deltas and a Completion out.

The one place where the two back-ends' dialects and the older native shapes are understood.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from pydantic_core import to_json

from cf_gemma.errors import ProtocolError, ResponseTooLarge
from cf_gemma.model.completion import ANSWER_IN_REASONING, Choice, Completion, Delta, ReasoningDelta, TextDelta
from cf_gemma.model.json_object import as_object
from cf_gemma.response.markers import MarkerFilter, Piece
from cf_gemma.response.notation import name_of, parse_call
from cf_gemma.response.remarks import KEPT, KEPT_LOGPROBS, Allowance, Remarks
from cf_gemma.response.tool_calls import ToolCallAssembler
from cf_gemma.response.usage import UsageMeter
from cf_gemma.response.validity import cut_by, judged

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cf_gemma.model.completion import Usage
    from cf_gemma.request.http_request import HttpRequest

_FIRST_IN_TEXT: Final = 1_000_000
"""An index that no server uses, from which on calls that were found in texts are numbered."""

MOST_CHOICES: Final = 128
"""Choices that an answer may have where it isn't known how many were asked for."""

_KNOWN_TOP: Final = frozenset(
    {"id", "object", "created", "model", "choices", "usage", "p", "response", "tool_calls", "finish_reason"}
)
_KNOWN_CHOICE: Final = frozenset({"index", "delta", "message", "finish_reason", "logprobs", "text", "token_ids"})
_USUAL_CHOICE: Final = _KNOWN_CHOICE | {"matched_stop", "stop_reason"}
"""Keys that sit, null, in every chunk: looked at only when the choice ends."""
_KNOWN_MESSAGE: Final = frozenset({"role", "content", "reasoning", "reasoning_content", "tool_calls", "function_call"})


class AnswerBuilder:
    """Collects what the service says of one answer.

    Args:
        headers: Those that it came with, lower case.
        request: What it answers, if that is known: tool calls are judged by its tools and its limit.
    """

    def __init__(self, headers: Mapping[str, str] | None = None, request: HttpRequest | None = None) -> None:
        self._request = request
        self._expected = request.choices if request is not None else 1
        self._headers = {name: value for name, value in (headers or {}).items() if name.startswith("cf-")}
        self._choices: dict[int, _ChoiceBuilder] = {}
        self._meter = UsageMeter()
        self._id = ""
        self._seed = ""
        self._model = ""
        self._created = 0
        kept = KEPT_LOGPROBS if request is not None and request.logprobs else KEPT
        self._allowance = Allowance(kept * self._expected)
        self._extra = Remarks(self._allowance)

    @property
    def begun(self) -> bool:
        """Whether anything of a choice has come."""
        return bool(self._choices)

    @property
    def finished(self) -> bool:
        """Whether each choice's finish reason has come."""
        finished = [choice for choice in self._choices.values() if choice.finish_reason]
        return len(finished) >= max(self._expected, len(self._choices))

    def add(self, chunk: dict[str, Any], deltas: list[Delta]) -> None:
        """Takes one chunk, or one whole `chat.completion`, and puts what it says among `deltas`.

        Raises ProtocolError for one that can't be read to its end; what came before the trouble is among them.
        """
        if not self._id:
            self._head(chunk)
        if not _KNOWN_TOP.issuperset(chunk):
            self._extra.set(_unknown_fields(chunk, _KNOWN_TOP))
        choices = chunk.get("choices")
        if not choices:
            self._native(chunk, deltas)
            return
        if choices.__class__ is not list:
            raise _malformed("choices", "array")
        for choice in choices:
            if choice.__class__ is not dict:
                raise _malformed("choices[]", "object")
            index: Any = choice.get("index")
            builder = self._choices.get(index) if index.__class__ is int else None
            (builder or self._choice(index)).add(choice, self._seed, deltas)
        if usage := chunk.get("usage"):
            self._meter.add(_object(usage, "usage"))

    def close(self, deltas: list[Delta], *, whole: bool = True) -> None:
        """Puts what only the answer's end shows among `deltas`. `whole`: the service said that it is one."""
        for choice in self._choices.values():
            choice.close(self._seed, deltas, whole=whole)

    def completion(self, *, ended: bool = True) -> Completion:
        """The answer so far. `ended`: the service said that it is whole, so every choice has a finish reason."""
        if ended:
            self.close([])
        choices = [self._choices[index] for index in sorted(self._choices)] or [self._made(0)]
        usage = self._meter.usage()
        return Completion(
            choices=tuple(choice.choice(usage, ended=ended) for choice in choices),
            usage=usage,
            id=self._id,
            model=self._model,
            created=self._created,
            headers=self._headers,
            extra=self._extra.fields(),
        )

    def _made(self, number: int) -> _ChoiceBuilder:
        return _ChoiceBuilder(number, self._request, self._allowance)

    def _choice(self, index: object) -> _ChoiceBuilder:
        # Some models leave the index out (vercel/ai#4031).
        number = index if isinstance(index, int) else 0
        choice = self._choices.get(number)
        if choice is None:
            most = MOST_CHOICES if self._request is None else self._expected
            if len(self._choices) >= most:
                raise ResponseTooLarge(f"the answer has more choices than were asked for, which is {most} (n)")
            choice = self._choices[number] = self._made(number)
        return choice

    def _head(self, chunk: dict[str, Any]) -> None:
        self._id = str(chunk.get("id") or "")
        self._seed = self._id or self._headers.get("cf-ai-req-id") or self._headers.get("cf-ray") or ""
        self._model = str(chunk.get("model") or self._model)
        created = chunk.get("created")
        self._created = created if isinstance(created, int) else self._created

    def _native(self, chunk: dict[str, Any], deltas: list[Delta]) -> None:
        """A chunk without choices: the closing usage, the native tail, or a native answer of an older model."""
        if usage := chunk.get("usage"):
            self._meter.close(_object(usage, "usage"), total="response" in chunk)
        message = {"content": chunk.get("response"), "tool_calls": chunk.get("tool_calls")}
        reason = chunk.get("finish_reason")
        if reason or message["content"] not in (None, "") or message["tool_calls"]:
            self._choice(0).add({"message": message, "finish_reason": reason}, self._seed, deltas)


class _ChoiceBuilder:
    def __init__(self, index: int, request: HttpRequest | None, allowance: Allowance) -> None:
        self.index = index
        self.finish_reason: str | None = None
        self._request = request
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._texts = MarkerFilter(request, "text")
        self._thoughts = MarkerFilter(request, "reasoning")
        self._calls = ToolCallAssembler(index, request.tools if request is not None else None)
        self._in_text = 0
        """How many calls were found in texts."""
        self._closed = False
        self._logprobs, self._extra = Remarks(allowance), Remarks(allowance)

    def add(self, entry: dict[str, Any], seed: str, deltas: list[Delta]) -> None:
        """Takes an entry of `choices`, and puts what it says among `deltas`. `seed` makes ids that were left out."""
        message: Any = entry.get("delta") or entry.get("message") or {}
        if message.__class__ is not dict:
            raise _malformed("delta", "object")
        # Some models send the same reasoning under both names; it counts once.
        if reasoning := message.get("reasoning_content") or message.get("reasoning"):
            self._emit(self._thoughts, _text(reasoning), seed, deltas)
        content = message.get("content")
        if content is None:
            content = entry.get("text")
        if content is not None and (text := content if content.__class__ is str else _text(content)):
            if self._texts.idle and "<" not in text:
                self._text.append(text)
                deltas.append(TextDelta(text, self.index))
            else:
                self._emit(self._texts, text, seed, deltas)
        calls = message.get("tool_calls") or message.get("function_call")
        if calls:
            deltas += self._calls.feed(_entries(calls, message), seed)
        get = entry.get
        usual = _USUAL_CHOICE.issuperset(entry) and _KNOWN_MESSAGE.issuperset(message)
        if not usual or get("finish_reason") or get("logprobs") or get("token_ids"):
            self._remarks(entry, message)

    def close(self, seed: str, deltas: list[Delta], *, whole: bool) -> None:
        """Takes what was held back, and the reasoning for the answer where there is no other."""
        if self._closed:
            return
        self._closed = True
        for source in (self._thoughts, self._texts):
            for piece in source.close():
                self._take(piece, seed, deltas)
        deltas += self._calls.rest()
        reasoning = "".join(self._reasoning)
        answered = self._calls or "".join(self._text).strip()
        if whole and self.finish_reason in (None, "stop") and reasoning.strip() and not answered:
            # Servers file an answer without a thought under reasoning (SGLang 0.5.23; vLLM behind a tool result).
            self._take(Piece("text", reasoning), seed, deltas)
            self._extra.set({ANSWER_IN_REASONING: True})

    def _emit(self, source: MarkerFilter, text: str, seed: str, deltas: list[Delta]) -> None:
        for piece in source.feed(text):
            self._take(piece, seed, deltas)

    def _take(self, piece: Piece, seed: str, deltas: list[Delta]) -> None:
        if piece.kind == "text":
            self._text.append(piece.text)
            deltas.append(TextDelta(piece.text, self.index))
        elif piece.kind == "reasoning":
            self._reasoning.append(piece.text)
            deltas.append(ReasoningDelta(piece.text, self.index))
        else:
            self._in_text += 1
            deltas += self._calls.feed([_call_entry(piece, _FIRST_IN_TEXT + self._in_text)], seed)

    def _remarks(self, entry: dict[str, Any], message: dict[str, Any]) -> None:
        if reason := entry.get("finish_reason"):
            self.finish_reason = str(reason)
        if logprobs := entry.get("logprobs"):
            self._logprobs.add(_object(logprobs, "logprobs"))
        if tokens := entry.get("token_ids"):
            self._extra.add({"token_ids": tokens})
        if reason or not _USUAL_CHOICE.issuperset(entry):
            self._extra.set(_unknown_fields(entry, _KNOWN_CHOICE))
        if not _KNOWN_MESSAGE.issuperset(message):
            self._extra.add(_unknown_fields(message, _KNOWN_MESSAGE))

    def choice(self, usage: Usage | None, *, ended: bool) -> Choice:
        reason, extra = self.finish_reason, self._extra.fields()
        calls = self._calls.close(cut=reason == "length" or (reason is None and not ended))
        calls = judged(calls, self._request, cut_by(reason, extra, usage, self._request))
        if calls and self._in_text and reason == "stop":
            reason = "tool_calls"
        if reason is None and ended:
            reason = "tool_calls" if self._calls else "stop"
        return Choice(
            index=self.index,
            text="".join(self._text) + self._texts.held,
            reasoning="".join(self._reasoning) + self._thoughts.held,
            calls=calls,
            finish_reason=reason,
            logprobs=self._logprobs.fields() or None,
            extra=extra,
        )


def _call_entry(piece: Piece, index: int) -> dict[str, Any]:
    """A call that was found in a text, as an entry of `tool_calls`."""
    try:
        name, args = parse_call(piece.text)
        arguments = to_json(args).decode()
    except ValueError:
        name, arguments = name_of(piece.text), f"<|tool_call>{piece.text}"
    return {"index": index, "function": {"name": name, "arguments": arguments}}


def _text(value: object) -> str:
    """Content as text: some models send numbers and objects as bare JSON (captured), and parts are joined."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        texts = [(as_object(part) or {}).get("text") for part in cast("list[object]", value)]
        if all(isinstance(text, str) for text in texts):
            return "".join(cast("list[str]", texts))
    return to_json(value).decode()


def _object(value: Any, name: str) -> dict[str, Any]:
    if value.__class__ is dict:
        return value
    raise _malformed(name, "object")


def _entries(calls: Any, message: dict[str, Any]) -> list[Any]:
    if not message.get("tool_calls"):  # the older form: a single call
        return [calls]
    if calls.__class__ is not list:
        raise _malformed("tool_calls", "array")
    return calls


def _malformed(name: str, wanted: str) -> ProtocolError:
    return ProtocolError(f"the answer's {name} is not a JSON {wanted}")


def _unknown_fields(source: dict[str, Any], known: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in source.items() if name not in known and value is not None}
