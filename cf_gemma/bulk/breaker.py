"""When a run has no hope: what every other row would come to as well ends it, instead of failing row by row."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from cf_gemma.errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectionFailed,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    QuotaExhausted,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from cf_gemma.bulk.forms import Record
    from cf_gemma.errors import GemmaError

LEAST: Final = 5
"""Rows without an answer, at least, that end a run: with fewer, one bad moment would."""

SHARED: Final[Mapping[type[GemmaError], frozenset[str]]] = MappingProxyType(
    {
        AuthenticationError: frozenset({"extra_headers"}),
        ConfigurationError: frozenset({"extra_headers", "model"}),
        NotFound: frozenset({"extra_headers", "model"}),
        PermissionDenied: frozenset({"extra_headers", "model"}),
        QuotaExhausted: frozenset(),
    }
)
"""What every row comes to alike, but for rows with one of these options of their own: those may be to blame."""


def is_shared(error: GemmaError, own: Collection[str]) -> bool:
    """Whether every other row would come to this, too. `own` names the options that are the row's own."""
    return any(isinstance(error, kind) and options.isdisjoint(own) for kind, options in SHARED.items())


class Breaker:
    """Takes what came of each row, and says which lines may be written, and whether the run is to end.

    An error that all rows share ends it at once. So do rows that got no answer at all (`ConnectionFailed`, time limits
    included), once there are as many in a row as may be under way at once, and 5 at least: then nothing of what was
    under way got through, though each has been sent again as often as `--retries` says. Any answer, a refusal too,
    shows that the service is there, and the count begins anew.

    Until then it isn't known whether the row or the service is to blame, so the lines of rows without an answer are
    held back. When the run ends for it, those that never got through stay unwritten: going on with the output does
    them. Those that may have got through are failures, or going on would send, and pay, the same ones for ever.

    Args:
        concurrency: Requests that may be under way at once.
    """

    def __init__(self, concurrency: int) -> None:
        self._limit = max(concurrency, LEAST)
        self._held: list[tuple[Record, bool]] = []
        """Lines that are held back, each with whether its request may have arrived."""
        self.tripped = ""
        """Why the run is to end; "" as long as it may go on."""

    def settle(self, record: Record, error: GemmaError | None, own: Collection[str] = ()) -> list[Record]:
        """The lines that may be written, now that a row has come to this one."""
        if error is not None and is_shared(error, own):
            self._trip(str(error))
            return self.rest()
        if isinstance(error, ConnectionFailed):
            self._held.append((record, error.sent))
            if len(self._held) >= self._limit:
                self._trip(f"{len(self._held)} rows in a row got no answer: {error}")
            return self.rest() if self.tripped else []
        if isinstance(error, ConfigurationError | InvalidRequest):
            return [record]  # it wasn't sent, so nothing is known of the service
        return [*self.rest(), record]

    def rest(self) -> list[Record]:
        """The lines that were held back, once; when the run is to end, those whose requests may have arrived."""
        held, self._held = self._held, []
        return [record for record, sent in held if sent or not self.tripped]

    def _trip(self, why: str) -> None:
        self.tripped = self.tripped or why
