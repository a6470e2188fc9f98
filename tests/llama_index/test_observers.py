"""What observers are told: events, callbacks, token counts, the rate limiter; each of them once a call."""

from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.llm import LLMChatEndEvent, LLMChatInProgressEvent, LLMChatStartEvent
from llama_index.core.llms import callbacks

from cf_gemma.emulator import Fault, Reply
from cf_gemma.errors import GemmaError

from .conftest import Call, Calls, Connect, Events


def shown(answer: Any) -> list[dict[str, Any]]:
    """The responses of an answer, without what differs from one to the next: ids and times."""
    responses = answer if isinstance(answer, list) else [answer]
    return [response.model_dump(exclude={"raw", "additional_kwargs"}) for response in responses]


HELLO = [ChatMessage(role="user", content="hello")]


class Slots:
    """A rate limiter that counts."""

    def __init__(self) -> None:
        self.taken = 0

    def acquire(self) -> None:
        """Takes a slot."""
        self.taken += 1

    async def async_acquire(self) -> None:
        """Takes a slot."""
        self.taken += 1


@pytest.mark.parametrize("method", ["chat", "complete", "stream_chat", "stream_complete"])
def test_one_event_and_one_slot_per_call(model: Connect, call: Call, events: list[BaseEvent], method: str) -> None:
    """A call is told to observers once, takes one slot of the rate limiter, and is counted exactly."""
    calls, slots = Calls(), Slots()
    counter = TokenCountingHandler(tokenizer=lambda text: pytest.fail("counted, though the service told"))
    llm, _ = model(
        [Reply("Four.", reasoning="Add.", usage=(12, 34))],
        callback_manager=CallbackManager([calls, counter]),
        rate_limiter=slots,
    )
    call(llm, method, HELLO if "chat" in method else "hello")
    names = [type(event).__name__ for event in events]
    kind = "Chat" if "chat" in method else "Completion"
    assert names.count(f"LLM{kind}StartEvent") == names.count(f"LLM{kind}EndEvent") == 1
    assert not [name for name in names if name.startswith("LLMCompletion" if kind == "Chat" else "LLMChat")]
    assert (calls.ended, slots.taken) == (1, 1)
    assert counter.prompt_llm_token_count == 12
    assert counter.completion_llm_token_count == 34


def test_what_observers_are_told(model: Connect, events: list[BaseEvent]) -> None:
    """The end event carries the last response: whole message, usage, finish reason; no event holds the token."""
    llm, emulator = model([Reply("Four.", reasoning="Add.")])
    list(llm.stream_chat(HELLO))
    end = next(event for event in events if isinstance(event, LLMChatEndEvent))
    assert end.response.message.content == "Four."
    assert end.response.raw["choices"][0]["finish_reason"] == "stop"
    assert end.response.raw["usage"]["total_tokens"] > 0
    start = next(event for event in events if isinstance(event, LLMChatStartEvent))
    assert start.model_dict["model_name"] == llm.model
    assert emulator.api_token not in "".join(map(str, events))


@pytest.mark.parametrize("method", ["chat", "complete", "stream_chat", "stream_complete"])
def test_an_observer_changes_nothing(model: Connect, call: Call, method: str) -> None:
    """A call that is observed answers as one that isn't, which runs without core's events."""
    answers = []
    for managers in ({}, {"callback_manager": CallbackManager([Calls()])}):
        llm, _ = model([Reply("Four.", reasoning="Add.")], **managers)
        answers.append(call(llm, method, HELLO if "chat" in method else "hello"))
    assert shown(answers[0]) == shown(answers[1])


@pytest.mark.parametrize("where", ["root", "core's own"])
def test_an_observer_anywhere_above_is_heard(model: Connect, where: str) -> None:
    """A handler of the root dispatcher, or of the one that core's LLMs report to, gets each piece of the stream."""
    dispatcher = get_dispatcher() if where == "root" else get_dispatcher("llama_index.core.llms.callbacks")
    handler = Events(seen=[])
    dispatcher.add_event_handler(handler)
    try:
        llm, _ = model([Reply("Four.")])
        responses = list(llm.stream_chat(HELLO))
    finally:
        dispatcher.event_handlers.remove(handler)
    pieces = [event for event in handler.seen if isinstance(event, LLMChatInProgressEvent)]
    assert [piece.response.delta for piece in pieces] == [response.delta for response in responses]


def test_a_call_without_an_observer_makes_no_events(model: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """Core copies the messages into an event for each piece; where nobody listens, none is made."""
    made = []
    monkeypatch.setattr(callbacks, "LLMChatInProgressEvent", lambda **fields: made.append(fields))
    llm, _ = model([Reply("Four.")])
    assert list(llm.stream_chat(HELLO))
    assert made == []


def test_a_failed_call_ends_its_event(model: Connect, call: Call) -> None:
    """The callback that began is ended, with the error."""
    calls = Calls()
    llm, _ = model([Fault(400, 5006)], callback_manager=CallbackManager([calls]))
    with pytest.raises(GemmaError):
        call(llm, "stream_chat", HELLO)
    assert calls.ended == 1
