"""How a run goes, told on stderr: a bar on a terminal, lines of text or JSON elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from dativo_ingest.cli.table_text import done_text
from dativo_ingest.cli.text import counted, duration, size
from dativo_ingest.run.events import (
    EgressDenied,
    Event,
    LimitHit,
    PluginEnded,
    PluginStarted,
    Progress,
    RunFinished,
    RunStarted,
    StreamFinished,
    StreamStarted,
    TableCared,
    Waiting,
    Warning_,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import TaskID

    from dativo_ingest.cli.logs import Talk
    from dativo_ingest.run.events import Listener

Mode: TypeAlias = Literal["auto", "plain", "json", "none"]
Clock: TypeAlias = Callable[[], float]

_PLUGIN_EVENTS: dict[type[Event], str] = {
    PluginStarted: "plugin_started",
    PluginEnded: "plugin_ended",
    LimitHit: "limit_hit",
    EgressDenied: "egress_denied",
}
EVERY_S = 5.0
"""Seconds between two lines about one stream."""


def chosen(mode: Mode, *, log_format: str, is_terminal: bool, environ: Mapping[str, str]) -> str:
    """Decide how progress shows: ``bar``, ``plain``, ``json`` or ``none``.

    ``auto`` is a bar on a terminal that can draw one and is not a CI system's, JSON lines beside JSON logs, else plain.
    """
    if mode != "auto":
        return mode
    if log_format == "json":
        return "json"
    able = is_terminal and not environ.get("CI") and environ.get("TERM") not in {"dumb", "unknown"}
    return "bar" if able else "plain"


@contextmanager
def shown(mode: Mode, talk: Talk, environ: Mapping[str, str]) -> Iterator[Listener]:
    """Give the listener that shows a run's progress, and clean the screen afterwards."""
    is_terminal = sys.stderr.isatty()
    match chosen(mode, log_format=talk.log_format, is_terminal=is_terminal, environ=environ):
        case "bar":
            with Bar() as bar:
                yield _both(bar, Notes(talk))
        case "json":
            yield JsonLines(talk)
        case "plain":
            yield _both(PlainLines(talk), Notes(talk))
        case _:
            yield Notes(talk)


def _both(first: Listener, second: Listener) -> Listener:
    def listen(event: Event) -> None:
        first(event)
        second(event)

    return listen


@dataclass
class Notes:
    """Says what a run waits for and warns of, while it goes on."""

    talk: Talk

    def __call__(self, event: Event) -> None:
        """Take one event."""
        match event:
            case Warning_():
                where = f"{event.stream}: " if event.stream else ""
                self.talk.say(f"{where}{event.message}", "warning", stream=event.stream)
            case Waiting():
                self.talk.say(event.message)
            case TableCared():
                said = f"{event.table}: {event.action}: {done_text(event.action, event.result)}"
                self.talk.say(said, stream=event.stream)
            case _:
                pass


@dataclass
class Pace:
    """How fast one stream goes, and how far it has to go."""

    total_bytes: int | None
    total_rows: int | None
    started_s: float
    shown_s: float

    def facts(self, progress: Progress, now_s: float) -> dict[str, Any]:
        """Give rates over the whole stream so far, the part that is done, and the seconds left, where known."""
        elapsed_s = max(now_s - self.started_s, 1e-9)
        done = self._done(progress)
        return {
            "rows_per_s": round(progress.rows_read / elapsed_s),
            "bytes_per_s": round((progress.source_bytes or progress.arrow_bytes) / elapsed_s),
            "done": None if done is None else round(done, 4),
            "eta_s": round(elapsed_s * (1 - done) / done, 1) if done else None,
        }

    def _done(self, progress: Progress) -> float | None:
        if self.total_bytes and progress.source_bytes:
            return min(progress.source_bytes / self.total_bytes, 1.0)
        if self.total_rows:
            return min(progress.rows_read / self.total_rows, 1.0)
        return None


@dataclass
class _Lines:
    """What lines of both kinds share: the pace of each stream, and not too many lines."""

    talk: Talk
    clock: Clock = time.monotonic
    every_s: float = EVERY_S
    paces: dict[str, Pace] = field(default_factory=dict)

    def started(self, event: StreamStarted) -> None:
        now_s = self.clock()
        self.paces[event.stream] = Pace(event.total_bytes, event.total_rows, now_s, now_s)

    def due(self, event: Progress) -> dict[str, Any] | None:
        """Give the facts of a line that is due, None where the last one is too fresh."""
        now_s = self.clock()
        pace = self.paces[event.stream]
        if now_s - pace.shown_s < self.every_s:
            return None
        pace.shown_s = now_s
        return pace.facts(event, now_s)


