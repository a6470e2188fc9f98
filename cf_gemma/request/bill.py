"""What one call may cost, and who wants to know what it has cost. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cf_gemma.model.completion import Usage


class Bill:
    """A call's: entered while the call is made. This one is of a call that nobody counts."""

    counts = False
    """Whether anybody wants to know."""

    def __enter__(self) -> None:
        """Sets aside what the call may cost. Raises BudgetExceeded when there is not so much left."""

    def __exit__(self, *exc: object) -> None:
        """Gives back what was set aside."""

    def pay(self, usage: Usage) -> None:
        """Counts what one request of the call has cost."""


FREE: Final = Bill()
"""Of all calls without a budget."""
