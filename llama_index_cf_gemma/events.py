"""LlamaIndex's decorators for LLM calls (events, callbacks, rate limiter), applied to the calls that somebody observes.

Core makes an event of each piece of a stream, with a copy of the list of messages, whether or not anybody listens: a
third of what a stream costs, and more than half of it in a long conversation. A call without an observer runs without.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeVar, cast

from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms import callbacks
from llama_index_instrumentation.event_handlers import NullEventHandler

if TYPE_CHECKING:
    from collections.abc import Callable

Method = TypeVar("Method", bound="Callable[..., Any]")


def on_chat(method: Method) -> Method:
    """A method whose first argument is the messages, observed as one chat."""
    return _while_observed(method, cast("Any", callbacks).llm_chat_callback()(method))


def on_completion(method: Method) -> Method:
    """A method whose first argument is the prompt, observed as one completion."""
    return _while_observed(method, cast("Any", callbacks).llm_completion_callback()(method))


def _while_observed(method: Method, observed: Callable[..., Any]) -> Method:
    """`method`, or `observed` where the call has an observer or a rate limiter when it begins."""

    async def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await (observed if _has_observer(self) else method)(self, *args, **kwargs)

    def call_blocking(self: Any, *args: Any, **kwargs: Any) -> Any:
        return (observed if _has_observer(self) else method)(self, *args, **kwargs)

    wrapped: Any = functools.wraps(method)(call if inspect.iscoroutinefunction(method) else call_blocking)
    del wrapped.__wrapped__  # core sets it to True on methods that it has decorated; `inspect` would follow it
    return wrapped


def _has_observer(llm: Any) -> bool:
    manager = llm.callback_manager
    if llm.rate_limiter is not None or not isinstance(manager, CallbackManager) or manager.handlers:
        return True
    dispatcher = callbacks.dispatcher
    while dispatcher is not None:
        if any(not isinstance(handler, NullEventHandler) for handler in dispatcher.event_handlers):
            return True
        dispatcher = dispatcher.parent if dispatcher.propagate else None
    return False
