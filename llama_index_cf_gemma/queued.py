"""Many chats at once through the service's asynchronous queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cf_gemma import QUEUE_TIMEOUT, GemmaError
from llama_index_cf_gemma.messages import to_wire
from llama_index_cf_gemma.responses import chat_response
from llama_index_cf_gemma.settings import GemmaSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from llama_index.core.base.llms.types import ChatMessage, ChatResponse

    from cf_gemma import Completion


class QueuedGemma(GemmaSettings):
    """The part of the LLM that is about the queue."""

    def batch_queue(
        self,
        inputs: Sequence[str | Sequence[ChatMessage]],
        *,
        timeout: float | None = QUEUE_TIMEOUT,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[ChatResponse | GemmaError]:
        """The answers to many chats, in their order, once the service's queue has them: typically within minutes.

        Up to 1,000 chats go out in one request. Observers aren't told of it.

        Args:
            inputs: Of each a prompt, or the messages that `chat` takes.
            timeout: Seconds to wait, an hour by default; None for as long as it takes.
            return_exceptions: Whether a chat that failed has its error in the list, instead of raising it.
            **kwargs: Any parameter of a call; it holds for all chats.

        Raises:
            GemmaError: The batch as a whole failed; or one of its chats did, with `return_exceptions` unset.
        """
        queue = self.client.batch
        options = self._options(kwargs)
        results = queue.wait(queue.submit(_requests(inputs), **options), timeout=timeout)
        return _responses((result.outcome for result in results), options, return_exceptions=return_exceptions)

    async def abatch_queue(
        self,
        inputs: Sequence[str | Sequence[ChatMessage]],
        *,
        timeout: float | None = QUEUE_TIMEOUT,  # noqa: ASYNC109 - the twin's parameter
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[ChatResponse | GemmaError]:
        """The same, asynchronous."""
        queue = self.async_client.batch
        options = self._options(kwargs)
        results = await queue.wait(await queue.submit(_requests(inputs), **options), timeout=timeout)
        return _responses((result.outcome for result in results), options, return_exceptions=return_exceptions)


def _requests(inputs: Sequence[str | Sequence[ChatMessage]]) -> list[str | list[dict[str, Any]]]:
    return [one if isinstance(one, str) else to_wire(one) for one in inputs]


def _responses(
    outcomes: Iterable[Completion | GemmaError], options: dict[str, Any], *, return_exceptions: bool
) -> list[ChatResponse | GemmaError]:
    single_call = options.get("parallel_tool_calls") is False
    answers: list[ChatResponse | GemmaError] = []
    for outcome in outcomes:
        if not isinstance(outcome, GemmaError):
            answers.append(chat_response(outcome, single_call=single_call))
        elif return_exceptions:
            answers.append(outcome)
        else:
            raise outcome
    return answers
