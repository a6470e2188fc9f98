"""cf_gemma's errors and LangChain's are one."""

from __future__ import annotations

import pickle

import pytest
from langchain_core import exceptions as langchain

from cf_gemma import Choice, Completion
from cf_gemma import errors as core
from langchain_cf_gemma import errors
from langchain_cf_gemma.errors import TWINS, as_langchain, twin_of

CORE = [
    cls
    for cls in vars(core).values()
    if isinstance(cls, type) and issubclass(cls, core.GemmaError) and cls is not core.ConfigurationError
]

FAMILIES = {
    core.InvalidRequest: langchain.ModelInvalidRequestError,
    core.UnsupportedContent: langchain.ModelInvalidRequestError,
    core.ConnectionFailed: langchain.ModelConnectionError,
    core.RequestTimeout: langchain.ModelTimeoutError,
    core.StreamTruncated: langchain.ModelConnectionError,
    core.StreamTimeout: langchain.ModelTimeoutError,
    core.BadRequest: langchain.ModelInvalidRequestError,
    core.ContextOverflow: langchain.ContextOverflowError,
    core.AuthenticationError: langchain.ModelAuthenticationError,
    core.PermissionDenied: langchain.ModelPermissionDeniedError,
    core.NotFound: langchain.ModelNotFoundError,
    core.ServiceTimeout: langchain.ModelTimeoutError,
    core.RateLimited: langchain.ModelRateLimitError,
    core.CapacityExceeded: langchain.ModelRateLimitError,
    core.QuotaExhausted: langchain.ModelRateLimitError,
    core.ServerError: langchain.ModelAPIError,
}


@pytest.mark.parametrize("cls", CORE, ids=lambda cls: cls.__name__)
def test_every_error_has_a_twin(cls: type[core.GemmaError]) -> None:
    """Each error is raised as one that is caught as either family, its parents included, with all it carries."""
    partial = Completion(choices=(Choice(text="Hel"),))
    error = cls("It failed.", status=429, code=3040, request_id="req-1", retry_after=2.0, partial=partial)
    error.attempts = 3
    with pytest.raises(cls) as caught, as_langchain():
        raise error
    twin = caught.value
    assert isinstance(twin, langchain.ModelError)
    assert isinstance(twin, errors.GemmaError)
    assert isinstance(twin, FAMILIES.get(cls, langchain.ModelError))
    assert all(isinstance(twin, TWINS[parent]) for parent in cls.__mro__ if parent in TWINS)
    assert str(twin) == str(error)
    assert twin.__dict__ == error.__dict__
    assert twin.is_retryable is cls.retryable
    assert twin.partial_message is not None
    assert twin.partial_message.text == "Hel"


@pytest.mark.parametrize("cls", [core.ServerError, core.StreamTimeout], ids=lambda cls: cls.__name__)
def test_pickling(cls: type[core.GemmaError]) -> None:
    """An error survives the way to another process."""
    twin = twin_of(cls("It failed.", status=500))
    copy = pickle.loads(pickle.dumps(twin))  # noqa: S301  (our own bytes)
    assert type(copy) is type(twin)
    assert str(copy) == str(twin)


def test_statuses_are_not_confused() -> None:
    """An error of 4xx isn't caught as one of the server's."""
    assert not issubclass(errors.BadRequest, langchain.ModelAPIError)
    assert not issubclass(errors.RateLimited, langchain.ModelAPIError)


def test_configuration_errors_stay() -> None:
    """A configuration error, and an error that has been translated, pass unchanged."""
    for error in (core.ConfigurationError("api_token is missing"), errors.RateLimited("Slow down.")):
        with pytest.raises(core.GemmaError) as caught, as_langchain():
            raise error
        assert caught.value is error
