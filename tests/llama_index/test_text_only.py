"""Where LlamaIndex takes the text alone, an answer that thinking left without one is an error."""

from typing import Any

import pytest
from llama_index.core.prompts import PromptTemplate

from cf_gemma.emulator import Reply
from cf_gemma.errors import ReasoningBudgetExceeded

from .conftest import Call, Connect

PROMPT = PromptTemplate("What is {what}?")


@pytest.mark.parametrize("method", ["predict", "stream"])
def test_no_text_is_an_error(model: Connect, call: Call, method: str) -> None:
    """`predict` and `stream`, as query engines, evaluators and rerankers call them, never give an empty text."""
    llm, _ = model([Reply("Four.", reasoning="Let me think about it for long.")], max_tokens=3)
    with pytest.raises(ReasoningBudgetExceeded, match="raise max_tokens"):
        consumed(call(llm, method, PROMPT, what="2 + 2"))


@pytest.mark.parametrize("method", ["predict", "stream"])
def test_text_comes_as_ever(model: Connect, call: Call, method: str) -> None:
    """With a text, it is what it was; and chats show their reasoning as before."""
    llm, _ = model([Reply("Four.", reasoning="Hm.")] * 2)
    assert consumed(call(llm, method, PROMPT, what="2 + 2")) == "Four."
    assert call(llm, "complete", "2 + 2").text == "Four."


def consumed(answer: Any) -> str:
    """A text, or the pieces of one."""
    return answer if isinstance(answer, str) else "".join(answer)


@pytest.mark.parametrize(
    ("settings", "tokens"),
    [
        ({}, 16_384),
        ({"thinking": False}, 4_096),
        ({"max_tokens": 7}, 7),
        ({"max_tokens": 7, "additional_kwargs": {"max_tokens": 8}}, 8),
        ({"additional_kwargs": {"max_completion_tokens": 9}}, 9),
        ({"extra_body": {"max_tokens": 10}}, 10),
        ({"additional_kwargs": {"thinking": False}}, 4_096),
        ({"context_window": 1_000}, 999),
    ],
)
def test_the_output_size_is_what_is_sent(model: Connect, settings: dict[str, Any], tokens: int) -> None:
    """Prompt helpers go by `num_output`: it is the limit that goes out, and less than the window."""
    llm, _ = model([Reply("x")], **settings)
    assert llm.metadata.num_output == tokens
