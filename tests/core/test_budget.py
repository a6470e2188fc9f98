from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from typing import TYPE_CHECKING, Any

import pytest

from cf_gemma import AsyncGemma, Budget, Gemma, Spent
from cf_gemma.emulator import CUT, Emulator, Fault, Reply, ScriptedEngine
from cf_gemma.errors import BudgetExceeded, ConfigurationError, GemmaError
from langchain_cf_gemma import ChatCloudflareGemma
from langchain_cf_gemma import errors as langchain_errors
from llama_index_cf_gemma import CloudflareGemma

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

QUESTION = "Why is the sky blue?"
MODEL = "@cf/google/gemma-4-26b-a4b-it"


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """One that always says the same."""
    engine = ScriptedEngine([Reply("Because of Rayleigh.")], repeat=True)
    with Emulator(engine, models=(MODEL, "@cf/google/other")) as server:
        yield server


def settings(emulator: Emulator, **more: Any) -> dict[str, Any]:
    """Where to ask, and nothing asked for twice."""
    place = {"account_id": emulator.account_id, "api_token": emulator.api_token, "base_url": emulator.base_url}
    return {**place, "max_retries": 0, **more}


def ask(kind: str, place: dict[str, Any]) -> None:
    """One question, in one of the ways that there are."""
    match kind:
        case "chat":
            Gemma(**place).chat(QUESTION)
        case "stream":
            list(Gemma(**place).stream(QUESTION))
        case "async chat":
            asyncio.run(AsyncGemma(**place).chat(QUESTION))
        case "async stream":
            asyncio.run(_drained(AsyncGemma(**place)))
        case "LangChain":
            ChatCloudflareGemma(**place).invoke(QUESTION)
        case "LangChain stream":
            list(ChatCloudflareGemma(**place).stream(QUESTION))
        case "LlamaIndex":
            CloudflareGemma(**place).complete(QUESTION)
        case _:
            list(CloudflareGemma(**place).stream_complete(QUESTION))


async def _drained(gemma: AsyncGemma) -> None:
    async for _ in gemma.stream(QUESTION):
        pass


KINDS = [f"{kind}{stream}" for kind in ("LangChain", "LlamaIndex") for stream in ("", " stream")]
KINDS += ["chat", "stream", "async chat", "async stream"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_spent_budget_stops_the_next_call(emulator: Emulator, kind: str) -> None:
    """Each way to ask is counted by what the service reports, and refused, unsent, once the budget is spent."""
    budget = Budget(tokens=15)
    ask(kind, settings(emulator, budget=budget))
    assert budget.spent.calls == 1
    assert budget.by_model == {MODEL: budget.spent}
    assert budget.spent.tokens > 5
    with pytest.raises(BudgetExceeded, match=r"the budget of 15 tokens would be passed: .* spent"):
        ask(kind, settings(emulator, budget=budget))
    assert len(emulator.requests) == 1


def test_a_limit_of_the_caller_counts(emulator: Emulator) -> None:
    """With max_tokens set, a call that might pass the budget is refused even if nothing is spent yet."""
    place = settings(emulator, budget=Budget(usd=0.0001))
    with pytest.raises(BudgetExceeded, match=r"this call may cost \$0.0003"):
        Gemma(**place, max_tokens=1_000).chat(QUESTION)
    with pytest.raises(langchain_errors.BudgetExceeded):
        ChatCloudflareGemma(**place).invoke(QUESTION, max_tokens=1_000)
    assert emulator.requests == []
    Gemma(**place, max_tokens=100).chat(QUESTION)


@pytest.mark.parametrize(
    "over", [{"max_completion_tokens": 10}, {"max_tokens": 10}, {"extra_body": {"max_tokens": 10}}]
)
@pytest.mark.parametrize("own", [{"max_tokens": 5_000}, {"max_completion_tokens": 5_000}])
def test_a_limit_of_the_call_counts_instead(emulator: Emulator, own: dict[str, Any], over: dict[str, Any]) -> None:
    """What is set aside is what goes out, under whichever of its names it was given."""
    gemma = Gemma(**settings(emulator, budget=Budget(tokens=1_000)), **own)
    with pytest.raises(BudgetExceeded):
        gemma.chat(QUESTION)
    gemma.chat(QUESTION, **over)
    assert len(emulator.requests) == 1


def test_models_share_one(emulator: Emulator) -> None:
    """The sum is that of all models of both frameworks, by model, by run and by thread."""
    budget = Budget(usd=1)
    place = settings(emulator, budget=budget)
    chat, llm = ChatCloudflareGemma(**place), CloudflareGemma(**place, model="@cf/google/other")
    with budget.run("first", thread="t") as first:
        chat.invoke(QUESTION)
        llm.complete(QUESTION)
    with budget.run(thread="t") as second:
        asyncio.run(chat.ainvoke(QUESTION))
    chat.invoke(QUESTION)
    assert first.spent.calls == 2
    assert second.spent.calls == 1
    assert set(first.by_model) == {MODEL, "@cf/google/other"}
    assert budget.by_run == {"first": first.spent}
    assert budget.by_thread == {"t": first.spent + second.spent}
    assert budget.spent == sum(budget.by_model.values(), Spent())
    assert budget.spent.calls == 4


def test_what_fails_is_counted_too() -> None:
    """A cut stream costs what it reported, and a refusal nothing; what was set aside is free again."""
    budget = Budget(tokens=10_000)
    with Emulator([Reply("one two three four", error=CUT), Fault(400, 5006), Reply("five")]) as emulator:
        gemma = Gemma(**settings(emulator, budget=budget), max_tokens=4_000)
        with pytest.raises(GemmaError) as cut:
            gemma.chat(QUESTION)
        reported = cut.value.partial.usage if cut.value.partial else None
        assert reported is not None
        assert budget.spent.tokens == reported.total_tokens > 0
        with pytest.raises(GemmaError):
            gemma.chat(QUESTION)
        assert budget.spent.calls == 1
        gemma.chat(QUESTION)
    assert budget.spent.calls == 2


def test_calls_at_once_don_t_pass_it_together(emulator: Emulator) -> None:
    """What one call may cost is set aside while it runs."""
    budget, refused = Budget(tokens=1_000), []

    def call() -> None:
        try:
            Gemma(**settings(emulator, budget=budget), max_tokens=300).chat(QUESTION)
        except BudgetExceeded as error:
            refused.append(error)

    first = Gemma(**settings(emulator, budget=budget), max_tokens=900).stream(QUESTION)
    next(first)
    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 3
    assert "in calls that run" in str(refused[0])
    first.close()
    call()
    assert len(refused) == 3


@pytest.mark.parametrize("limits", [{"usd": 0}, {"tokens": -1}, {"usd": True}])
def test_a_limit_is_above_nothing(limits: dict[str, Any]) -> None:
    """A limit that no call could meet is a mistake."""
    with pytest.raises(ConfigurationError, match="budget"):
        Budget(**limits)


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy])
def test_copies_share_it(emulator: Emulator, clone: Callable[[Any], Any]) -> None:
    """A copied model counts for the same budget; one that is pickled has none, since it may go to another process."""
    budget = Budget(usd=1)
    for model in (ChatCloudflareGemma, CloudflareGemma):
        assert clone(model(**settings(emulator, budget=budget))).budget is budget
    with pytest.raises(TypeError, match="within one process"):
        pickle.dumps(budget)
