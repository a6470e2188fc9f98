"""An answer in the making: chat-completions objects in, whole or in chunks; deltas and a Completion out.

The one place where the two back-ends' dialects and the older native shapes are understood.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from pydantic_core import to_json

from cf_gemma.completion import Choice, Completion, Delta, ReasoningDelta, TextDelta
from cf_gemma.errors import ProtocolError
from cf_gemma.jsonobject import as_object
from cf_gemma.response.tool_calls import ToolCallAssembler
from cf_gemma.response.usage import UsageMeter

if TYPE_CHECKING:
    from collections.abc import Mapping

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
        expected: How many choices were asked for.
    """

    def __init__(self, headers: Mapping[str, str] | None = None, *, expected: int = 1) -> None:
        self._expected = expected
        self._headers = {name: value for name, value in (headers or {}).items() if name.startswith("cf-")}
        self._choices: dict[int, _ChoiceBuilder] = {}
        self._meter = UsageMeter()
        self._id = ""
        self._seed = ""
        self._model = ""
        self._created = 0
        self._extra: dict[str, Any] = {}

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
            self._extra.update(_told(chunk, _KNOWN_TOP))
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

    def completion(self, *, ended: bool = True) -> Completion:
        """The answer so far. `ended`: the service said that it is whole, so every choice has a finish reason."""
        choices = [self._choices[index] for index in sorted(self._choices)] or [_ChoiceBuilder(0)]
        return Completion(
            choices=tuple(choice.choice(ended=ended) for choice in choices),
            usage=self._meter.usage(),
            id=self._id,
            model=self._model,
            created=self._created,
            headers=self._headers,
            extra=self._extra,
        )

    def _choice(self, index: object) -> _ChoiceBuilder:
        # Some models leave the index out (vercel/ai#4031).
        number = index if isinstance(index, int) else 0
        choice = self._choices.get(number)
        if choice is None:
            choice = self._choices[number] = _ChoiceBuilder(number)
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
    def __init__(self, index: int) -> None:
        self.index = index
        self.finish_reason: str | None = None
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls = ToolCallAssembler(index)
        self._logprobs: dict[str, Any] = {}
        self._extra: dict[str, Any] = {}

    def add(self, entry: dict[str, Any], seed: str, deltas: list[Delta]) -> None:
        """Takes an entry of `choices`, and puts what it says among `deltas`. `seed` makes ids that were left out."""
        message: Any = entry.get("delta") or entry.get("message") or {}
        if message.__class__ is not dict:
            raise _malformed("delta", "object")
        # Some models send the same reasoning under both names; it counts once.
        if reasoning := message.get("reasoning_content") or message.get("reasoning"):
            reasoning = _text(reasoning)
            self._reasoning.append(reasoning)
            deltas.append(ReasoningDelta(reasoning, self.index))
        content = message.get("content")
        if content is None:
            content = entry.get("text")
        if content is not None and (text := content if content.__class__ is str else _text(content)):
            self._text.append(text)
            deltas.append(TextDelta(text, self.index))
        calls = message.get("tool_calls")
        if not calls and (call := message.get("function_call")):
            calls = [call]
        if calls:
            if calls.__class__ is not list:
                raise _malformed("tool_calls", "array")
            deltas += self._calls.feed(calls, seed)
        self._remarks(entry, message)

    def _remarks(self, entry: dict[str, Any], message: dict[str, Any]) -> None:
        if reason := entry.get("finish_reason"):
            self.finish_reason = str(reason)
        if logprobs := entry.get("logprobs"):
            _extend(self._logprobs, _object(logprobs, "logprobs"))
        if tokens := entry.get("token_ids"):
            _extend(self._extra, {"token_ids": tokens})
        if reason or not _USUAL_CHOICE.issuperset(entry):
            self._extra.update(_told(entry, _KNOWN_CHOICE))
        if not _KNOWN_MESSAGE.issuperset(message):
            _extend(self._extra, _told(message, _KNOWN_MESSAGE))

    def choice(self, *, ended: bool) -> Choice:
        reason = self.finish_reason
        calls = self._calls.close(cut=reason == "length" or (reason is None and not ended))
        if reason is None and ended:
            reason = "tool_calls" if self._calls else "stop"
        return Choice(
            index=self.index,
            text="".join(self._text),
            reasoning="".join(self._reasoning),
            calls=calls,
            finish_reason=reason,
            logprobs=self._logprobs or None,
            extra=self._extra,
        )


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


def _malformed(name: str, wanted: str) -> ProtocolError:
    return ProtocolError(f"the answer's {name} is not a JSON {wanted}")


def _told(source: dict[str, Any], known: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in source.items() if name not in known and value is not None}


def _extend(target: dict[str, Any], piece: dict[str, Any]) -> None:
    """Adds a piece's lists and texts to those of the same name, and takes everything else as it is."""
    for name, value in piece.items():
        old = target.get(name)
        if isinstance(old, list) and isinstance(value, list):
            cast("list[Any]", old).extend(cast("list[Any]", value))
        elif isinstance(old, str) and isinstance(value, str):
            target[name] = old + value
        elif value is not None:
            target[name] = list(cast("list[Any]", value)) if isinstance(value, list) else value
