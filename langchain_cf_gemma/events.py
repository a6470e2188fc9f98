"""What the model says -> LangChain's stream of events (v3). Pure.

A block is finished as soon as it is complete: reasoning when the answer begins, a tool call when the next one begins.
So a tool can start while the model is still speaking; core's own bridge finishes all blocks at the end of the message.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from cf_gemma import Completion, ReasoningDelta, TextDelta
from cf_gemma.errors import ProtocolError
from langchain_cf_gemma.chunks import response_metadata, usage_metadata
from langchain_cf_gemma.fences import FenceStripper
from langchain_cf_gemma.translator import PROVIDER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_protocol.protocol import MessagesData

    from cf_gemma import Delta, InvalidToolCall, ToolCallDelta

Event: TypeAlias = "dict[str, Any]"


class Events:
    """One stream's deltas as events."""

    def __init__(self, message_id: str, model: str, *, usage: bool = True, unfenced: bool = False) -> None:
        """For a stream of this model.

        Args:
            message_id: The id of the message that the events make.
            model: The model's id, told when the service doesn't tell it.
            usage: Whether the last event has `usage`.
            unfenced: Whether the text is JSON, from which a Markdown fence is to be taken away.
        """
        self._message_id = message_id
        self._model = model
        self._usage = usage
        self._fence = FenceStripper() if unfenced else None
        self._begun = False
        self._completion: Completion | None = None
        self._blocks = 0
        self._speech: _Speech | None = None
        self._calls: dict[int, _Call] = {}

    def of(self, said: Delta | Completion) -> Iterator[MessagesData]:
        """The events for one thing said; the first opens the message. What ends it waits for `end`."""
        if not self._begun:
            self._begun = True
            metadata = {"provider": PROVIDER, "model": self._model}
            yield _event("message-start", role="ai", id=self._message_id, metadata=metadata)
        if isinstance(said, TextDelta):
            yield from self._speak("text", self._fence.feed(said.text) if self._fence else said.text)
        elif isinstance(said, ReasoningDelta):
            yield from self._speak("reasoning", said.text)
        elif isinstance(said, Completion):
            self._completion = said
        else:
            yield from self._call(said)

    def _speak(self, kind: Literal["text", "reasoning"], text: str) -> Iterator[MessagesData]:
        if not text:
            return
        if self._speech is None or self._speech.kind != kind:
            yield from self._fall_silent()
            self._speech = _Speech(self._next(), kind)
            yield _event("content-block-start", index=self._speech.index, content={"type": kind, kind: ""})
        self._speech.parts.append(text)
        yield _event("content-block-delta", index=self._speech.index, delta={"type": f"{kind}-delta", kind: text})

    def _fall_silent(self) -> Iterator[MessagesData]:
        speech, self._speech = self._speech, None
        if speech is not None:
            content = {"type": speech.kind, speech.kind: "".join(speech.parts)}
            yield _event("content-block-finish", index=speech.index, content=content)

    def _call(self, delta: ToolCallDelta) -> Iterator[MessagesData]:
        if delta.id is not None:
            yield from self._fall_silent()
            yield from self._finish_complete_calls()
            yield from self._begin(delta.index, delta.id, delta.name or "")
        call = self._calls[delta.index]
        if delta.arguments:
            call.parts.append(delta.arguments)
            if not call.finished:
                args = {"type": "tool-call-delta", "args": delta.arguments}
                yield _event("content-block-delta", index=call.index, delta=args)

    def _begin(self, place: int, id_: str, name: str) -> Iterator[MessagesData]:
        call = self._calls[place] = _Call(self._next(), id_, name)
        content = {"type": "tool_call_chunk", "id": id_ or None, "name": name, "args": "", "index": place}
        yield _event("content-block-start", index=call.index, content=content)

    def _finish_complete_calls(self) -> Iterator[MessagesData]:
        for call in self._calls.values():
            if not call.finished and (args := call.args()) is not None:
                yield call.finish(args)

    def end(self) -> Iterator[MessagesData]:
        """The events that end the message. Take them when the connection has been given back.

        Core reads no further than the last of them, and leaves the rest to the garbage collector, which may come in the
        middle of another request, where a connection can't be given back.
        """
        completion = self._completion
        if completion is None:
            return
        choice = completion.choices[0]
        if self._fence:
            yield from self._speak("text", self._fence.close())
        yield from self._fall_silent()
        yield from self._finish_calls(completion)
        usage = completion.usage if self._usage else None
        yield _event(
            "message-finish",
            metadata=response_metadata(completion, choice, self._model),
            **({"usage": usage_metadata(usage)} if usage else {}),
            **({"additional_kwargs": {"reasoning_content": choice.reasoning}} if choice.reasoning else {}),
        )

    def _finish_calls(self, completion: Completion) -> Iterator[MessagesData]:
        valid = {call.id: call.args for call in completion.tool_calls}
        invalid = {call.id: call for call in completion.invalid_tool_calls}
        for call in invalid.values():
            if call.id not in {shown.id for shown in self._calls.values()}:  # It never got its name.
                yield from self._begin(len(self._calls), call.id, call.name)
        for call in self._calls.values():
            if call.finished and call.id in invalid:
                raise ProtocolError(
                    "the service went on with the arguments of a tool call that were complete", partial=completion
                )
            if not call.finished:
                yield call.refuse(invalid[call.id]) if call.id in invalid else call.finish(valid[call.id])

    def _next(self) -> int:
        self._blocks += 1
        return self._blocks - 1


@dataclass(slots=True)
class _Speech:
    index: int
    kind: Literal["text", "reasoning"]
    parts: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class _Call:
    index: int
    id: str
    name: str
    parts: list[str] = field(default_factory=list[str])
    finished: bool = False

    def args(self) -> dict[str, Any] | None:
        """The arguments so far, once they are a whole object."""
        try:
            args = json.loads("".join(self.parts))
        except ValueError:
            return None
        return cast("dict[str, Any]", args) if isinstance(args, dict) else None

    def finish(self, args: dict[str, Any]) -> MessagesData:
        self.finished = True
        content = {"type": "tool_call", "id": self.id, "name": self.name, "args": args}
        return _event("content-block-finish", index=self.index, content=content)

    def refuse(self, call: InvalidToolCall) -> MessagesData:
        self.finished = True
        content = {"type": "invalid_tool_call", "id": call.id or None, "name": call.name, "args": call.arguments}
        return _event("content-block-finish", index=self.index, content={**content, "error": call.error})


def _event(event: str, **fields: Any) -> MessagesData:
    return cast("MessagesData", {"event": event, **fields})
