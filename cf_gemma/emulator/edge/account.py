"""What an account may use: requests a minute, neurons a day, and the prompts that its sessions have cached."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cf_gemma.emulator.backends.billing import neurons
from cf_gemma.emulator.engines.protocol import Ending, Event, Opening, Step
from cf_gemma.emulator.faults import Fault, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cf_gemma.emulator.edge.settings import Settings


class Account:
    """Counts what the requests of one account use. Threads may share it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._times: list[float] = []
        self._day, self._spent = 0, 0.0
        self._prompts: dict[str, int] = {}
        self._lock = threading.Lock()

    def admit(self) -> None:
        """Counts a request. Raises Refusal (429 without a code) for one too many in a minute."""
        now = self._settings.clock()
        if self._settings.requests_per_minute is None:
            return
        with self._lock:
            self._times = [time for time in self._times if time > now - _MINUTE]
            if len(self._times) >= self._settings.requests_per_minute:
                raise Refusal(Fault(429))
            self._times.append(now)

    def check_allocation(self) -> None:
        """Raises Refusal (4006) when the day's neurons are used up; they come back at 00:00 UTC."""
        self._spend(0)
        if self._settings.daily_neurons is not None and self._spent >= self._settings.daily_neurons:
            raise Refusal(Fault.of(4006))

    def metered(self, events: Iterator[Event], session: str | None) -> Iterator[Event]:
        """The same events, whose cost is counted when they end, however they do.

        As much of the prompt as the session's last one had is cached, unless the engine itself counts cached tokens.
        """
        prompt = cached = completion = 0
        try:
            for event in events:
                match event:
                    case Opening():
                        prompt, cached = event.prompt_tokens, event.cached_tokens or self._cached(event, session)
                        yield replace(event, cached_tokens=cached)
                    case Step() | Ending():
                        completion += event.tokens
                        yield event
        finally:
            self._spend(neurons(prompt, completion, cached))

    def _cached(self, opening: Opening, session: str | None) -> int:
        if session is None:
            return 0
        last, self._prompts[session] = self._prompts.get(session, 0), opening.prompt_tokens
        return min(last, opening.prompt_tokens) // _BLOCK * _BLOCK

    def _spend(self, cost: float) -> None:
        day = int(self._settings.clock() // _DAY)
        with self._lock:
            self._spent = cost + (self._spent if day == self._day else 0.0)
            self._day = day


_MINUTE: Final = 60
_DAY: Final = 86_400
_BLOCK: Final = 64
"""Tokens; published counts of cached tokens are multiples of it."""
