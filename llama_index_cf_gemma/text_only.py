"""Calls of which LlamaIndex takes nothing but the text: an answer that thinking left without one is an error there.

A query engine would say "Empty Response", an evaluator 0.0, and a reranker would drop every node.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Generator

TEXT_ONLY: Final = ContextVar("text_only", default=False)
"""Whether the call that is being made is one of them."""


@contextmanager
def text_only() -> Generator[None]:
    """Chats that are begun in this context raise ReasoningBudgetExceeded where thinking left no text."""
    token = TEXT_ONLY.set(True)
    try:
        yield
    finally:
        TEXT_ONLY.reset(token)
