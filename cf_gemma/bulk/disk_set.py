"""A set of texts that takes no memory to speak of, however many there are."""

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
        self._db.execute("CREATE TABLE ids (id TEXT PRIMARY KEY) WITHOUT ROWID")

    def add(self, text: str) -> bool:
        """Whether the text is new."""
        return self._db.execute("INSERT OR IGNORE INTO ids VALUES (?)", (text,)).rowcount == 1

    def __contains__(self, text: str) -> bool:
        return self._db.execute("SELECT 1 FROM ids WHERE id = ?", (text,)).fetchone() is not None

    def close(self) -> None:
        """Frees the file."""
        self._end()
