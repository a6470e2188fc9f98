"""What the asynchronous queue says: a request id, a state, or the answers of a part, matched to its items. Pure.

No capture of the queue has been published. The shapes are those of Cloudflare's documentation; where that is silent,
whatever can be understood is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from cf_gemma.errors import GemmaError, ProtocolError
from cf_gemma.model.json_object import as_object
from cf_gemma.queue.handle import BatchPart, BatchResult
from cf_gemma.response.answer import AnswerBuilder
from cf_gemma.response.replies import api_error, is_error

if TYPE_CHECKING:
    from cf_gemma.model.completion import Completion

_OF_THE_ITEM: Final = ("id", "success", "external_reference", "errors", "error", "messages")
_FAILED: Final = ("failed", "error", "errored", "expired", "canceled", "cancelled")
"""States in which nothing more will come. None is documented; waiting for ever would be worse than a guess."""


class Answered(NamedTuple):
    """What the queue says of a part."""

    state: str
    """`done`, `queued`, `running`, or another word of the service's."""
    responses: list[dict[str, Any]]
    """Of a part that is done, in no particular order."""


def accepted(reply: dict[str, Any]) -> str:
    """The request id of a part that was handed over. Raises ProtocolError when there is none."""
    request_id = _result(reply).get("request_id")
    if not isinstance(request_id, str) or not request_id:
        raise ProtocolError("the queue accepted the batch without a request_id: is this model one that queues?")
    return request_id


def answered(reply: dict[str, Any]) -> Answered:
    """How far a part is. Raises ProtocolError for what the queue doesn't say, or a part that failed as a whole."""
    result = _result(reply)
    responses = result.get("responses")
    if isinstance(responses, list):
        return Answered("done", [as_object(item) or {} for item in cast("list[object]", responses)])
    state = result.get("status")
    if not isinstance(state, str) or not state:
        raise ProtocolError("the queue's answer has neither responses nor a status")
    if state.lower() in _FAILED:
        raise api_error(result, {}) if is_error(result) else ProtocolError(f"the queue gave the batch up: {state}")
    return Answered(state, [])


def results(part: BatchPart, responses: list[dict[str, Any]]) -> list[BatchResult]:
    """The result of every item of a part, in the items' order; one that the queue left out has an error.

    Raises ProtocolError for a response that belongs to no item: the part is another one than the handle says.
    """
    outcomes: dict[str, Completion | GemmaError] = {}
    for place, response in enumerate(responses):
        outcomes.setdefault(_reference(part, response, place), _outcome(response))
    if part.references is None:
        return [BatchResult(reference, outcome) for reference, outcome in sorted(outcomes.items(), key=_by_number)]
    for reference in part.references:
        outcomes.setdefault(reference, ProtocolError(f"the queue gave no result for {reference!r}"))
    if len(outcomes) > len(part.references):
        raise ProtocolError(f"request {part.request_id} has results that belong to no item of this batch")
    return [BatchResult(reference, outcomes[reference]) for reference in part.references]


def _reference(part: BatchPart, response: dict[str, Any], place: int) -> str:
    """By the external reference, else by the number that the queue counts items with."""
    reference, number = response.get("external_reference"), response.get("id", place)
    if reference is not None:
        return str(reference)
    if part.references is not None and isinstance(number, int) and 0 <= number < len(part.references):
        return part.references[number]
    return str(number)


def _outcome(response: dict[str, Any]) -> Completion | GemmaError:
    if is_error(response):
        return api_error(response, {})
    fields = {name: value for name, value in response.items() if name not in _OF_THE_ITEM}
    # The answer is in `result`, `result.result`, or right here as a `response`.
    for name in ("result", "result", "response"):
        fields = as_object(fields.get(name)) or fields
        if is_error(fields):
            return api_error(fields, {})
    if not (fields.get("choices") or fields.keys() & {"response", "tool_calls"}):
        return ProtocolError("the queue's result has neither choices nor a response")
    answer = AnswerBuilder()
    try:
        answer.add(fields, [])
    except ProtocolError as error:
        return error
    return answer.completion()


def _result(reply: dict[str, Any]) -> dict[str, Any]:
    return as_object(reply.get("result")) or reply


def _by_number(entry: tuple[str, object]) -> tuple[int, str]:
    reference = entry[0]
    return (int(reference) if reference.isdecimal() else 0, reference)
