"""`batch_queue` of the two adapters, against the emulator's queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.exceptions import ModelRateLimitError
from langchain_core.messages import AIMessage, HumanMessage
from llama_index.core.base.llms.types import ChatMessage, ChatResponse

from cf_gemma.emulator import Emulator
from cf_gemma.errors import CapacityExceeded, GemmaError, InvalidRequest
from cf_gemma.queue.flow import PollPolicy
from langchain_cf_gemma import ChatCloudflareGemma
from llama_index_cf_gemma import CloudflareGemma
from tests.queue.test_batch import echo

if TYPE_CHECKING:
    from collections.abc import Iterator

Adapter = type[ChatCloudflareGemma | CloudflareGemma]
BOTH = pytest.mark.parametrize("adapter", [ChatCloudflareGemma, CloudflareGemma])


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """An emulator whose queue is asked every few milliseconds."""
    for kind in ("Batch", "AsyncBatch"):
        monkeypatch.setattr(f"cf_gemma.queue.batch.{kind}.policy", PollPolicy(first=0.01, longest=0.01))
    with Emulator(echo) as emulator:
        yield emulator


def model(adapter: Adapter, emulator: Emulator, **options: Any) -> Any:
    """A model of this adapter."""
    where = {"account_id": emulator.account_id, "api_token": emulator.api_token, "base_url": emulator.base_url}
    return adapter(**where, **options)


def text(answer: Any) -> str:
    """What an answer says."""
    return answer.text if isinstance(answer, AIMessage) else answer.message.content


@BOTH
async def test_answers_in_order(adapter: Adapter, emulator: Emulator) -> None:
    """Each input has its answer, with reasoning and usage, in one request to the queue; both ways of calling agree."""
    llm = model(adapter, emulator, max_tokens=50)
    messages = [HumanMessage("two")] if adapter is ChatCloudflareGemma else [ChatMessage("two")]
    for answers in (
        llm.batch_queue(["one", messages], temperature=0.5),
        await llm.abatch_queue(["one", messages], temperature=0.5),
    ):
        assert [text(answer) for answer in answers] == ["You said: one", "You said: two"]
        assert "Let me think." in repr(answers[0])
        assert all(isinstance(answer, AIMessage | ChatResponse) for answer in answers)
    submitted = [request.json["requests"] for request in emulator.requests if "requests" in request.json]
    assert len(submitted) == 2
    assert all((one["temperature"], one["max_tokens"]) == (0.5, 50) for batch in submitted for one in batch)


@BOTH
async def test_errors(adapter: Adapter, emulator: Emulator) -> None:
    """An input that fails raises its error, or stands in its place in the list."""
    llm = model(adapter, emulator)
    with pytest.raises(CapacityExceeded) as raised:
        llm.batch_queue(["one", "busy"])
    assert isinstance(raised.value, ModelRateLimitError) is (adapter is ChatCloudflareGemma)
    for answers in (
        llm.batch_queue(["busy", "one"], return_exceptions=True),
        await llm.abatch_queue(["busy", "one"], return_exceptions=True),
    ):
        assert isinstance(answers[0], CapacityExceeded)
        assert text(answers[1]) == "You said: one"
    sent = len(emulator.requests)
    with pytest.raises(InvalidRequest, match="temperature must be"):
        llm.batch_queue(["one"], temperature=9)
    with pytest.raises(GemmaError):
        await llm.abatch_queue([])
    assert len(emulator.requests) == sent


def test_usage_is_told(emulator: Emulator) -> None:
    """LangChain's usage metadata and price are those of an ordinary call."""
    (message,) = model(ChatCloudflareGemma, emulator).batch_queue(["one"])
    assert message.usage_metadata["total_tokens"] > 0
    assert message.response_metadata["total_cost"] > 0
