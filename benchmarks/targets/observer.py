"""An event handler of LlamaIndex that counts the responses of streams."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events.llm import LLMChatInProgressEvent
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Counter(BaseEventHandler):
    """Counts."""

    seen: int = 0

    @override
    def handle(self, event: Any, **kwargs: Any) -> None:
        self.seen += isinstance(event, LLMChatInProgressEvent)


@contextmanager
def observing() -> Iterator[Callable[[], int]]:
    """Attaches one to LlamaIndex's root for a while; gives what it has seen."""
    handler = Counter()
    root = get_dispatcher()
    root.add_event_handler(handler)
    yield lambda: handler.seen
    root.event_handlers = [other for other in root.event_handlers if other is not handler]
