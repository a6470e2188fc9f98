"""LlamaIndex's decorators for LLM calls (events, callbacks, rate limiter), without the loss of the method's type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from llama_index.core.llms.callbacks import (
    llm_chat_callback,  # pyright: ignore[reportUnknownVariableType] - core's decorators are untyped
    llm_completion_callback,  # pyright: ignore[reportUnknownVariableType] - the same
)

if TYPE_CHECKING:
    from collections.abc import Callable

Method = TypeVar("Method", bound="Callable[..., Any]")


def on_chat(method: Method) -> Method:
    """A method whose first argument is the messages, told to observers as one chat."""
    return cast("Method", llm_chat_callback()(method))


def on_completion(method: Method) -> Method:
    """A method whose first argument is the prompt, told to observers as one completion."""
    return cast("Method", llm_completion_callback()(method))
