"""What a whole response says: a JSON object, and the answer in it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cf_gemma.errors import ProtocolError, ResponseTooLarge
from cf_gemma.jsonobject import HEAVIEST, TooHeavy, as_object, parsed
from cf_gemma.response.headers import request_id
from cf_gemma.response.refusals import api_error, excerpt, is_error, lenient

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cf_gemma.completion import Delta
    from cf_gemma.response.answer import AnswerBuilder


def deltas(
    answer: AnswerBuilder, status: int, headers: Mapping[str, str], body: bytes, heaviest: int = HEAVIEST
) -> Iterator[Delta]:
    """Reads a whole response body, bare or in Cloudflare's envelope, into `answer`; its deltas.

    Raises ApiError for every shape in which the service says no, and ProtocolError for what isn't an answer at all.
    """
    found = checked(status, headers, body, heaviest)
    result = as_object(found.get("result", found))
    if result is None or not (result.get("choices") or result.keys() & {"response", "tool_calls"}):
        raise ProtocolError(
            f"the answer has neither choices nor a response: {excerpt(body)}",
            status=status,
            request_id=request_id(headers),
        )
    said: list[Delta] = []
    try:
        answer.add(result, said)
        answer.close(said)
    except ProtocolError as error:
        error.partial = answer.completion(ended=False) if answer.begun else None
        raise
    yield from said


def checked(status: int, headers: Mapping[str, str], body: bytes, heaviest: int = HEAVIEST) -> dict[str, Any]:
    """The JSON object of a response. Raises ApiError when it says no, and ProtocolError when it isn't one."""
    if status >= 300:
        raise api_error(lenient(body), headers, status)
    found = decoded(body, headers, heaviest)
    if is_error(found):
        raise api_error(found, headers, status)
    return found


def decoded(data: bytes, headers: Mapping[str, str], heaviest: int = HEAVIEST) -> dict[str, Any]:
    """A JSON object, or ProtocolError with an excerpt. Bytes that aren't UTF-8 become U+FFFD."""
    try:
        payload = parsed(data, heaviest)
    except TooHeavy as error:
        raise ResponseTooLarge(f"the answer has too many values: {error}", request_id=request_id(headers)) from None
    except ValueError:
        try:
            payload = parsed(data.decode(errors="replace"), heaviest)
        except ValueError:
            payload = None
    if (found := as_object(payload)) is not None:
        return found
    kind = headers.get("content-type") or "no content type"
    raise ProtocolError(f"not a JSON object ({kind}): {excerpt(data)}", request_id=request_id(headers))
