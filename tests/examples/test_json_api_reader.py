from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dativo_ingest.plugins import PluginLoader
from dativo_plugin_sdk import (
    ConfigurationError,
    DataFormatError,
    DataNotFoundError,
    DativoError,
    IncrementalStateManager,
    InsufficientPermissionsError,
    InvalidConfigError,
    InvalidCredentialsError,
    NetworkError,
    RateLimitError,
    Rows,
    ServiceUnavailableError,
    SimpleReader,
    SourceConfig,
    StreamSpec,
    TimeoutError,
)

Load = Callable[[str], ModuleType]


def config_of(api: Any, *, timeout_s: float = 10.0, objects: tuple[str, ...] = ("orders",), **options: Any) -> Any:
    return SourceConfig(
        type="json_api",
        connection={"base_url": api.url, "timeout_s": timeout_s},
        credentials={"token": "demo-token"},
        objects=list(objects),
        options={"backoff_s": 0.0, **options},
    )


def rows_of(reader: Any, state: IncrementalStateManager | None = None) -> list[dict[str, Any]]:
    return [row for page in reader.extract(state) for row in page]


def test_every_page_of_every_object_is_read(api: Any, load: Load) -> None:
    reader = load("json_api_reader").JSONAPIReader(config_of(api, objects=("orders", "customers"), page_size=100))

    pages = list(reader.extract())

    assert [len(page) for page in pages] == [100, 100, 50, 3]
    assert sorted(row["id"] for page in pages[:3] for row in page) == list(range(1, 251))
    assert reader.get_total_records_estimate() == 253


def test_the_check_tells_who_we_are(api: Any, load: Load) -> None:
    result = load("json_api_reader").JSONAPIReader(config_of(api)).check_connection()

    assert result.success
    assert result.details == {"api_version": "v1", "account_id": "acct_123"}


def test_the_check_says_that_the_key_is_not_valid(api: Any, load: Load) -> None:
    api.token = "another"

    result = load("json_api_reader").JSONAPIReader(config_of(api)).check_connection()

    assert not result.success
    assert result.error_code == "INVALID_CREDENTIALS"
    assert "demo-token" not in result.message


def test_discovery_lists_endpoints_with_columns(api: Any, load: Load) -> None:
    result = load("json_api_reader").JSONAPIReader(config_of(api)).discover()

    assert [(item["name"], item["type"], item["estimated_rows"]) for item in result.objects] == [
        ("orders", "endpoint", 250),
        ("customers", "endpoint", 3),
    ]
    assert result.objects[0]["columns"][0] == {"name": "id", "type": "integer", "nullable": False}


def test_a_second_run_reads_only_what_changed_and_nothing_twice(api: Any, load: Load) -> None:
    reader = load("json_api_reader").JSONAPIReader(config_of(api, page_size=7))
    state = IncrementalStateManager()
    first = rows_of(reader, state)
    latest = first[-1]["updated_at"]
    api.rows["orders"] += [{**first[-1], "id": 251}, {**first[0], "total": 0.0, "updated_at": "2026-02-01T00:00:00Z"}]

    second = rows_of(reader, IncrementalStateManager(state.get_state()))

    assert [(row["id"], row["updated_at"]) for row in second] == [(251, latest), (1, "2026-02-01T00:00:00Z")]
    assert len(first) == 250


def test_many_rows_of_one_moment_over_several_pages_are_not_read_twice(api: Any, load: Load) -> None:
    for row in api.rows["orders"]:
        row["updated_at"] = "2026-01-01T00:00:00Z"
    reader = load("json_api_reader").JSONAPIReader(config_of(api, page_size=10))
    state = IncrementalStateManager()
    first = rows_of(reader, state)
    api.rows["orders"].append({**first[0], "id": 300, "updated_at": "2026-01-02T00:00:00Z"})

    second = rows_of(reader, state)

    assert len(first) == 250
    assert [row["id"] for row in second] == [300]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_fault_that_passes_is_tried_again(status: int, api: Any, load: Load) -> None:
    fault = load("loopback_api").Fault
    api.faults.extend([fault(status, {"Retry-After": "0"}), fault(status)])

    rows = rows_of(load("json_api_reader").JSONAPIReader(config_of(api)))

    assert len(rows) == 250


