"""What each stream's target was last seen to remember, in the file beside the job: a cache that notices lost commits.

The target's word always counts, and the cache is repaired to it. It knows one thing that the target cannot say: that
there was more before, where a table was dropped, restored from an older copy, or is looked for in another place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from dativo_ingest.run.state_file import opened
from dativo_plugin_sdk.config import TargetConfig
from dativo_plugin_sdk.errors import DataError, DativoError
from dativo_plugin_sdk.fingerprints import fingerprint
from dativo_plugin_sdk.tables import CommittedState

_TABLE = """
CREATE TABLE IF NOT EXISTS seen_states (
    job TEXT NOT NULL, stream TEXT NOT NULL, place TEXT NOT NULL,
    generation INTEGER NOT NULL, text TEXT NOT NULL, seen_at TEXT NOT NULL,
    PRIMARY KEY (job, stream, place)
)
"""
_SAVE = "INSERT OR REPLACE INTO seen_states VALUES (?, ?, ?, ?, ?, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))"
_BUSY_TIMEOUT_S = 5.0  # a cache is worth no long wait


@dataclass(frozen=True)
class SeenKey:
    """A stream of a job, and where its table is."""

    job: str
    stream: str
    place: str
    """A fingerprint: nobody can read a connection from it."""
    table: str
    """The table's name in messages."""

    @classmethod
    def of(cls, config: TargetConfig, table: str, *, job: str, stream: str) -> SeenKey:
        """Name a stream's table; what it is called and the target's connection make the place."""
        return cls(job, stream, fingerprint(config.type, dict(config.connection), table), table)


@dataclass(frozen=True)
class Seen:
    """What was seen last: in the place where the table is now, and the most in any other."""

    here: CommittedState | None = None
    elsewhere: CommittedState | None = None

    def doubt(self, key: SeenKey, found: CommittedState) -> str | None:
        """Say in a sentence what a target has lost since; None where it has all that was seen."""
        here, elsewhere = self.here, self.elsewhere
        if here is not None and found.generation < here.generation:
            what = f"{_named(here)} was seen there before: the table was dropped or restored from an older copy"
        elif here is not None and found.generation == here.generation and found.commit_id != here.commit_id:
            what = f"{_named(here)} was seen there before: the table was made anew or restored, and loaded since"
        elif here is None and elsewhere is not None and found.generation < elsewhere.generation:
            what = f"{_named(elsewhere)} was seen before with another table name or connection of the target"
        else:
            return None
        return (
            f"{key.table} has {_named(found)} of stream {key.stream}, but {what}; the target counts, so this run goes "
            "on from what it has: if that is not meant, bring back what was there before the next run, or load "
            "everything with --full-refresh"
        )


class SeenStates:
    """The cache; where its file cannot be used, it knows nothing and says why.

    Args:
        path: The file; its folder is created with it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.warning: str | None = None
        """Why nothing is remembered, where nothing is."""

    def load(self, key: SeenKey) -> Seen:
        """Give what was seen; asked before the target, which other runs may move meanwhile."""
        if not self._path.exists():
            return Seen()
        here: CommittedState | None = None
        others: list[CommittedState] = []
        with self._warned(), opened(self._path, _TABLE, busy_timeout_s=_BUSY_TIMEOUT_S) as connection:
            found = "SELECT place, text FROM seen_states WHERE job = ? AND stream = ?"
            for place, text in connection.execute(found, (key.job, key.stream)):
                state = _read(text)
                if place == key.place:
                    here = state
                elif state is not None:
                    others.append(state)
        return Seen(here, max(others, key=lambda state: state.generation, default=None))

    def save(self, key: SeenKey, state: CommittedState) -> None:
        """Remember what the target has now; what it does not have is forgotten."""
        text = replace(state, quarantine=None).to_json()
        with self._warned(), opened(self._path, _TABLE, busy_timeout_s=_BUSY_TIMEOUT_S) as connection:
            connection.execute(_SAVE, (key.job, key.stream, key.place, state.generation, text))

    @contextmanager
    def _warned(self) -> Iterator[None]:
        try:
            yield
        except DativoError as error:
            self.warning = f"what the target had cannot be remembered, so that nobody notices if it is lost: {error}"


def _read(text: str) -> CommittedState | None:
    """Read a state; one that is damaged was never seen."""
    try:
        return CommittedState.from_json(text)
    except (ValueError, TypeError, AttributeError, DataError):
        return None


def _named(state: CommittedState) -> str:
    if not state.generation:
        return "no commit"
    return f"generation {state.generation} (commit {state.commit_id} of {state.committed_at})"
