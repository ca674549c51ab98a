"""What a run tells while it goes on: the pipeline emits these and never logs, measures or prints by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
class Metric:
    """A number as Prometheus has it, since the run began: a counter where its name ends with ``_total``."""

    name: str
    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class PluginStarted:
    """A process of the plugin at one ``end`` starts; each event of plugins has the metrics that it has changed."""

    end: str
    plugin: str
    isolation: str
    metrics: tuple[Metric, ...]


@dataclass(frozen=True)
class PluginEnded:
    """A process of a plugin is gone, with all that it started; ``usage`` is its entry in the report's ``processes``."""

    end: str
    plugin: str
    usage: dict[str, Any]
    metrics: tuple[Metric, ...]


@dataclass(frozen=True)
class LimitHit:
    """A plugin met a limit: ``memory``, ``pids``, ``wall``, ``tmp``, ``log`` or ``system_calls``.

    ``error_code`` is that of the error which came of it, None where the plugin went on.
    """

    end: str
    plugin: str
    limit: str
    error_code: str | None
    metrics: tuple[Metric, ...]


@dataclass(frozen=True)
class EgressDenied:
    """A plugin wanted to reach a ``host`` and was not let, ``times`` times; ``facts`` say why, and what allows it."""

    end: str
    plugin: str
    host: str
    times: int
    facts: dict[str, Any]
    metrics: tuple[Metric, ...]


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
    RunStarted
    | Waiting
    | StreamStarted
    | Progress
    | Warning_
    | TableCared
    | PluginStarted
    | PluginEnded
    | LimitHit
    | EgressDenied
    | StreamFinished
    | RunFinished
)
Listener: TypeAlias = Callable[[Event], None]
