"""What can go wrong, as one tree. Every error is a GemmaError; `.partial` holds what had arrived.

    GemmaError
    ├── ConfigurationError (ValueError)       a setting is missing or malformed; nothing was sent
    ├── InvalidRequest (ValueError)           a parameter or message can't be sent; nothing was sent
    │   └── UnsupportedContent                audio, video, PDF, an image the service won't take
    ├── BudgetExceeded                        a call would pass the `Budget`; nothing was sent
    ├── ConnectionFailed (ConnectionError)    no usable answer came
    │   └── RequestTimeout (TimeoutError)     connecting, sending or waiting took too long
    ├── StreamError                           an answer began and did not end
    │   ├── StreamTruncated (ConnectionError) the stream was cut
    │   └── StreamTimeout (TimeoutError)      the stream stalled
    ├── ProtocolError                         not the JSON or the event stream that belongs there
    │   └── ResponseTooLarge                  a body or an event over its cap
    ├── ApiError                              the service said no: `.status`, `.code`
    │   ├── BadRequest                        400, 405, 422, 424: the request can't be taken as it is
    │   │   └── ContextOverflow               prompt and answer don't fit the window (5021, 3010)
    │   ├── AuthenticationError               401
    │   ├── PermissionDenied                  403
    │   ├── NotFound                          404
    │   ├── RequestTooLarge                   413
    │   ├── ServiceTimeout (TimeoutError)     408: the service gave up on the model (3046)
    │   ├── Conflict                          409
    │   ├── RateLimited                       429
    │   │   ├── CapacityExceeded              no machine free (3040)
    │   │   └── QuotaExhausted                allocation or credits used up (4006, 3036, 2021, 2045): never retried
    │   └── ServerError                       5xx
    ├── BatchInterrupted                      a batch was handed over in part, or perhaps: `.handle`
    ├── ReasoningBudgetExceeded               thinking used up `max_tokens` before the answer began
    └── ToolChoiceNotHonoured                 a tool call was required and the model made none

The classes in brackets are Python's own, which catch them, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from typing_extensions import override

if TYPE_CHECKING:
    from cf_gemma.model.completion import Completion


class Resumable(Protocol):
    """A batch that was handed over, of which any process can collect the results: a `BatchHandle`."""

    def to_json(self) -> str:
        """As one line of JSON, to keep."""
        ...


STREAMS_NO_SCHEMA: Final = 5023
"""The code of a model that takes a JSON schema only where it doesn't stream (developers.cloudflare.com, 2026-11)."""


BAD_IMAGE: Final = 8006
"""The code for input that can't be read, images above all."""


class GemmaError(Exception):
    """Base of every error here. Attributes that don't apply are None."""

    retryable: ClassVar[bool] = False
    """Whether the same request may succeed when sent again soon."""

    server: str = "Workers AI"
    """Who was asked, in words."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        partial: Completion | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        """HTTP status."""
        self.code = code
        """Cloudflare's own error code, such as 3040."""
        self.request_id = request_id
        """The id to quote to Cloudflare (`cf-ai-req-id`, else `cf-ray`)."""
        self.retry_after = retry_after
        """Seconds the service asked to wait."""
        self.attempts = 0
        """How many requests were sent for this call."""
        self.partial = partial
        """What had arrived of the answer, if any of it had."""

    @override
    def __str__(self) -> str:
        facts = [
            f"code {self.code}" if self.code is not None else "",
            f"request {self.request_id}" if self.request_id else "",
        ]
        if self.attempts > 1:
            facts.append(f"{self.attempts} attempts")
        known = ", ".join(fact for fact in facts if fact)
        head = f"{self.status} from {self.server}: {self.message}" if self.status is not None else self.message
        return f"{head} ({known})" if known else head

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message), dict(self.__dict__)

    @property
    def status_code(self) -> int | None:
        """`status`, under the name that other HTTP libraries use."""
        return self.status


def _rebuild(cls: type[GemmaError], message: str) -> GemmaError:
    return cls(message)


class ConfigurationError(GemmaError, ValueError):
    """A setting is missing or malformed. Names the setting and the remedy, never the value."""


class InvalidRequest(GemmaError, ValueError):
    """A parameter or a message can't be sent. Raised before any I/O."""


class UnsupportedContent(InvalidRequest):
    """A kind of content that this model or service doesn't take."""


class BudgetExceeded(GemmaError):
    """A call may cost more than is left of its `Budget`. Raised before any I/O."""


class ConnectionFailed(GemmaError, ConnectionError):
    """No usable answer came: refused, reset, or closed before a word was said."""

    retryable = True
    sent: bool = True
    """Whether the request may have arrived; False when there was no connection to send it over."""


class RequestTimeout(ConnectionFailed, TimeoutError):
    """Connecting, sending or waiting for the first byte took longer than the limit."""


class StreamError(GemmaError):
    """An answer began and did not end. `.partial` holds what had arrived."""

    retryable = True


class StreamTruncated(StreamError, ConnectionError):
    """The stream ended without a finish reason and without `[DONE]`."""


class StreamTimeout(StreamError, TimeoutError):
    """The stream stalled for longer than the limit."""


class ProtocolError(GemmaError):
    """What came is not what belongs there: HTML for JSON, a broken event, a missing field."""


class ResponseTooLarge(ProtocolError):
    """A body or a single event grew over its cap."""


class ApiError(GemmaError):
    """The service refused or failed, and said so."""


class BadRequest(ApiError):
    """400, 405, 422, 424: the service can't take this request."""


class ContextOverflow(BadRequest):
    """Prompt and `max_tokens` together exceed the context window."""


class AuthenticationError(ApiError):
    """401: the token is not accepted. Check CLOUDFLARE_API_TOKEN."""


class PermissionDenied(ApiError):
    """403: the token or the account may not do this."""


class NotFound(ApiError):
    """404: no such model, account or route."""


class RequestTooLarge(ApiError):
    """413: the request body is too large."""


class ServiceTimeout(ApiError, TimeoutError):
    """408: the service's own time limit, about 120 or 240 s. Streaming and a smaller `max_tokens` help."""

    retryable = True


class Conflict(ApiError):
    """409: another request stood in the way."""

    retryable = True


class RateLimited(ApiError):
    """429: too many requests a minute (300 by default)."""

    retryable = True


class CapacityExceeded(RateLimited):
    """No machine is free just now (3040). Comes in bursts; worth a few seconds' wait."""


class QuotaExhausted(RateLimited):
    """The daily free allocation (resets at 00:00 UTC), the credits or the spend limit are used up."""

    retryable = False


class ServerError(ApiError):
    """5xx: the service or the edge failed."""

    retryable = True


class BatchInterrupted(GemmaError):
    """Only the first parts of a batch were handed over, or it isn't known whether one was. The cause says why."""

    handle: Resumable | None = None
    """What was handed over for certain; None for nothing."""


class ReasoningBudgetExceeded(GemmaError):
    """Thinking used up `max_tokens` before the answer began. Raise `max_tokens`, or set `thinking=False`."""


class ToolChoiceNotHonoured(GemmaError):
    """A tool call was required and the model made none, twice. With one tool, name it: that form is enforced."""
