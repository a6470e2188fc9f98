"""Everything the service can refuse with: code, status, words, and the envelope it comes in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Self, cast, get_args

from cf_gemma.emulator.envelope import dumps

if TYPE_CHECKING:
    from collections.abc import Mapping

Envelope = Literal["service", "edge", "gateway", "openai", "html", "text", "cut"]
"""Who answers, and so in which shape.

- `service`: the model's own refusals, `{"errors": [...], "success": false, "result": {}, "messages": []}`;
- `edge`: authentication and routing, the same with `"result": null` and another order;
- `gateway`: AI Gateway, with an `error` list and its own names;
- `openai`: `{"error": {...}}`, what `/v1` answers here, as an OpenAI-shaped server would;
- `html`, `text`: a proxy's page where JSON belongs;
- `cut`: no refusal at all, the connection is closed in mid-answer.
"""


@dataclass(frozen=True, slots=True)
class Fault:
    """A refusal, such as `Fault(429, 3040)`: what a known code says and how it is wrapped is filled in.

    Give it to a scripted engine in the place of a reply, or as `Reply(error=...)` to break off an answer.

    Raises:
        TypeError: the status, the code or `retry_after` isn't a number.
        ValueError: the status isn't one of a refusal, the envelope isn't known, or `retry_after` is negative.
    """

    status: int
    """400 to 599; a connection that is cut may have any."""
    code: int | None = None
    message: str = ""
    """The words without the service's `AiError` dressing; "" takes those of the code."""
    envelope: Envelope | None = None
    """None takes that of the code, else `service` (`html` for a 5xx without a code)."""
    retry_after: float | None = None
    """Seconds for a `Retry-After` header, which the service itself was never seen to send."""

    def __post_init__(self) -> None:
        self._check()
        known = FAULTS.get(self.code or 0)
        if not self.message:
            object.__setattr__(self, "message", known.message if known else WORDS.get(self.status, "Unknown error"))
        if self.envelope is None:
            codeless = "html" if self.code is None and self.status > 500 else "service"
            object.__setattr__(self, "envelope", known.envelope if known else codeless)

    def _check(self) -> None:
        status, code, wait = cast("tuple[object, ...]", (self.status, self.code, self.retry_after))
        if not (isinstance(status, int) and isinstance(code, int | None) and isinstance(wait, int | float | None)):
            raise TypeError(f"the settings of a Fault are numbers, such as Fault(429, 3040); not {status!r}, {code!r}")
        if self.envelope not in (None, *get_args(Envelope)):
            raise ValueError(f"envelope must be one of {', '.join(get_args(Envelope))}; not {self.envelope!r}")
        if not 400 <= self.status <= 599 and self.envelope != "cut":
            also = "Fault.of takes Cloudflare's codes, and a closed connection is CUT"
            raise ValueError(f"a Fault's status must be 400 to 599 (got {self.status}); {also}")
        if self.retry_after is not None and not self.retry_after >= 0:
            raise ValueError(f"retry_after must be 0 or more (got {self.retry_after})")

    @classmethod
    def of(cls, code: int, message: str = "") -> Self:
        """The fault of a known code, with its usual status. Raises KeyError for an unknown one."""
        return cls(FAULTS[code].status, code, message)

    @classmethod
    def overflow(cls, tokens: int, window: int) -> Self:
        """5021: so many tokens, prompt and answer together, don't fit this window."""
        return cls.of(5021, _OVERFLOW.format(tokens=tokens, window=window))

    @property
    def reached_model(self) -> bool:
        """Whether the answer bears a `cf-ai-req-id`: the edge refuses before there is one."""
        return self.envelope in ("service", "openai")

    def in_openai_shape(self) -> Fault:
        """The same refusal as an OpenAI-shaped server words it; proxies' pages stay as they are."""
        return self if self.envelope in ("html", "text", "cut") else replace(self, envelope="openai")

    def body(self, request_id: str) -> tuple[bytes, str]:
        """Response body and content type. `request_id` is the one of the `cf-ai-req-id` header."""
        if self.envelope == "html":
            title = f"{self.status} {self.message}"
            return (
                f"<!DOCTYPE html><html><head><title>{title}</title></head><body>{title}</body></html>".encode(),
                "text/html",
            )
        if self.envelope == "text":
            return f"error code: {self.code or self.status}".encode(), "text/plain"
        return dumps(self.to_dict(request_id)), "application/json"

    def to_dict(self, request_id: str) -> dict[str, Any]:
        """The JSON body, keys in the order of the wire; also the data of an in-stream error event."""
        code: dict[str, Any] = {} if self.code is None else {"code": self.code}
        match self.envelope:
            case "edge":
                return {"result": None, "success": False, "errors": [{**code, "message": self.message}], "messages": []}
            case "gateway":
                return {
                    "success": False,
                    "result": [],
                    "messages": [],
                    "error": [{**code, "message": self.message}],
                    "name": "AiGatewayError",
                    "httpCode": self.status,
                    "internalCode": self.code,
                }
            case "openai":
                kind = "server_error" if self.status >= 500 else "invalid_request_error"
                return {"error": {"message": self.message, "type": kind, "code": self.code or self.status}}
            case _:
                message = DRESS.get(self.code or 0, "AiError: AiError: {text} ({id})")
                error = {"message": message.format(text=self.message, id=request_id), **code}
                return {"errors": [error], "success": False, "result": {}, "messages": []}


