"""The outcome of a case over HTTP: a real server, real sockets, both shells."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from cf_gemma import AsyncGemma, Gemma
from tests.faultserver import END, FIN, HOLD, Action, FaultServer, chunk, head
from tests.worker.cases import awaited, called

if TYPE_CHECKING:
    from tests.worker.cases import Answer, Case, Outcome


def over_http(case: Case) -> tuple[Outcome, Outcome, int]:
    """What blocking calls and asynchronous ones come to, and the requests that each of them sent."""
    with FaultServer(*map(_actions, case.answers)) as server:
        settings: dict[str, Any] = {"base_url": server.url, "timeout": case.timeout}
        with Gemma("acc", "token", **settings) as gemma:
            blocking = called(gemma, case)
        requests = len(server.requests)
    with FaultServer(*map(_actions, case.answers)) as server:
        asynchronous = asyncio.run(awaited(AsyncGemma("acc", "token", base_url=server.url, timeout=case.timeout), case))
        assert len(server.requests) == requests
    return blocking, asynchronous, requests


def _actions(answer: Answer) -> list[Action]:
    if answer.ending == "never begins":
        return [HOLD]
    ending: Action = {"whole": END, "cut": FIN}.get(answer.ending, HOLD)
    first = head(answer.status, {**answer.headers, "transfer-encoding": "chunked"})
    return [first + b"".join(map(chunk, answer.pieces)), ending]
