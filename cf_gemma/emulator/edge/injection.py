"""Faults on demand: the `x-emulator-fault` request header, which only the emulator knows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from cf_gemma.emulator.faults import CUT, Fault, Refusal
from cf_gemma.errors.codes import CODES

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T", int, float)


@dataclass(frozen=True, slots=True)
class Injection:
    """One header, read: `429-3040;times=2`.

    First the fault: `<status>-<code>`, a known `<code>`, a bare `<status>`, `html` (a proxy's 502 page) or `cut` (the
    connection). Then, in any order, `;times=` how many requests with this very header fail (default: every one),
    `;after=` how many deltas come first (default 0: refused before the answer begins), `;retry-after=` seconds.

    Raises:
        ValueError: `times` is less than 1, or `after` is negative.
    """

    fault: Fault
    times: int | None = None
    after: int = 0

    def __post_init__(self) -> None:
        if self.times is not None and self.times < 1:
            raise ValueError(f"times must be at least 1 (got {self.times})")
        if self.after < 0:
            raise ValueError(f"after must be 0 or more (got {self.after})")

    @classmethod
    def parse(cls, header: str) -> Self:
        """Reads the header. Raises Refusal (400) that says what is wrong with it."""
        head, *rest = (part.strip() for part in header.split(";"))
        try:
            settings = dict(map(_setting, rest))
            fault = replace(_fault(head), retry_after=settings.get("retry-after"))
            return cls(fault, settings.get("times"), settings.get("after", 0))
        except ValueError as error:
            raise Refusal(Fault(400, message=f"x-emulator-fault: can't read {header!r}: {error}. {_VALID}")) from error


@dataclass(slots=True)
class Injections:
    """Counts the requests that bear the header, and tells which fail."""

    seen: dict[str, int] = field(default_factory=dict[str, int])
    """Requests by header."""

    def take(self, header: str | None) -> Injection | None:
        """What breaks off the answer to a request with this header, if something does.

        Raises Refusal for a request that fails before its answer begins.
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
        return Fault(_number("the status", status), _number("the code", code))
    number = _number("the fault", head)
    return Fault.of(number) if number in CODES else Fault(number)


def _setting(part: str) -> tuple[str, Any]:
    name, _, value = part.partition("=")
    if name not in ("times", "after", "retry-after"):
        raise ValueError(f"{name!r} is not a setting of it")
    return name, _number(name, value, float if name == "retry-after" else int)


def _number(what: str, text: str, kind: Callable[[str], T] = int) -> T:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{what} must be a number, not {text!r}") from None


_VALID: Final = (
    "It takes cut, html, a status of 400 to 599, <status>-<code>, or one of the codes "
    f"{', '.join(map(str, CODES))}; and behind it ;times=1 or more, ;after=0 or more, ;retry-after=seconds"
)
