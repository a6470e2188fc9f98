"""What a whole response says: a JSON object, and the answer in it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cf_gemma.errors import ProtocolError, ResponseTooLarge
from cf_gemma.model.json_object import HEAVIEST, TooHeavy, as_object, parsed
from cf_gemma.response.headers import request_id
from cf_gemma.response.refusals import api_error, excerpt, is_error, lenient

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cf_gemma.model.completion import Delta
    from cf_gemma.response.answer import AnswerBuilder


def deltas(
    answer: AnswerBuilder, status: int, headers: Mapping[str, str], body: bytes, heaviest: int = HEAVIEST
) -> Iterator[Delta]:
    """Reads a whole response body, bare or in Cloudflare's envelope, into `answer`; its deltas.

    Raises ApiError for every shape in which the service says no, and ProtocolError for what isn't an answer at all.
    """
    payload = checked(status, headers, body, heaviest)
    result = as_object(payload.get("result", payload))
    if result is None or not (result.get("choices") or result.keys() & {"response", "tool_calls"}):
        raise ProtocolError(
            f"the answer has neither choices nor a response: {excerpt(body)}",
            status=status,
            request_id=request_id(headers),
        )
    deltas: list[Delta] = []
    try:
        answer.add(result, deltas)
        answer.close(deltas)
    except ProtocolError as error:
        error.partial = answer.completion(ended=False) if answer.begun else None
        raise
    yield from deltas


def checked(status: int, headers: Mapping[str, str], body: bytes, heaviest: int = HEAVIEST) -> dict[str, Any]:
    """The JSON object of a response. Raises ApiError for a refusal, and ProtocolError for anything else."""
    if status >= 300:
        raise api_error(lenient(body), headers, status)
    payload = decoded(body, headers, heaviest)
    if is_error(payload):
        raise api_error(payload, headers, status)
    return payload


def decoded(data: bytes, headers: Mapping[str, str], heaviest: int = HEAVIEST) -> dict[str, Any]:
    """A JSON object, or ProtocolError with an excerpt. Bytes that aren't UTF-8 become U+FFFD."""
    try:
        value = parsed(data, heaviest)
    except TooHeavy as error:
        raise ResponseTooLarge(f"the answer has too many values: {error}", request_id=request_id(headers)) from None
    except ValueError:
        try:
            value = parsed(data.decode(errors="replace"), heaviest)
        except ValueError:
            value = None
    if (payload := as_object(value)) is not None:
        return payload
    kind = headers.get("content-type") or "no content type"
    raise ProtocolError(f"not a JSON object ({kind}): {excerpt(data)}", request_id=request_id(headers))
