"""A part of the demo: its heading, with room around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def section(console: Console, title: str) -> None:
    """Begins a part."""
    console.print()
    console.rule(title)
    console.print()
