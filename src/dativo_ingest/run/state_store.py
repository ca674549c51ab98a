"""State of targets that cannot keep it themselves, in one SQLite file beside the job."""

from __future__ import annotations

from pathlib import Path

from dativo_ingest.run.state_file import opened

_TABLE = """
CREATE TABLE IF NOT EXISTS states (
    key TEXT PRIMARY KEY, generation INTEGER NOT NULL, text TEXT NOT NULL, saved_at TEXT NOT NULL
) WITHOUT ROWID
"""
_FIRST = """
INSERT INTO states VALUES (?, 1, ?, strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) ON CONFLICT (key) DO NOTHING
"""
_NEXT = """
UPDATE states SET generation = generation + 1, text = ?, saved_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
WHERE key = ? AND generation = ?
"""


class SqliteStateStore:
    """A `StateStore` in a file, safe against other processes; the file appears with the first save.

    Args:
        path: The file; its folder is created with it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self, key: str) -> str | None:
        """Give the text saved last; None where nothing ever was, also where the file does not exist.

        Raises:
            DatabaseLockError: Another process holds the file for longer than 30 seconds.
        """
        if not self._path.exists():
            return None
        with opened(self._path, _TABLE) as connection:
            row = connection.execute("SELECT text FROM states WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def save(self, key: str, expected_generation: int, text: str) -> bool:
        """Replace the text in one statement if it was saved ``expected_generation`` times; say whether it was.

        Raises:
            DatabaseLockError: Another process holds the file for longer than 30 seconds.
            DiskFullError: There is no space for it.
            InsufficientPermissionsError: The file or its folder cannot be written.
        """
        with opened(self._path, _TABLE) as connection:
            if expected_generation == 0:
                changed = connection.execute(_FIRST, (key, text))
            else:
                changed = connection.execute(_NEXT, (text, key, expected_generation))
            return changed.rowcount == 1
