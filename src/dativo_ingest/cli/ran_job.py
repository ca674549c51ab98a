"""A job that ran: its report, and what text tells beside it."""

from __future__ import annotations

import fnmatch
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dativo_ingest.cli import exit_codes
from dativo_ingest.cli.text import report_text
from dativo_ingest.run.error_document import error_document
from dativo_ingest.run.events import StreamFinished, StreamStarted

if TYPE_CHECKING:
    from pathlib import Path

    from dativo_ingest.job.model import Job
    from dativo_ingest.run.events import Event
    from dativo_ingest.run.plan import RunOptions


@dataclass
class RanJob:
    """One job's run; ``job`` is None where its file could not be read."""

    report: dict[str, Any]
    options: RunOptions
    job: Job | None = None
    _started_s: dict[str, float] = field(default_factory=dict)
    _durations_ms: dict[str, float] = field(default_factory=dict)

    def time(self, event: Event) -> None:
        """Take the time of each stream."""
        if isinstance(event, StreamStarted):
            self._started_s[event.stream] = time.monotonic()
        elif isinstance(event, StreamFinished) and event.stream in self._started_s:
            self._durations_ms[event.stream] = (time.monotonic() - self._started_s[event.stream]) * 1000

    def text(self) -> str:
        """Show the report for people."""
        return report_text(
            self.report, durations_ms=self._durations_ms, quarantine_tables=self._quarantine_tables(), notes=self._notes
        )

    def tracebacks(self) -> list[str]:
        """Give where unknown exceptions came from; ``--debug`` shows it."""
        details = (error.get("details") or {} for error in self.report["errors"])
        return [each["traceback"].rstrip() for each in details if "traceback" in each]

    @property
    def _notes(self) -> list[str]:
        if self.options.dry_run:
            return ["dry run: nothing was written, no state moved"]
        if self.options.limit is not None:
            return [f"limited to {self.options.limit} rows a stream: no state moved"]
        if self.options.is_backfill:
            first, end = self.options.cursor_from, self.options.cursor_to
            parts = [f"from {first}" if first is not None else "", f"below {end}" if end is not None else ""]
            return [f"only rows with a cursor {' and '.join(filter(None, parts))}: no state moved"]
        return []

    def _quarantine_tables(self) -> dict[str, str]:
        if self.job is None:
            return {}
        return {stream["name"]: _quarantine_table(self.job, stream["name"]) for stream in self.report["streams"]}


def _quarantine_table(job: Job, name: str) -> str:
    """Name the table beside a stream's own."""
    patterns = (pattern for pattern in job.streams if fnmatch.fnmatchcase(name, pattern))
    stream = job.streams.get(name) or job.streams[next(patterns)]
    table = f"{stream.table or name.rsplit('.', 1)[-1]}__quarantine"
    namespace = stream.namespace or job.target.namespace
    return f"{namespace}.{table}" if namespace else table


def not_begun(path: Path, error: BaseException) -> dict[str, Any]:
    """Give the report of a job whose file could not be read."""
    from dativo_ingest.run.report import now, report_document
    from dativo_ingest.run.run_ids import uuid7

    return report_document(
        run_id=uuid7(),
        job=str(path),
        tenant="default",
        started_at=now(),
        delivery="exactly_once",
        isolation="built_in",
        plugins=(),
        streams=[],
        errors=[error_document(error, stage="job")],
        warnings=[],
        codes=[exit_codes.of(error)],
    )