class Refusal(Exception):
    """An engine, or a check, ends the call with a fault."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class Known(NamedTuple):
    """What is known of a code."""

    status: int
    message: str
    envelope: Envelope = "service"


DRESS: Final[Mapping[int, str]] = MappingProxyType(
    {
        5006: "AiError: Bad input: Error: {text}",
        5007: "AiError: No such model: {text} ({id})",
    }
)
"""How the service wraps its words; every other code comes as `AiError: AiError: <text> (<id>)`."""

WORDS: Final[Mapping[int, str]] = MappingProxyType(
    {
        400: "Bad request",
        401: "Authentication error",
        403: "Forbidden",
        404: "Not found",
        405: "Method not allowed",
        408: "Request timeout",
        413: "Request is too large",
        429: "Rate limited.",
        500: "Internal server error",
        502: "Bad gateway",
        503: "Service temporarily unavailable",
        504: "Gateway time-out",
        524: "A timeout occurred",
    }
)
"""For a status without a known code."""

_OVERFLOW: Final = (
    "The estimated number of input and maximum output tokens ({tokens}) "
    "exceeded this model context window limit ({window})."
)

FAULTS: Final[Mapping[int, Known]] = MappingProxyType(
    {
        2001: Known(400, "Please configure AI Gateway in the Cloudflare dashboard", "gateway"),
        2003: Known(429, "Rate limited", "gateway"),
        2009: Known(401, "Unauthorized", "gateway"),
        2016: Known(424, "Prompt blocked due to security configurations", "gateway"),
        2017: Known(424, "Response blocked due to security configurations", "gateway"),
        2021: Known(402, "Insufficient AI Gateway credits", "gateway"),
        2045: Known(429, "Spend limit reached", "gateway"),
        3003: Known(400, "Request is missing headers or body: body"),
        3006: Known(413, "Request is too large"),
        3007: Known(408, "Request timeout"),
        3008: Known(408, "Request was aborted"),
        3010: Known(413, _OVERFLOW.format(tokens=300000, window=256000)),
        3023: Known(403, "Service unavailable for account"),
        3030: Known(400, "Max context reached 300000 tokens but model supports only 256000"),
        3036: Known(429, "You have used up your daily free allocation of 10,000 neurons"),
        3039: Known(400, "Finetune is missing required files"),
        3040: Known(429, "Capacity temporarily exceeded, please try again."),
        3041: Known(403, "Account is not allowed to access this private model"),
        3042: Known(404, "The model name is invalid"),
        3046: Known(408, "Request timeout"),
        3050: Known(503, "Max retries exhausted"),
        4006: Known(
            429,
            "you have used up your daily free allocation of 10,000 neurons, please upgrade to Cloudflare's Workers "
            "Paid plan if you would like to continue usage.",
        ),
        5004: Known(400, "Invalid data type for base64 input"),
        5005: Known(405, "LoRA is not supported for this model"),
        5006: Known(
            400,
            "oneOf at '/' not met, 0 matches: required properties at '/' are 'prompt', "
            "required properties at '/' are 'messages'",
        ),
        5007: Known(400, "No such model or task"),
        5012: Known(422, "The upstream model could not validate the input"),
        5016: Known(403, "Model agreement has not been accepted"),
        5018: Known(403, "Account is not allowed to access this private model"),
        5019: Known(405, "This SDK version is deprecated"),
        5021: Known(413, _OVERFLOW.format(tokens=300000, window=256000)),
        5035: Known(403, "Model is not available on the Workers Free plan. Upgrade to access this model"),
        6003: Known(400, "Invalid request headers", "edge"),
        7000: Known(404, "No route for that URI", "edge"),
        7003: Known(404, "Could not route to the path given, perhaps your object identifier is invalid?", "edge"),
        7009: Known(502, "Upstream service unavailable", "edge"),
        8001: Known(400, "Invalid input"),
        8006: Known(400, "Invalid data for request - reason unknown"),
        9109: Known(403, "Unauthorized to access requested resource", "edge"),
        10000: Known(401, "Authentication error", "edge"),
        10001: Known(400, "Unable to authenticate request", "edge"),
        10405: Known(405, "Method not allowed for this authentication scheme", "edge"),
    }
)
"""Cloudflare's code to HTTP status, words and envelope.

Sources: the Workers AI and AI Gateway error pages, cloudflare/ai's table, and replies published by users (2025-10 to
2026-10). Where only a code is published (3042, 5016, 2009…) the words are this emulator's: never match on words.
"""

CUT: Final = Fault(200, message="the connection was cut", envelope="cut")
"""No refusal: the connection is closed. `Reply(text, error=CUT)` closes it behind the text, if that is streamed."""
