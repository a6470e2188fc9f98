"""cf_gemma's errors as LangChain's: every class here is both, under cf_gemma's name, so that either family catches it.

    cf_gemma.errors                                        langchain_core.exceptions
    GemmaError                                             ModelError
    ├── InvalidRequest, UnsupportedContent                 ModelInvalidRequestError
    ├── ConnectionFailed                                   ModelConnectionError
    │   └── RequestTimeout                                 ModelTimeoutError
    ├── StreamError, StreamTruncated                       ModelConnectionError
    │   └── StreamTimeout                                  ModelTimeoutError
    ├── ProtocolError, ResponseTooLarge                    ModelAPIError
    ├── ApiError                                           ModelError
    │   ├── BadRequest, RequestTooLarge                    ModelInvalidRequestError
    │   │   └── ContextOverflow                            ContextOverflowError
    │   ├── AuthenticationError                            ModelAuthenticationError
    │   ├── PermissionDenied                               ModelPermissionDeniedError
    │   ├── NotFound                                       ModelNotFoundError
    │   ├── Conflict                                       ModelError
    │   ├── ServiceTimeout                                 ModelTimeoutError
    │   ├── RateLimited, CapacityExceeded, QuotaExhausted  ModelRateLimitError
    │   └── ServerError                                    ModelAPIError
    ├── ReasoningBudgetExceeded
    ├── ToolChoiceNotHonoured
    └── IncompleteOutput (this package's own)              OutputParserException

ConfigurationError stays what it is: it comes before there is a model to call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from langchain_core import exceptions as langchain
from typing_extensions import override

from cf_gemma import errors as core
from langchain_cf_gemma.chunks import to_message

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal in the form of an HTTP response."""

    status_code: int | None
    body: dict[str, Any]

    def json(self) -> dict[str, Any]:
        """Cloudflare's `code` and `message`."""
        return self.body


class GemmaError(core.GemmaError, langchain.ModelError):
    """A call of the chat model failed. Attributes: see cf_gemma.errors.GemmaError."""

    @property
    @override
    def is_retryable(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]  # a class attribute in core
        """`retryable`, under the name that LangChain's retry middleware reads: a used-up quota isn't retried."""
        return self.retryable

    @property
    def partial_message(self) -> AIMessage | None:
        """What had arrived of the answer, as a message; None when nothing had."""
        partial = self.partial
        return to_message(partial, partial.choices[0], partial.model) if partial else None


class InvalidRequest(GemmaError, core.InvalidRequest, langchain.ModelInvalidRequestError):
    """A parameter or a message can't be sent. Raised before any I/O."""


class UnsupportedContent(InvalidRequest, core.UnsupportedContent):
    """A kind of content that this model or service doesn't take."""


class ConnectionFailed(GemmaError, core.ConnectionFailed, langchain.ModelConnectionError):
    """No usable answer came."""


class RequestTimeout(ConnectionFailed, core.RequestTimeout, langchain.ModelTimeoutError):
    """Connecting, sending or waiting for the first byte took longer than the limit."""


class StreamError(GemmaError, core.StreamError, langchain.ModelConnectionError):
    """An answer began and did not end."""


class StreamTruncated(StreamError, core.StreamTruncated):
    """The stream ended without a finish reason."""


class StreamTimeout(StreamError, core.StreamTimeout, langchain.ModelTimeoutError):
    """The stream stalled for longer than the limit."""


class ProtocolError(GemmaError, core.ProtocolError, langchain.ModelAPIError):
    """What came is not what belongs there."""


class ResponseTooLarge(ProtocolError, core.ResponseTooLarge):
    """A body or a single event grew over its cap."""


class ApiError(GemmaError, core.ApiError):
    """The service refused or failed, and said so."""

    @property
    def response(self) -> Refused:
        """What LangChain's tracers show of the refusal beside its text."""
        return Refused(self.status, {"code": self.code, "message": self.message})


class BadRequest(ApiError, core.BadRequest, langchain.ModelInvalidRequestError):
    """400: the service can't take this request."""


class ContextOverflow(BadRequest, core.ContextOverflow, langchain.ContextOverflowError):
    """Prompt and `max_tokens` together exceed the context window."""


class AuthenticationError(ApiError, core.AuthenticationError, langchain.ModelAuthenticationError):
    """401: the token is not accepted."""


class PermissionDenied(ApiError, core.PermissionDenied, langchain.ModelPermissionDeniedError):
    """403: the token or the account may not do this."""


class NotFound(ApiError, core.NotFound, langchain.ModelNotFoundError):
    """404: no such model, account or route."""


class Conflict(ApiError, core.Conflict):
    """409: another request stood in the way."""


class RequestTooLarge(ApiError, core.RequestTooLarge, langchain.ModelInvalidRequestError):
    """413: the request body is too large."""


class ServiceTimeout(ApiError, core.ServiceTimeout, langchain.ModelTimeoutError):
    """408: the service's own time limit."""


class RateLimited(ApiError, core.RateLimited, langchain.ModelRateLimitError):
    """429: too many requests a minute."""


class CapacityExceeded(RateLimited, core.CapacityExceeded):
    """No machine is free just now."""


class QuotaExhausted(RateLimited, core.QuotaExhausted):
    """The daily free allocation, the credits or the spend limit are used up."""


class ServerError(ApiError, core.ServerError, langchain.ModelAPIError):
    """5xx: the service or the edge failed."""


class BudgetExceeded(GemmaError, core.BudgetExceeded):
    """A call may cost more than is left of its `Budget`; nothing was sent."""


class ReasoningBudgetExceeded(GemmaError, core.ReasoningBudgetExceeded):
    """Thinking used up `max_tokens` before the answer began."""


class ToolChoiceNotHonoured(GemmaError, core.ToolChoiceNotHonoured):
    """A tool call was required and the model made none."""


class BatchInterrupted(GemmaError, core.BatchInterrupted):
    """A batch was handed over to the queue in part, or perhaps."""


class IncompleteOutput(GemmaError, langchain.OutputParserException):
    """A structured answer is cut off, or empty. `.llm_output` holds its text, `.message` which limit was hit."""


TWINS: Final[dict[type[core.GemmaError], type[GemmaError]]] = {
    getattr(core, name): twin
    for name, twin in list(globals().items())
    if isinstance(twin, type) and issubclass(twin, GemmaError) and hasattr(core, name)
}
"""cf_gemma's class -> ours."""


class as_langchain:  # noqa: N801 - used as a function
    """A context that raises what cf_gemma raises in it as its twin here, with the same attributes and traceback."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, core.GemmaError) and not isinstance(error, GemmaError | core.ConfigurationError):
            raise twin_of(error).with_traceback(error.__traceback__) from error.__cause__


def twin_of(error: core.GemmaError) -> GemmaError:
    """The same error, in both families."""
    twin = next(TWINS[cls] for cls in type(error).__mro__ if cls in TWINS)(error.message)
    twin.__dict__.update(error.__dict__)
    return twin