def test_a_connection_cut_in_the_middle_of_a_page_is_tried_again(api: Any, load: Load) -> None:
    api.faults.append(load("loopback_api").Fault(body=b'{"data": [', cut=True))

    rows = rows_of(load("json_api_reader").JSONAPIReader(config_of(api)))

    assert len(rows) == 250


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param(400, ConfigurationError, id="bad request"),
        pytest.param(401, InvalidCredentialsError, id="unknown key"),
        pytest.param(403, InsufficientPermissionsError, id="not allowed"),
        pytest.param(404, DataNotFoundError, id="no endpoint"),
        pytest.param(429, RateLimitError, id="too many requests"),
        pytest.param(500, ServiceUnavailableError, id="server error"),
        pytest.param(504, TimeoutError, id="gateway timeout"),
        pytest.param(302, ConfigurationError, id="redirect"),
    ],
)
def test_a_status_has_its_error(status: int, expected: type[DativoError], api: Any, load: Load) -> None:
    fault = load("loopback_api").Fault(status, {"Location": "http://127.0.0.1:1/"})
    api.faults.extend([fault, fault])

    with pytest.raises(expected) as caught:
        rows_of(load("json_api_reader").JSONAPIReader(config_of(api, max_attempts=2)))

    assert type(caught.value) is expected
    assert caught.value.details["status"] == status


def test_what_cannot_be_mended_by_waiting_is_not_tried_again(api: Any, load: Load) -> None:
    api.faults.extend([load("loopback_api").Fault(403)] * 3)

    with pytest.raises(InsufficientPermissionsError):
        rows_of(load("json_api_reader").JSONAPIReader(config_of(api)))

    assert len(api.faults) == 2


@pytest.mark.parametrize(
    "retry_after",
    [
        pytest.param("120", id="seconds"),
        pytest.param(format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True), id="date"),
    ],
)
def test_a_wait_longer_than_allowed_ends_the_run_and_says_how_long(retry_after: str, api: Any, load: Load) -> None:
    api.faults.append(load("loopback_api").Fault(429, {"Retry-After": retry_after}))

    with pytest.raises(RateLimitError) as caught:
        rows_of(load("json_api_reader").JSONAPIReader(config_of(api)))

    assert caught.value.retry_after_s is not None
    assert caught.value.retry_after_s > 60


def test_the_wait_is_the_one_the_api_asks_for(api: Any, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    module = load("json_api_reader")
    monkeypatch.setattr(module.time, "sleep", waits.append)
    api.faults.append(load("loopback_api").Fault(503, {"Retry-After": "7"}))

    rows_of(module.JSONAPIReader(config_of(api)))

    assert waits == [7.0]


def test_no_answer_in_time_is_a_timeout(api: Any, load: Load) -> None:
    api.faults.append(load("loopback_api").Fault(delay_s=1.0))

    with pytest.raises(TimeoutError, match=r"did not answer within 0\.2 s"):
        rows_of(load("json_api_reader").JSONAPIReader(config_of(api, timeout_s=0.2, max_attempts=1)))


def test_an_api_that_is_not_there_is_a_network_error(load: Load) -> None:
    with load("loopback_api").serve() as gone:
        config = config_of(gone, max_attempts=2)

    with pytest.raises(NetworkError, match="cannot be reached"):
        rows_of(load("json_api_reader").JSONAPIReader(config))


@pytest.mark.parametrize(
    "body", [pytest.param(b"<html>", id="no json"), pytest.param(b"[]", id="a list"), pytest.param(b"{}", id="no data")]
)
def test_an_answer_of_another_form_is_a_format_error(body: bytes, api: Any, load: Load) -> None:
    api.faults.append(load("loopback_api").Fault(body=body))

    with pytest.raises(DataFormatError):
        rows_of(load("json_api_reader").JSONAPIReader(config_of(api)))


def test_a_misspelt_option_is_refused_with_a_suggestion(api: Any, load: Load) -> None:
    with pytest.raises(InvalidConfigError, match="did you mean page_size"):
        load("json_api_reader").JSONAPIReader(config_of(api, page_sise=5))


def test_the_engine_reads_it_with_the_discovered_types(api: Any, examples: Path) -> None:
    plugin = PluginLoader.load_reader(f"{examples / 'plugins' / 'json_api_reader.py'}:JSONAPIReader")
    reader = SimpleReader(plugin, config_of(api))
    spec = StreamSpec(name="customers", options={"extra_columns": "ignore"})

    schema = reader.schema(spec)
    messages = [message for part in reader.partitions(spec, None) for message in reader.read(spec, part, None)]

    assert [str(field.type) for field in schema] == ["int64", "string", "timestamp[us, tz=UTC]"]
    assert sum(message.batch.num_rows for message in messages if isinstance(message, Rows)) == 3


def test_the_file_runs_on_its_own(examples: Path) -> None:
    completed = subprocess.run(
        [sys.executable, str(examples / "plugins" / "json_api_reader.py")],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert completed.stderr == ""
    assert completed.stdout.splitlines() == [
        "check:    API accessible",
        "discover: orders with id, customer, total, paid, updated_at",
        "discover: customers with id, name, updated_at",
        "extract:  253 rows, first time",
        "extract:  0 rows, second time: nothing has changed",
    ]