@dataclass
class PlainLines(_Lines):
    """Progress as lines of text, one every few seconds."""

    def __call__(self, event: Event) -> None:
        """Take one event."""
        match event:
            case RunStarted():
                self.talk.say(f"{event.job}: run {event.run_id}, {counted(len(event.streams), 'stream')}")
            case StreamStarted():
                self.started(event)
                known = f" ({size(event.total_bytes)})" if event.total_bytes is not None else ""
                self.talk.say(f"{event.stream}: started{known}")
            case Progress():
                facts = self.due(event)
                if facts is not None:
                    self.talk.say(f"{event.stream}: {progress_words(event, facts)}")
            case StreamFinished():
                rows = event.result["rows"]
                self.talk.say(f"{event.stream}: {event.result['status']}, {counted(rows['read'], 'row')} read")
            case _:
                pass


def progress_words(event: Progress, facts: Mapping[str, Any]) -> str:
    """Say how far a stream is: ``1,000 rows read, 500 rows/s, 1.0 MB/s, 45 %, 12 s left``."""
    parts = [f"{counted(event.rows_read, 'row')} read"]
    if event.rows_quarantined:
        parts.append(f"{event.rows_quarantined:,} quarantined")
    parts += [f"{facts['rows_per_s']:,} rows/s", f"{size(facts['bytes_per_s'])}/s"]
    if facts["done"] is not None:
        parts.append(f"{facts['done']:.0%}")
    if facts["eta_s"] is not None:
        parts.append(f"{duration(facts['eta_s'] * 1000)} left")
    return ", ".join(parts)


@dataclass
class JsonLines(_Lines):
    """Progress as JSON lines."""

    def __call__(self, event: Event) -> None:
        """Take one event."""
        match event:
            case RunStarted():
                self._write("run_started", run_id=event.run_id, job=event.job, streams=list(event.streams))
            case StreamStarted():
                self.started(event)
                self._write(
                    "stream_started", stream=event.stream, total_bytes=event.total_bytes, total_rows=event.total_rows
                )
            case Progress():
                facts = self.due(event)
                if facts is not None:
                    self._write(
                        "progress",
                        stream=event.stream,
                        rows_read=event.rows_read,
                        rows_written=event.rows_written,
                        rows_quarantined=event.rows_quarantined,
                        source_bytes=event.source_bytes,
                        arrow_bytes=event.arrow_bytes,
                        **facts,
                    )
            case Waiting():
                self._write("waiting", message=event.message)
            case Warning_():
                self._write("warning", stream=event.stream, message=event.message)
            case PluginStarted() | PluginEnded() | LimitHit() | EgressDenied():
                self._write_of_plugin(event)
            case StreamFinished():
                self._write(
                    "stream_finished", stream=event.stream, status=event.result["status"], rows=event.result["rows"]
                )
            case RunFinished():
                self._write("run_finished", status=event.report["status"], exit_code=event.report["exit_code"])

    def _write_of_plugin(self, event: PluginStarted | PluginEnded | LimitHit | EgressDenied) -> None:
        facts = asdict(event)
        facts |= facts.pop("facts", {})
        self._write(_PLUGIN_EVENTS[type(event)], **facts)

    def _write(self, name: str, **facts: Any) -> None:
        self.talk.write_json({"level": "warning" if name == "warning" else "info", "event": name, **facts})


class Bar:
    """Progress as one bar a stream: rows, rows/s, bytes/s and the time left."""

    def __enter__(self) -> Self:
        from rich import progress as rich_progress
        from rich.console import Console

        self._tasks: dict[str, TaskID] = {}
        self._paces: dict[str, Pace] = {}
        self._progress = rich_progress.Progress(
            rich_progress.SpinnerColumn(),
            rich_progress.TextColumn("{task.description}", markup=False),
            rich_progress.BarColumn(bar_width=24),
            rich_progress.TextColumn("{task.fields[words]}", markup=False),
            rich_progress.TimeElapsedColumn(),
            console=Console(file=sys.stderr),
            redirect_stdout=False,
            transient=True,
        )
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Take one event."""
        match event:
            case StreamStarted():
                now_s = time.monotonic()
                self._paces[event.stream] = Pace(event.total_bytes, event.total_rows, now_s, now_s)
                self._tasks[event.stream] = self._progress.add_task(event.stream, total=None, words="")
            case Progress():
                facts = self._paces[event.stream].facts(event, time.monotonic())
                done = facts["done"]
                self._progress.update(
                    self._tasks[event.stream],
                    total=None if done is None else 1.0,
                    completed=done or 0.0,
                    words=progress_words(event, facts),
                )
            case StreamFinished() if event.stream in self._tasks:
                self._progress.stop_task(self._tasks[event.stream])
            case _:
                pass
