from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest

from cf_gemma import errors
from cf_gemma.errors import GemmaError, ServerError
from cf_gemma.errors.codes import CODES, STATUSES, error_class
from cf_gemma.model.completion import Choice, Completion, InvalidToolCall, ToolCall, Usage

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, GemmaError)]
PARTIAL = Completion(
    choices=(
        Choice(
            text="a",
            reasoning="r",
            calls=(ToolCall("1", "f", '{"x":1}', {"x": 1}), InvalidToolCall("2", "f", '{"x', "cut")),
            logprobs={"content": []},
            extra={"matched_stop": 106},
        ),
    ),
    usage=Usage(1, 2, 3, cached_tokens=0, neurons=0.5),
    id="a",
    headers={"cf-ray": "ray"},
)


def drawn_tree() -> dict[str, list[str]]:
    """The bases of each class in the tree that the module's docstring draws: its parent, then those in brackets."""
    bases: dict[str, list[str]] = {}
    path: list[str] = []
    for line in re.findall(r"^ {4}(.+)", errors.__doc__ or "", re.MULTILINE):
        match = re.match(r"([│ ├└─]*)(\w+)(?: \((\w+)\))?", line)
        assert match
        indent, name, builtin = match.groups()
        depth = len(indent) // 4
        path[depth:] = [name]
        bases[name] = [*path[depth - 1 : depth], *([builtin] if builtin else [])]
    return bases


def test_the_drawn_tree_is_the_tree() -> None:
    """The tree in the docstring shows every class, its base and what of Python's own it is."""
    real = {kind.__name__: [base.__name__ for base in kind.__bases__ if base is not Exception] for kind in CLASSES}
    assert drawn_tree() == real


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("copied", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])  # noqa: S301 - our own bytes
def test_errors_survive_pickling_and_copying(kind: type[GemmaError], copied: object) -> None:
    """What an error knows goes with it into another process."""
    error = kind("boom", status=429, code=3040, request_id="id", retry_after=0.5, partial=PARTIAL)
    error.attempts = 3
    error.add_note("noted")
    assert callable(copied)
    twin = copied(error)
    assert type(twin) is kind
    assert vars(twin) == vars(error)
    assert str(twin) == str(error)
    assert twin.args == ("boom",)


@pytest.mark.parametrize("kind", CLASSES)
def test_a_new_error_says_its_message_and_nothing_else(kind: type[GemmaError]) -> None:
    """Facts that don't apply are None, and aren't told."""
    error = kind("boom")
    assert str(error) == "boom"
    assert repr(error) == f"{kind.__name__}('boom')"
    facts = (error.status, error.status_code, error.code, error.request_id, error.retry_after, error.partial)
    assert facts == (None,) * 6
    assert error.attempts == 0


@pytest.mark.parametrize(
    ("status", "code", "request_id", "attempts", "text"),
    [
        (429, 3040, "id", 3, "429 from Workers AI: busy (code 3040, request id, 3 attempts)"),
        (429, None, None, 1, "429 from Workers AI: busy"),
        (None, 3040, None, 2, "busy (code 3040, 2 attempts)"),
        (None, 0, "", 0, "busy (code 0)"),
    ],
)
def test_the_text(status: int | None, code: int | None, request_id: str | None, attempts: int, text: str) -> None:
    """The text has the status, the code, the id to quote and the attempts, as far as there are any."""
    error = errors.RateLimited("busy", status=status, code=code, request_id=request_id)
    error.attempts = attempts
    assert str(error) == text


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_says_what_it_is(kind: type[GemmaError]) -> None:
    """Each class has a docstring of its own, and is caught as what of Python's own it is."""
    assert "__doc__" in vars(kind)
    assert kind.__doc__
    for builtin in (ValueError, TimeoutError, ConnectionError):
        if issubclass(kind, builtin):
            with pytest.raises(builtin, match="boom"):
                raise kind("boom")


RETRYABLE = {
    *("ConnectionFailed", "RequestTimeout", "StreamError", "StreamTruncated", "StreamTimeout"),
    *("ServiceTimeout", "Conflict", "RateLimited", "CapacityExceeded", "ServerError"),
}


def test_what_is_worth_another_try() -> None:
    """Lost connections, waits, conflicts, limits and the service's own failures are; everything else is not."""
    assert {kind.__name__ for kind in CLASSES if kind.retryable} == RETRYABLE


@pytest.mark.parametrize(
    "status", [200, 302, 400, 401, 403, 404, 405, 408, 409, 413, 418, 422, 429, 500, 502, 524, 599, None]
)
def test_the_code_decides_before_the_status(status: int | None) -> None:
    """A known code gives its class whatever the status; else the status does; else it is a plain ApiError."""
    for code, known in CODES.items():
        if known.error is not None:
            assert error_class(status, code) is known.error
    expected = ServerError if status is not None and status >= 500 else STATUSES.get(status or 0, errors.ApiError)
    assert error_class(status, None) is error_class(status, 10_000) is expected


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (None, 500, errors.ServerError),
        (200, 503, errors.ServerError),
        (None, 429, errors.RateLimited),
        (200, 400, errors.BadRequest),
        (400, 500, errors.BadRequest),
        (None, 600, errors.ApiError),
        (None, 399, errors.ApiError),
    ],
)
def test_a_status_in_place_of_a_code(status: int | None, code: int, kind: type[GemmaError]) -> None:
    """Within a good answer a code like 500 is the status that the answer could not have any more."""
    assert error_class(status, code) is kind
