"""What observers are told: events, callbacks, token counts, the rate limiter; each of them once a call."""

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.llm import LLMChatEndEvent, LLMChatStartEvent

from cf_gemma.emulator import Fault, Reply
from cf_gemma.errors import GemmaError

from .conftest import Call, Calls, Connect

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


def test_a_failed_call_ends_its_event(model: Connect, call: Call) -> None:
    """The callback that began is ended, with the error."""
    calls = Calls()
    llm, _ = model([Fault(400, 5006)], callback_manager=CallbackManager([calls]))
    with pytest.raises(GemmaError):
        call(llm, "stream_chat", HELLO)
    assert calls.ended == 1
