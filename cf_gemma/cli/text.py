"""Texts as a terminal takes them."""

from __future__ import annotations

import math
import unicodedata
from typing import Final


def flowing(text: str) -> str:
    """Help that fits any width: the lines of a paragraph are joined, those that are indented are left as they are."""
    return "\n\n".join(part if part.startswith("    ") else " ".join(part.split()) for part in text.split("\n\n"))


def dollars(cost: float) -> str:
    """An amount in US dollars: to the cent, and below a dollar two digits that mean something."""
    if cost >= 1:
        return f"${cost:,.2f}"
    digits = 2 if cost <= 0 else 1 - math.floor(math.log10(cost))
    return f"${cost:.{max(digits, 2)}f}"


def message_of(error: Exception) -> str:
    """An error in the words of the command line, where the library's own speak of arguments."""
    text = str(error)
    for argument, option in _OPTIONS.items():
        text = text.replace(argument, option)
    return text


_OPTIONS: Final = {
    "; error.partial has what had arrived": "",
    "set thinking=False": "use --no-thinking",
    "raise max_tokens": "raise --max-tokens",
}


def printable(text: str) -> str:
    """The text without control characters, with which a model could write to the terminal what it likes."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) != "Cc")
