from __future__ import annotations

import pytest

from dativo_ingest.plugin_process.records import PluginRecord, ProcessUsage
from dativo_ingest.run.events import EgressDenied, Event, LimitHit, Metric, PluginEnded, PluginStarted
from dativo_ingest.run.plugin_events import METRICS, PluginCounters
from dativo_ingest.sandbox.grant import Grant
from dativo_plugin_sdk.errors import DataError, MemoryLimitError, SandboxError

BASE = {"tenant": "acme", "end": "source", "plugin": "shop"}
NETWORK = {
    "hosts": [{"host": "a.com:443", "addresses": ["1.1.1.1"], "connections": 2, "upload": 10, "download": 20}],
    "denied": [{"host": "b.com:443", "kind": "host", "why": "it is not granted", "key": "network", "times": 3}],
}


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def record(told: list[Event]) -> PluginRecord:
    record = PluginRecord("source", "shop", "1.0", "ab", Grant(), isolation="process")
    counters = PluginCounters(told.append, "acme")
    record.tell = lambda note: counters.take(record, note)
    return record


def test_totals_go_on_over_all_processes_of_a_run(record: PluginRecord, told: list[Event]) -> None:
    for cpu_s, peak in ((1.0, 500), (2.0, 300)):
        record.started()
        record.ended(ProcessUsage(cpu_s, peak, 1, 10, 20, 1.0, exit_code=0, throttled_s=0.5))

    first, _, second, ended = told
    assert isinstance(first, PluginStarted)
    assert isinstance(second, PluginStarted)
    assert isinstance(ended, PluginEnded)
    labels = {**BASE, "isolation": "process"}
    assert second.metrics == (Metric("dativo_plugin_starts_total", labels, 2),)
    values = {each.name: each.value for each in ended.metrics}
    assert values["dativo_plugin_cpu_seconds_total"] == 3.0
    assert values["dativo_plugin_throttled_seconds_total"] == 1.0
    assert values["dativo_plugin_sent_bytes_total"] == 20
    assert values["dativo_plugin_peak_memory_bytes"] == 500


def test_a_limit_is_told_with_its_name_and_an_error_of_something_else_is_not(
    record: PluginRecord, told: list[Event]
) -> None:
    record.failed(DataError("a bad row"))
    record.failed(MemoryLimitError("too much", details={"limit": "memory"}))
    record.failed(MemoryLimitError("the machine has no more"))
    record.failed(SandboxError("ptrace", details={"syscall": "ptrace"}))
    record.failed(MemoryLimitError("too much", details={"limit": "memory"}))

    hits = [event for event in told if isinstance(event, LimitHit)]
    assert told == hits
    assert [(hit.limit, hit.error_code, hit.metrics[0].value) for hit in hits] == [
        ("memory", "RESOURCE_MEMORY", 1),
        ("system_calls", "SANDBOX_VIOLATION", 1),
        ("memory", "RESOURCE_MEMORY", 2),
    ]


def test_a_plugin_that_went_on_without_more_threads_has_met_its_limit_too(
    record: PluginRecord, told: list[Event]
) -> None:
    record.ended(ProcessUsage(1.0, 1, 1, 1, 1, 1.0, refused_processes=2))

    hit = told[0]
    assert isinstance(hit, LimitHit)
    assert (hit.limit, hit.error_code) == ("pids", None)


def test_hosts_that_were_denied_are_told_and_those_that_were_reached_are_counted(
    record: PluginRecord, told: list[Event]
) -> None:
    record.reached(NETWORK)
    record.ended(ProcessUsage(1.0, 1, 1, 1, 1, 1.0))

    denied, ended = told
    assert isinstance(denied, EgressDenied)
    assert isinstance(ended, PluginEnded)
    assert (denied.host, denied.times, denied.facts["why"]) == ("b.com:443", 3, "it is not granted")
    assert denied.metrics == (Metric("dativo_plugin_egress_denied_total", BASE, 3),)
    values = {each.name: each.value for each in ended.metrics}
    assert values["dativo_plugin_egress_connections_total"] == 2
    assert values["dativo_plugin_egress_upload_bytes_total"] == 10
    assert values["dativo_plugin_egress_download_bytes_total"] == 20


def test_every_metric_that_is_told_is_documented(record: PluginRecord, told: list[Event]) -> None:
    record.started()
    record.failed(MemoryLimitError("too much", details={"limit": "memory"}))
    record.reached(NETWORK)
    record.ended(ProcessUsage(1.0, 1, 1, 1, 1, 1.0))

    metrics = [metric for event in told for metric in getattr(event, "metrics", ())]
    assert {metric.name for metric in metrics} == set(METRICS)
    assert all(metric.labels.items() >= BASE.items() for metric in metrics)
