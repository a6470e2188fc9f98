"""Cloudflare's error codes, once for the client and the emulator: what each means, and how the service says it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from cf_gemma.errors import (
    ApiError,
    AuthenticationError,
    BadRequest,
    CapacityExceeded,
    Conflict,
    ContextOverflow,
    NotFound,
    PermissionDenied,
    QuotaExhausted,
    RateLimited,
    RequestTooLarge,
    ServerError,
    ServiceTimeout,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class Code(NamedTuple):
    """One code."""

    status: int
    """The HTTP status that it comes with; some come with others, too."""
    error: type[ApiError] | None
    """The class that it is raised as; None leaves it to the status."""
    message: str
    envelope: Literal["service", "edge", "gateway"] = "service"
    """Who refuses: the model's service, the edge in front of it, or AI Gateway. Each has a JSON of its own."""


OVERFLOW: Final = (
    "The estimated number of input and maximum output tokens ({tokens}) "
    "exceeded this model context window limit ({window})."
)

CODES: Final[Mapping[int, Code]] = MappingProxyType(
    {
        2001: Code(400, BadRequest, "Please configure AI Gateway in the Cloudflare dashboard", "gateway"),
        2003: Code(429, RateLimited, "Rate limited", "gateway"),
        2009: Code(401, AuthenticationError, "Unauthorized", "gateway"),
        2016: Code(424, BadRequest, "Prompt blocked due to security configurations", "gateway"),
        2017: Code(424, BadRequest, "Response blocked due to security configurations", "gateway"),
        2021: Code(402, QuotaExhausted, "Insufficient AI Gateway credits", "gateway"),
        2045: Code(429, QuotaExhausted, "Spend limit reached", "gateway"),
        3003: Code(400, BadRequest, "Request is missing headers or body: body"),
        3006: Code(413, RequestTooLarge, "Request is too large"),
        3007: Code(408, ServiceTimeout, "Request timeout"),
        3008: Code(408, ServiceTimeout, "Request was aborted"),
        3010: Code(413, ContextOverflow, OVERFLOW.format(tokens=300000, window=256000)),
        3023: Code(403, PermissionDenied, "Service unavailable for account"),
        3030: Code(400, BadRequest, "Max context reached 300000 tokens but model supports only 256000"),
        3036: Code(429, QuotaExhausted, "You have used up your daily free allocation of 10,000 neurons"),
        3039: Code(400, BadRequest, "Finetune is missing required files"),
        3040: Code(429, CapacityExceeded, "Capacity temporarily exceeded, please try again."),
        3041: Code(403, PermissionDenied, "Account is not allowed to access this private model"),
        3042: Code(404, NotFound, "The model name is invalid"),
        3046: Code(408, ServiceTimeout, "Request timeout"),
        3050: Code(503, ServerError, "Max retries exhausted"),
        4006: Code(
            429,
            QuotaExhausted,
            "you have used up your daily free allocation of 10,000 neurons, please upgrade to Cloudflare's Workers "
            "Paid plan if you would like to continue usage.",
        ),
        5004: Code(400, BadRequest, "Invalid data type for base64 input"),
        5005: Code(405, BadRequest, "LoRA is not supported for this model"),
        5006: Code(
            400,
            BadRequest,
            "oneOf at '/' not met, 0 matches: required properties at '/' are 'prompt', "
            "required properties at '/' are 'messages'",
        ),
        5007: Code(400, NotFound, "No such model or task"),
        5012: Code(422, BadRequest, "The upstream model could not validate the input"),
        5016: Code(403, PermissionDenied, "Model agreement has not been accepted"),
        5018: Code(403, PermissionDenied, "Account is not allowed to access this private model"),
        5019: Code(405, BadRequest, "This SDK version is deprecated"),
        5021: Code(413, ContextOverflow, OVERFLOW.format(tokens=300000, window=256000)),
        5023: Code(400, BadRequest, "JSON Schema mode is not supported with stream mode."),
        5025: Code(400, BadRequest, "JSON Schema mode is not supported by this model"),
        5028: Code(400, BadRequest, "This model has been deprecated"),
        5035: Code(403, PermissionDenied, "Model is not available on the Workers Free plan"),
        6003: Code(400, BadRequest, "Invalid request headers", "edge"),
        7000: Code(404, NotFound, "No route for that URI", "edge"),
        7003: Code(
            404, NotFound, "Could not route to the path given, perhaps your object identifier is invalid?", "edge"
        ),
        7009: Code(502, ServerError, "Upstream service unavailable", "edge"),
        8001: Code(400, BadRequest, "Invalid input"),
        8006: Code(400, BadRequest, "Invalid data for request - reason unknown"),
        9109: Code(403, None, "Unauthorized to access requested resource", "edge"),
        10000: Code(401, None, "Authentication error", "edge"),
        10001: Code(400, BadRequest, "Unable to authenticate request", "edge"),
        10405: Code(405, BadRequest, "Method not allowed for this authentication scheme", "edge"),
    }
)
"""Cloudflare's codes. 9109 and 10000 come with 401 and with 403, and mean what the status means.

Sources: the Workers AI and AI Gateway error pages, Cloudflare's own client code (cloudflare/ai), and replies published
by users (2025-10 to 2026-11). Where only a code is published (3042, 5016, 2009…) the words are the emulator's: never
match on words.
"""

STATUSES: Final[Mapping[int, type[ApiError]]] = MappingProxyType(
    {
        400: BadRequest,
        401: AuthenticationError,
        403: PermissionDenied,
        404: NotFound,
        405: BadRequest,
        408: ServiceTimeout,
        409: Conflict,
        413: RequestTooLarge,
        422: BadRequest,
        429: RateLimited,
    }
)
"""What a status means where no code says more."""


def error_class(status: int | None, code: int | None) -> type[ApiError]:
    """The class for a Cloudflare code, else for an HTTP status; plain ApiError when neither is known.

    An error within a good answer has no status of its own: there, a code like 500 stands for one.
    """
    known = CODES.get(code or 0)
    if known is not None and known.error is not None:
        return known.error
    if (status is None or status < 300) and code is not None and 400 <= code < 600:
        status = code
    if status is not None and status >= 500:
        return ServerError
    return STATUSES.get(status or 0, ApiError)
