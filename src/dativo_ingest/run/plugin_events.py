"""What plugins' processes do, as events of the run, with totals that a metrics system can take as they are."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Final

from dativo_ingest.plugin_process.records import Denied, Ended, Limited, Note, PluginRecord, Reached, Started
from dativo_ingest.run.events import EgressDenied, LimitHit, Listener, Metric, PluginEnded, PluginStarted

METRICS: Final = {
    "dativo_plugin_starts_total": "Processes of plugins that were started, by the `isolation` that they got.",
    "dativo_plugin_ends_total": "Processes that are gone; `outcome` is `ok`, `failed` or `killed`.",
    "dativo_plugin_cpu_seconds_total": "What they used of the processors.",
    "dativo_plugin_throttled_seconds_total": "How long they waited because they had used their part of them.",
    "dativo_plugin_sent_bytes_total": "What was sent to them.",
    "dativo_plugin_received_bytes_total": "What they sent.",
    "dativo_plugin_peak_memory_bytes": "The most memory of one of them: a gauge.",
    "dativo_plugin_limits_hit_total": "How often one met a `limit`: that of a resource, or `system_calls`.",
    "dativo_plugin_egress_denied_total": "How often one wanted to reach a host and was not let.",
    "dativo_plugin_egress_connections_total": "Connections to granted hosts.",
    "dativo_plugin_egress_upload_bytes_total": "What went to granted hosts.",
    "dativo_plugin_egress_download_bytes_total": "What came from granted hosts.",
}
"""The names of all metrics, with what they count; every one has the labels ``tenant``, ``end`` and ``plugin``."""


@dataclass
class PluginCounters:
    """The totals of one run; may be used by several threads.

    Attributes:
        emit: Told each event, one at a time.
        tenant: Whose job it is.
    """

    emit: Listener
    tenant: str
    _values: dict[tuple[str, frozenset[tuple[str, str]]], float] = field(default_factory=lambda: defaultdict(float))
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def take(self, record: PluginRecord, note: Note) -> None:
        """Tell of one thing that happened."""
        base = {"tenant": self.tenant, "end": record.end, "plugin": record.name}
        with self._lock:
            match note:
                case Started(isolation):
                    started = self._add("dativo_plugin_starts_total", 1, base | {"isolation": isolation})
                    self.emit(PluginStarted(record.end, record.name, isolation, (started,)))
                case Ended(usage):
                    self.emit(PluginEnded(record.end, record.name, asdict(usage), self._used(note, base)))
                case Limited(limit, code):
                    hit = self._add("dativo_plugin_limits_hit_total", 1, base | {"limit": limit})
                    self.emit(LimitHit(record.end, record.name, limit, code, (hit,)))
                case Denied(host, times, facts):
                    denied = self._add("dativo_plugin_egress_denied_total", times, base)
                    self.emit(EgressDenied(record.end, record.name, host, times, dict(facts), (denied,)))
                case Reached(_, facts):
                    for name, key in (
                        ("connections", "connections"),
                        ("upload_bytes", "upload"),
                        ("download_bytes", "download"),
                    ):
                        self._add(f"dativo_plugin_egress_{name}_total", facts.get(key, 0), base)

    def _used(self, note: Ended, base: Mapping[str, str]) -> tuple[Metric, ...]:
        usage = note.usage
        failed = usage.signal is not None or usage.exit_code not in {0, None}
        outcome = "killed" if usage.killed else "failed" if failed else "ok"
        return (
            self._add("dativo_plugin_ends_total", 1, {**base, "outcome": outcome}),
            self._add("dativo_plugin_cpu_seconds_total", usage.cpu_s, base),
            self._add("dativo_plugin_throttled_seconds_total", usage.throttled_s, base),
            self._add("dativo_plugin_sent_bytes_total", usage.bytes_in, base),
            self._add("dativo_plugin_received_bytes_total", usage.bytes_out, base),
            self._peak("dativo_plugin_peak_memory_bytes", usage.peak_memory_bytes, base),
            *(
                self._add(f"dativo_plugin_egress_{name}_total", 0, base)
                for name in ("connections", "upload_bytes", "download_bytes")
            ),
        )

    def _add(self, name: str, value: float, labels: Mapping[str, str]) -> Metric:
        key = name, frozenset(labels.items())
        self._values[key] += value
        return Metric(name, labels, round(self._values[key], 6))

    def _peak(self, name: str, value: float, labels: Mapping[str, str]) -> Metric:
        key = name, frozenset(labels.items())
        self._values[key] = max(self._values[key], value)
        return Metric(name, labels, self._values[key])
