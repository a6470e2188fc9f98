"""What an account may use: requests a minute, and neurons a day."""

from __future__ import annotations

import threading
from collections import deque
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
        self._times: deque[float] = deque()
        self._day: int = 0
        self._spent = 0.0
        self._lock = threading.Lock()

    def admit(self) -> None:
        """Counts a request. Raises Refusal (429 without a code) for one too many in a minute."""
        limit, now = self._settings.requests_per_minute, self._settings.clock()
        if limit is None:
            return
        with self._lock:
            while self._times and self._times[0] <= now - _MINUTE:
                self._times.popleft()
            if len(self._times) >= limit:
                raise Refusal(Fault(429))
            self._times.append(now)

    def check_allocation(self) -> None:
        """Raises Refusal (4006) when the day's neurons are used up; they come back at 00:00 UTC."""
        allocation = self._settings.daily_neurons
        with self._lock:
            self._turn_the_day()
            if allocation is not None and self._spent >= allocation:
                raise Refusal(Fault.of(4006))

    def charged(self, events: Iterator[Event]) -> Iterator[Event]:
        """The same events, whose cost is counted when they end, however they do."""
        prompt = cached = completion = 0
        try:
            for event in events:
                match event:
                    case Opening():
                        prompt, cached = event.prompt_tokens, event.cached_tokens
                    case Step() | Ending():
                        completion += event.tokens
                yield event
        finally:
            with self._lock:
                self._turn_the_day()
                self._spent += neurons(prompt, completion, cached)

    def _turn_the_day(self) -> None:
        day: int = int(self._settings.clock() // _DAY)
        if day != self._day:
            self._day, self._spent = day, 0.0


_MINUTE: Final = 60
_DAY: Final = 86_400
