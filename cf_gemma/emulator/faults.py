"""How the service refuses: a status, a code, words, and the envelope that they come in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, cast, get_args

from cf_gemma.emulator.envelope import dumps
from cf_gemma.errors.codes import CODES, OVERFLOW

if TYPE_CHECKING:
    from collections.abc import Mapping

Envelope = Literal["service", "edge", "gateway", "vllm", "sglang", "bare", "html", "text", "cut"]
"""Who answers, and so in which shape.

- `service`: the model's own refusals, `{"errors": [...], "success": false, "result": {}, "messages": []}`;
- `edge`: authentication and routing, the same with `"result": null` and another order;
- `gateway`: AI Gateway, with an `error` list and its own names;
- `vllm`, `sglang`: a server of one's own, `{"error": {...}}` or the same flat; what `/v1` answers here;
- `bare`: what stands in front of that server, `{"error": "Unauthorized"}` or `{"detail": "Not Found"}`;
- `html`, `text`: a proxy's page where JSON belongs;
- `cut`: no refusal at all, the connection is closed in mid-answer.
"""


@dataclass(frozen=True, slots=True)
class Fault:
    """A refusal, such as `Fault(429, 3040)`: the words and the envelope of a known code needn't be written.

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
        return cls(CODES[code].status, code, message)

    @classmethod
    def overflow(cls, tokens: int, window: int) -> Self:
        """5021: so many tokens, prompt and answer together, don't fit this window."""
        return cls.of(5021, OVERFLOW.format(tokens=tokens, window=window))

    @property
    def words(self) -> str:
        """The message, else what the code or the status is known to say."""
        known = CODES.get(self.code or 0)
        return self.message or (known.message if known else WORDS.get(self.status, "Unknown error"))

    @property
    def shape(self) -> Envelope:
        """The envelope, else that of the code."""
        known = CODES.get(self.code or 0)
        page = self.code is None and self.status > 500
        return self.envelope or (known.envelope if known else "html" if page else "service")

    @property
    def reached_model(self) -> bool:
        """Whether the answer bears a `cf-ai-req-id`: the edge refuses before there is one."""
        return self.shape in ("service", "vllm", "sglang")

    def as_server(self, dialect: Literal["S", "V"]) -> Fault:
        """The same refusal as a server of one's own words it; pages and what stands before it stay as they are."""
        if self.shape in ("bare", "html", "text", "cut"):
            return self
        return replace(self, envelope="vllm" if dialect == "V" else "sglang")

    def body(self, request_id: str) -> tuple[bytes, str]:
        """Response body and content type. `request_id` is the one of the `cf-ai-req-id` header."""
        if self.shape == "html":
            title = f"{self.status} {self.words}"
            page = f"<!DOCTYPE html><html><head><title>{title}</title></head><body>{title}</body></html>"
            return page.encode(), "text/html"
        if self.shape == "text":
            return f"error code: {self.code or self.status}".encode(), "text/plain"
        return dumps(self.to_dict(request_id)), "application/json"

    def to_dict(self, request_id: str, *, streamed: bool = False) -> dict[str, Any]:
        """The JSON body, keys in the order of the wire; or the data of an in-stream error event."""
        code: dict[str, Any] = {} if self.code is None else {"code": self.code}
        match self.shape:
            case "edge":
                return {"result": None, "success": False, "errors": [{**code, "message": self.words}], "messages": []}
            case "gateway":
                return {
                    "success": False,
                    "result": [],
                    "messages": [],
                    "error": [{**code, "message": self.words}],
                    "name": "AiGatewayError",
                    "httpCode": self.status,
                    "internalCode": self.code,
                }
            case "vllm":
                return {"error": self._described()}
            case "sglang":
                flat = {"object": "error", **self._described()}
                return {"error": flat} if streamed else flat
            case "bare":
                return {"error" if self.status == 401 else "detail": self.words}
            case _:
                message = DRESS.get(self.code or 0, "AiError: AiError: {text} ({id})")
                error = {"message": message.format(text=self.words, id=request_id), **code}
                return {"errors": [error], "success": False, "result": {}, "messages": []}

    def _described(self) -> dict[str, Any]:
        kind = KINDS.get(self.status, "InternalServerError" if self.status >= 500 else "BadRequestError")
        return {"message": self.words, "type": kind, "param": None, "code": self.code or self.status}


class Refusal(Exception):
    """An engine, or a check, ends the call with a fault."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.words)
        self.fault = fault


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

KINDS: Final[Mapping[int, str]] = MappingProxyType({404: "NotFoundError", 429: "RateLimitError"})
"""What the `type` of such a status is on servers of one's own."""

CUT: Final = Fault(200, message="the connection was cut", envelope="cut")
"""No refusal: the connection is closed. `Reply(text, error=CUT)` closes it behind the text, if that is streamed."""
