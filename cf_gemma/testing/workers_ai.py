"""What stands in for Workers AI in one test."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Self, cast

from cf_gemma.emulator import Fault, Reply, ToolCallSpec
from cf_gemma.emulator.engines.reply import kind_of
from cf_gemma.emulator.engines.scripted import reply_of
from cf_gemma.emulator.faults import Refusal
from cf_gemma.model.json_object import as_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from cf_gemma.emulator import Emulator, RecordedRequest
    from cf_gemma.emulator.engines.reply import Script


class Unmet(AssertionError):
    """What was scripted and what was asked for don't match."""


class WorkersAI:
    """A script that the test writes as it goes, and a record of what was sent. The fixture `workers_ai` is one.

    `says`, `calls` and `fails` put replies into a queue; each request takes the next one (one for each of its `n`
    choices), in the order in which requests come.
    """

    emulator: Emulator
    """What answers: its `base_url`, `account_id`, `api_token` for clients that don't read the environment."""
    waits: list[float]
    """Seconds that clients would have waited before they tried again, or asked for a batch again. None does wait."""

    def __init__(self) -> None:
        self.strict = True
        """Whether the test fails when a reply is left over or missing in the end."""
        self._script: deque[Script] = deque()
        self._otherwise: Callable[[dict[str, Any]], Script] | None = None
        self._missing = 0
        self._broken = ""
        self._lock = threading.Lock()

    def says(self, *replies: Script) -> Self:
        """Queues replies: texts, `Reply` objects with reasoning, delays or tool calls, `Fault` objects, `CUT`."""
        wrong = [reply for reply in cast("tuple[object, ...]", replies) if not isinstance(reply, str | Reply | Fault)]
        if wrong:
            raise TypeError(f"says() takes texts, Reply and Fault objects; not a {kind_of(wrong[0])}")
        self._script.extend(replies)
        return self

    def calls(self, tool: str, args: Mapping[str, Any] | None = None, /, **arguments: Any) -> Self:
        """Queues a reply that calls a tool: `workers_ai.calls("add", a=1, b=2)`. For several at once, `says(Reply(…))`.

        Like the model, it does so whether the request offers that tool or not.

        Args:
            tool: its name.
            args: the arguments in one dict; those that have a keyword are added.
            arguments: the arguments.
        """
        return self.says(Reply(tool_calls=[ToolCallSpec(tool, {**(args or {}), **arguments})]))

    def fails(self, status: int, code: int | None = None, *, times: int = 1, retry_after: float | None = None) -> Self:
        """Queues refusals: `workers_ai.fails(429, 3040)`. Clients that try again need `times`, or a reply behind it.

        Args:
            status: HTTP status.
            code: Cloudflare's code, which brings its words; None for a refusal without.
            times: how many requests are refused.
            retry_after: seconds for a `Retry-After` header; None, like the service, sends none.

        Raises:
            TypeError: the status or the code isn't a number.
            ValueError: the status isn't one of a refusal, or `times` is less than 1.
        """
        if times < 1:
            raise ValueError(f"times must be at least 1 (got {times})")
        return self.says(*[Fault(status, code, retry_after=retry_after)] * times)

    def answers(self, reply: Callable[[dict[str, Any]], Script]) -> Self:
        """Has a function of the request's JSON body answer whatever comes when the queue is empty.

        Raises TypeError for what isn't a function. A request for which it raises, or gives no reply, is refused (400),
        and the test fails in the end.
        """
        if not callable(reply):
            raise TypeError(f"answers() takes a function of the request's body; not a {kind_of(reply)}")
        self._otherwise = reply
        return self

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request so far, in order: `workers_ai.requests[-1].json["temperature"]`, `.headers`, `.path`."""
        return self.emulator.requests

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages of the last request. Raises AssertionError when there was none."""
        if not self.requests:
            raise Unmet("workers_ai: nothing was sent")
        return (as_object(self.requests[-1].json) or {}).get("messages", [])

    @property
    def prompt(self) -> str:
        """Every text in the messages of the last request, one below the other: what the model read."""
        return "\n".join(text for message in self.messages for text in _texts(message.get("content")))

    @property
    def unused(self) -> tuple[Script, ...]:
        """The replies that no request took so far."""
        return tuple(self._script)

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that point a program at this: the fixture sets them, and children inherit them.

        `no_proxy` is among them, since no proxy of the machine's leads here.
        """
        direct = ",".join(filter(None, (os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), "127.0.0.1")))
        return {
            "no_proxy": direct,
            "NO_PROXY": direct,
            "CLOUDFLARE_ACCOUNT_ID": self.emulator.account_id,
            "CLOUDFLARE_API_TOKEN": self.emulator.api_token,
            "CLOUDFLARE_BASE_URL": self.emulator.base_url,
        }

    def reply(self, body: dict[str, Any]) -> Script:
        """The next reply; the emulator's script."""
        with self._lock:
            if self._script:
                return self._script.popleft()
            if self._otherwise is None:
                self._missing += 1
                return Fault(400, message="workers_ai has nothing to say to this request: script a reply with says()")
        try:
            return reply_of(self._otherwise, body)
        except Refusal as refusal:
            self._broken = str(refusal)
            raise

    def check(self) -> None:
        """Raises Unmet, when `strict`, if replies are left over, were missing, or came of a function that failed."""
        if not self.strict:
            return
        if self._broken:
            raise Unmet(f"workers_ai: {self._broken}")
        if self._missing:
            raise Unmet(f"workers_ai: {self._missing} more requests came than there were replies")
        if self._script:
            left = ", ".join(map(_shown, self._script))
            raise Unmet(f"workers_ai: replies were left over (workers_ai.strict = False allows it): {left}")


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    if isinstance(content, list):
        for part in cast("list[object]", content):
            yield from _texts((as_object(part) or {}).get("text"))


def _shown(script: Script) -> str:
    shown = repr(script)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"


_SHOWN = 80
