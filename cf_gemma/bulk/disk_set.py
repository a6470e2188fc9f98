"""A set of texts, each with a number, that takes no memory to speak of, however many there are."""

from __future__ import annotations

import sqlite3
import weakref


class DiskSet:
    """Texts in a temporary file of SQLite's, which is gone with the process."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        # A run that is refused or stopped early leaves sets behind: they close with whoever had them.
        self._end = weakref.finalize(self, self._db.close)
        self._db.execute("PRAGMA journal_mode=OFF")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute("CREATE TABLE ids (id TEXT PRIMARY KEY, number REAL) WITHOUT ROWID")

    def add(self, text: str, number: float = 0.0) -> bool:
        """Whether the text is new."""
        return self._db.execute("INSERT OR IGNORE INTO ids VALUES (?, ?)", (text, number)).rowcount == 1

    def number(self, text: str) -> float:
        """The number of a text; 0 for one that isn't there."""
        row = self._db.execute("SELECT number FROM ids WHERE id = ?", (text,)).fetchone()
        return row[0] if row else 0.0

    def total(self) -> float:
        """The sum of all numbers."""
        return self._db.execute("SELECT total(number) FROM ids").fetchone()[0]

    def __contains__(self, text: str) -> bool:
        return self._db.execute("SELECT 1 FROM ids WHERE id = ?", (text,)).fetchone() is not None

    def close(self) -> None:
        """Frees the file."""
        self._end()
