"""What a run tells while it goes on: the pipeline emits these and never logs, measures or prints by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True)
class RunStarted:
    """A run begins; ``streams`` in the order in which they will go."""

    run_id: str
    job: str
    streams: tuple[str, ...]


@dataclass(frozen=True)
class Waiting:
    """The run has not begun: another one is at work on its streams."""

    message: str


@dataclass(frozen=True)
class StreamStarted:
    """A stream begins; ``total_bytes`` and ``total_rows`` are what the source expects, where it knows."""

    stream: str
    total_bytes: int | None
    total_rows: int | None


@dataclass(frozen=True)
class Progress:
    """How far a stream is: totals since it began, not differences."""

    stream: str
    rows_read: int
    rows_written: int
    rows_quarantined: int
    source_bytes: int
    arrow_bytes: int


@dataclass(frozen=True)
class Warning_:  # noqa: N801  Warning is a builtin
    """Something that the report will say; the run goes on."""

    stream: str | None
    message: str


@dataclass(frozen=True)
class TableCared:
    """A table was taken care of after a commit; ``result`` is that of ``dativo table``."""

    stream: str
    table: str
    action: str
    result: dict[str, Any]


@dataclass(frozen=True)
class StreamFinished:
    """A stream ended; ``result`` is its part of the report."""

    stream: str
    result: dict[str, Any]


@dataclass(frozen=True)
class RunFinished:
    """A run ended; ``report`` is the whole report document."""

    report: dict[str, Any]


Event: TypeAlias = (
    RunStarted | Waiting | StreamStarted | Progress | Warning_ | TableCared | StreamFinished | RunFinished
)
Listener: TypeAlias = Callable[[Event], None]
