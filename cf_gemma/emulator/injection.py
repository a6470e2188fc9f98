"""Faults on demand: the `x-emulator-fault` request header, which only the emulator knows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

from cf_gemma.emulator.faults import CUT, FAULTS, Fault, Refusal


@dataclass(frozen=True, slots=True)
class Injection:
    """One header, read: `429-3040;times=2`.

    First the fault: `<status>-<code>`, a known `<code>`, a bare `<status>`, `html` (a proxy's 502 page) or `cut` (the
    connection). Then, in any order, `;times=` how many requests with this very header fail before they pass (default:
    every one), `;after=` how many deltas come first (default 0: refused before the answer begins), `;retry-after=`
    seconds.
    """

    fault: Fault
    times: int | None = None
    after: int = 0

    @classmethod
    def parse(cls, header: str) -> Self:
        """Reads the header. Raises Refusal (400) that says what is wrong with it."""
        head, *rest = (part.strip() for part in header.split(";"))
        try:
            given = dict(part.split("=", 1) for part in rest)
            times, after, retry_after = (given.pop(name, None) for name in ("times", "after", "retry-after"))
            fault = _fault(head)
            if retry_after is not None:
                fault = replace(fault, retry_after=float(retry_after))
            injection = cls(fault, None if times is None else int(times), int(after or 0))
        except ValueError as error:
            raise Refusal(Fault(400, message=f"x-emulator-fault: can't read {header!r}: {error}")) from error
        if given:
            raise Refusal(Fault(400, message=f"x-emulator-fault: {', '.join(given)} is not a setting of it"))
        return injection


@dataclass(slots=True)
class Injections:
    """Which of the requests that bear the header are to fail."""

    seen: dict[str, int] = field(default_factory=dict[str, int])
    """Requests by header."""

    def take(self, header: str | None) -> Injection | None:
        """What to do in mid-answer to a request with this header; None when it is to pass.

        Raises Refusal for one that fails before its answer begins.
        """
        if not header:
            return None
        injection = Injection.parse(header)
        self.seen[header] = self.seen.get(header, 0) + 1
        if injection.times is not None and self.seen[header] > injection.times:
            return None
        if not injection.after:
            raise Refusal(injection.fault)
        return injection


def _fault(head: str) -> Fault:
    named = {"cut": CUT, "html": Fault(502)}
    if head in named:
        return named[head]
    status, dash, code = head.partition("-")
    if dash:
        return Fault(int(status), int(code))
    return Fault.of(int(status)) if int(status) in FAULTS else Fault(int(status))
