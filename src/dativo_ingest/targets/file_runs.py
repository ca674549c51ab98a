"""Which run a file is of, as its name tells, and how long runs take."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

_RUN = re.compile(r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})-")
_TIMES_LONGEST = 2


def run_of(path: str) -> str | None:
    """Give the run that a file's name begins with."""
    found = _RUN.match(path.rpartition("/")[2])
    return found[1] if found else None


def begun_at(run_id: str) -> datetime | None:
    """Say when a run began, where its id tells (RFC 9562, UUID version 7)."""
    digits = run_id.replace("-", "")
    if not re.fullmatch(r"[0-9a-f]{12}7[0-9a-f]{19}", digits):
        return None
    try:
        return datetime.fromtimestamp(int(digits[:12], 16) / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None


@dataclass
class FileRuns:
    """When each run was last seen, by the files it wrote and the commits it made."""

    last_seen: dict[str, datetime] = field(default_factory=dict)

    def note(self, run_id: str | None, at: datetime) -> None:
        """Note that a run was at work at a time."""
        if run_id is not None:
            self.last_seen[run_id] = max(at, self.last_seen.get(run_id, at))

    def grace(self, asked: timedelta) -> timedelta:
        """Say how old a file must be to be of no run that is still at work: twice the longest run, if that is more."""
        lengths = (at - begun for run_id, at in self.last_seen.items() if (begun := begun_at(run_id)) is not None)
        return max(asked, _TIMES_LONGEST * max(lengths, default=timedelta()))

    def is_over(self, path: str, written_at: datetime, before: datetime, running: Collection[str]) -> bool:
        """Say whether a file was written before a time, and so was all that we know of its run."""
        run_id = run_of(path)
        if run_id is None:
            return written_at < before
        return run_id not in running and max(written_at, self.last_seen.get(run_id, written_at)) < before
