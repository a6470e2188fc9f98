"""What the model says -> LangChain's stream of events (v3). Pure.

Blocks are finished as soon as they are, where core's own bridge finishes all of them at the end of the message:
reasoning and text when something else begins, a tool call whose arguments are whole when the next one begins. So a tool
can run while the model still writes the call of another. A call that was finished can't be taken back: should the
service go on with its arguments all the same, which it has never been seen to do, the stream ends with an error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from pydantic_core import from_json

from cf_gemma import Completion, InvalidToolCall, ReasoningDelta, TextDelta
from cf_gemma.errors import ProtocolError
from cf_gemma.structured import FenceStripper
from langchain_cf_gemma.calls import CallOrder
from langchain_cf_gemma.chunks import response_metadata, usage_metadata
from langchain_cf_gemma.translator import PROVIDER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_protocol.protocol import MessagesData

    from cf_gemma import Delta, ToolCall, ToolCallDelta

Event: TypeAlias = "dict[str, Any]"


class Events:
    """One stream's deltas as events. Of several choices, the first's."""

    def __init__(self, message_id: str, model: str, *, usage: bool = True, unfenced: bool = False) -> None:
        """For a stream of this model.

        Args:
            message_id: The id of the message that the events make.
            model: The model's id, for answers in which the service doesn't report it.
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
        self._order = CallOrder()
        self._calls: dict[int, _Call] = {}
        """By their places among the answer's calls."""

    def of(self, item: Delta | Completion) -> Iterator[MessagesData]:
        """The events of one delta, or of the completion; the first opens the message. What ends it waits for `end`."""
        if not self._begun:
            self._begun = True
            metadata = {"provider": PROVIDER, "model": self._model}
            yield _event("message-start", role="ai", id=self._message_id, metadata=metadata)
        if isinstance(item, Completion):
            self._completion = item
        elif item.choice:
            return
        elif isinstance(item, TextDelta):
            yield from self._speak("text", self._fence.feed(item.text) if self._fence else item.text)
        elif isinstance(item, ReasoningDelta):
            yield from self._speak("reasoning", item.text)
        else:
            for delta in self._order.of(item):
                yield from self._call(delta)

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
        place = delta.index
        if place not in self._calls:
            yield from self._fall_silent()
            yield from self._finish_whole_calls()
            call = self._calls[place] = _Call(self._next(), delta.id, delta.name)
            facts = {"id": delta.id or None, "name": delta.name or "", "args": "", "index": place}
            yield _event("content-block-start", index=call.index, content={"type": "tool_call_chunk", **facts})
        call = self._calls[place]
        call.arguments += delta.arguments
        if delta.arguments and not call.finished:
            args = {"type": "tool-call-delta", "args": delta.arguments}
            yield _event("content-block-delta", index=call.index, delta=args)

    def _finish_whole_calls(self) -> Iterator[MessagesData]:
        for call in self._calls.values():
            if not call.finished and (args := call.args()) is not None:
                call.finished = True
                content = {"type": "tool_call", "id": call.id, "name": call.name, "args": args}
                yield _event("content-block-finish", index=call.index, content=content)

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
        calls = completion.choices[0].calls
        for delta in self._order.rest(calls):
            yield from self._call(delta)
        for index, call in enumerate(calls):
            shown = self._calls[index]
            if not shown.finished:
                yield _event("content-block-finish", index=shown.index, content=_content(call))
            elif isinstance(call, InvalidToolCall):
                raise ProtocolError(
                    "the service went on with the arguments of a tool call that were complete", partial=completion
                )

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
    id: str | None
    name: str | None
    arguments: str = ""
    finished: bool = False

    def args(self) -> dict[str, Any] | None:
        """The arguments so far, once they are a whole object; not if the model's quote token may spoil them."""
        if "<|" in self.arguments:
            return None
        try:
            args = from_json(self.arguments, allow_inf_nan=False)
        except ValueError:
            return None
        return cast("dict[str, Any]", args) if self.name and isinstance(args, dict) else None


def _content(call: ToolCall | InvalidToolCall) -> Event:
    if isinstance(call, InvalidToolCall):
        facts = {"id": call.id or None, "name": call.name or None, "args": call.arguments, "error": call.error}
        return {"type": "invalid_tool_call", **facts}
    return {"type": "tool_call", "id": call.id, "name": call.name, "args": call.args}


def _event(event: str, **fields: Any) -> MessagesData:
    return cast("MessagesData", {"event": event, **fields})
