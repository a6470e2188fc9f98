"""A batch is handed over once: what the queue may have taken isn't sent again, and would be paid for twice."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from cf_gemma import errors as e
from cf_gemma.queue.requests import items, parts, poll_request
from cf_gemma.settings.resolved import Settings
from cf_gemma.transport.flow import Send, Session, Sleep, attempts
from cf_gemma.transport.retry import RetryPolicy
from tests.faultserver import FIN, HOLD, RST, FaultServer, error_reply, head, json_reply

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cf_gemma.request.http_request import HttpRequest
    from tests.faultserver import Action

TAKEN = json_reply({"result": {"status": "queued", "request_id": "r"}})
SETTINGS = Settings.resolve(account_id="acc", api_token="token", environ={})


@dataclass(frozen=True)
class Service:
    """Where a server is, as the emulator says it."""

    base_url: str
    account_id: str = "acc"
    api_token: str = "token"


@pytest.mark.parametrize(
    ("scenario", "cause", "options"),
    [
        ([HOLD], e.RequestTimeout, {"timeout": 0.15}),
        ([FIN], e.ConnectionFailed, {}),
        ([RST], e.ConnectionFailed, {}),
        ([head(200, {"content-type": "application/json", "content-length": "99"}), FIN], e.ConnectionFailed, {}),
        ([error_reply(500)], e.ServerError, {}),
        ([error_reply(504)], e.ServerError, {}),
        ([error_reply(408, 3046)], e.ServiceTimeout, {}),
    ],
    ids=["silence", "closed", "reset", "cut", "500", "504", "408"],
)
def test_what_may_have_been_taken(
    queue: Callable[..., Any], scenario: Sequence[Action], cause: type[e.GemmaError], options: dict[str, Any]
) -> None:
    """It is sent once, whatever `max_retries` says; the error says that it may have been taken, and what came."""
    with FaultServer(scenario) as server:
        with pytest.raises(e.BatchInterrupted, match="the queue may have taken that part") as raised:
            queue(Service(server.url), max_retries=2, **options).submit(["hi"])
        assert len(server.requests) == 1
    assert isinstance(raised.value.__cause__, cause)
    assert raised.value.handle is None
    assert not raised.value.retryable


@pytest.mark.parametrize("refusal", [(429, 3040), (429, None), (503, None)])
def test_what_was_refused_for_want_of_room(queue: Callable[..., Any], refusal: tuple[int, int | None]) -> None:
    """Nothing was taken, so it is sent again."""
    with FaultServer([error_reply(*refusal, retry_after_ms="1")], [TAKEN]) as server:
        handle = queue(Service(server.url), max_retries=1).submit(["hi"])
        assert len(server.requests) == 2
    assert [part.request_id for part in handle.parts] == ["r"]


def test_a_part_after_the_first(queue: Callable[..., Any]) -> None:
    """The handle has what was taken for certain, and the error tells of both."""
    with FaultServer([TAKEN], [RST]) as server:
        with pytest.raises(e.BatchInterrupted, match=r"1 of 2 parts .* may have taken that part") as raised:
            queue(Service(server.url)).submit(["x" * 6_000_000] * 2)
        assert len(server.requests) == 2
    assert raised.value.handle is not None
    assert raised.value.handle.parts[0].request_id == "r"


def sent(request: HttpRequest, error: e.GemmaError) -> int:
    """How often a request is sent that always comes to this."""
    flow = attempts(request, RetryPolicy(3), lambda: 0.0, lambda: 0.0, Session())
    count, reply = 0, None
    try:
        while True:
            step = flow.send(reply)
            count, reply = (count + 1, error) if isinstance(step, Send) else (count, None)
            assert isinstance(step, Send | Sleep)
    except e.GemmaError:
        return count


def test_what_never_left(queue: Callable[..., Any]) -> None:
    """Without a connection nothing was sent: that is tried again, and told as what it is."""
    (part,) = parts(SETTINGS, {"max_tokens": 5}, items(["hi"]))
    unsent, lost = e.ConnectionFailed("no"), e.ConnectionFailed("no")
    unsent.sent = False
    assert (sent(part.request, unsent), sent(part.request, lost)) == (4, 1)
    assert sent(poll_request(SETTINGS, "r"), lost) == 4
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        with pytest.raises(e.ConnectionFailed) as raised:
            queue(Service(f"http://127.0.0.1:{held.getsockname()[1]}"), max_retries=0).submit(["hi"])
    assert raised.value.sent is False
