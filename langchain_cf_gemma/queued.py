"""Many prompts at once through the service's asynchronous queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from cf_gemma import QUEUE_TIMEOUT
from langchain_cf_gemma.arguments import reading
from langchain_cf_gemma.chunks import to_result
from langchain_cf_gemma.errors import GemmaError, as_langchain
from langchain_cf_gemma.fields import ConfiguredGemma
from langchain_cf_gemma.messages import to_wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from langchain_core.language_models import LanguageModelInput
    from langchain_core.messages import AIMessage

    from cf_gemma import Completion, Options


class QueuedGemma(ConfiguredGemma):
    """The part of the model that is about the queue."""

    def batch_queue(
        self,
        inputs: Sequence[LanguageModelInput],
        *,
        stop: list[str] | None = None,
        timeout: float | None = QUEUE_TIMEOUT,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage | GemmaError]:
        """The answers to many inputs, in their order, once the service's queue has them: typically within minutes.

        Unlike `batch`, which sends as many requests as there are inputs, it hands over up to 1,000 inputs in one.
        Callbacks aren't called. To hand over in one process and collect in another, use `client.batch`.

        Args:
            inputs: What `invoke` takes.
            stop: Texts at which to stop.
            timeout: Seconds to wait, an hour by default; None for as long as it takes.
            return_exceptions: Whether an input that failed has its error in the list, instead of raising it.
            **kwargs: Any parameter of a call; it holds for all inputs.

        Raises:
            GemmaError: The batch as a whole failed; or one of its inputs did, with `return_exceptions` unset.
        """
        requests, options = self._requests(inputs, stop, kwargs)
        with as_langchain():
            queue = self.client.batch
            results = queue.wait(queue.submit(requests, **options), timeout=timeout)
        return _messages((result.outcome for result in results), options, return_exceptions=return_exceptions)

    async def abatch_queue(
        self,
        inputs: Sequence[LanguageModelInput],
        *,
        stop: list[str] | None = None,
        timeout: float | None = QUEUE_TIMEOUT,  # noqa: ASYNC109 - the twin's parameter
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage | GemmaError]:
        """The same, asynchronous."""
        requests, options = self._requests(inputs, stop, kwargs)
        with as_langchain():
            queue = self.async_client.batch
            results = await queue.wait(await queue.submit(requests, **options), timeout=timeout)
        return _messages((result.outcome for result in results), options, return_exceptions=return_exceptions)

    def _requests(
        self, inputs: Sequence[LanguageModelInput], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> tuple[list[list[dict[str, Any]]], Options]:
        with as_langchain():
            requests = [to_wire(self._convert_input(one).to_messages()) for one in inputs]
        return requests, self._options(stop, kwargs)


def _messages(
    outcomes: Iterable[Completion | Exception], options: Options, *, return_exceptions: bool
) -> list[AIMessage | GemmaError]:
    answers: list[AIMessage | GemmaError] = []
    for outcome in outcomes:
        try:
            answers.append(_message(outcome, options))
        except GemmaError as error:
            if not return_exceptions:
                raise
            answers.append(error)
    return answers


def _message(outcome: Completion | Exception, options: Options) -> AIMessage:
    if isinstance(outcome, Exception):
        with as_langchain():
            raise outcome
    return cast("AIMessage", to_result(outcome, **reading(options)).generations[0].message)
