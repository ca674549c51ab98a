from typing import Any

import pytest

from dativo_ingest.cli import text


def step(name: str, status: str = "ok", message: str = "", **more: Any) -> dict[str, Any]:
    return {
        "end": "source",
        "step": name,
        "status": status,
        "duration_ms": 12.4,
        "message": message,
        "details": {},
        "error": None,
        **more,
    }


def checked(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"schema": "dativo.check/1", "job": "app", "status": "succeeded", "checks": list(steps), "exit_code": 0}


CONFIGURED = step("configuration", message="configuration is valid")
REACHED = step("connect", message="API accessible", details={"api_version": "v1", "account_id": "acct_123"})
REFUSED = step(
    "connect",
    "fail",
    "Invalid API key",
    error={
        "error_code": "AUTH_FAILED",
        "message": "Invalid API key",
        "retryable": False,
        "retry_after_s": None,
        "hint": "make a new key",
        "details": {},
    },
)


def test_a_check_that_went_well_is_one_line_and_its_details() -> None:
    shown = text.check_text(checked(CONFIGURED, REACHED, step("streams", message="found 2 streams")))

    assert shown == (
        "✓ Connection successful: API accessible\n  Details: {'api_version': 'v1', 'account_id': 'acct_123'}"
    )


def test_of_the_steps_to_a_database_the_last_one_is_the_headline() -> None:
    way_in = [
        step("dns", message="db: found"),
        step("tls", "warn", "not encrypted"),
        step("database", message="app of P"),
    ]

    shown = text.check_text(checked(CONFIGURED, *way_in, step("read orders", message="one row was read")))

    assert shown == "✓ Connection successful: app of P\n  ⚠ tls: not encrypted"


def test_a_check_that_failed_shows_code_and_hint() -> None:
    shown = text.check_text(checked(CONFIGURED, REFUSED, step("write", "skipped", "an earlier step failed")))

    assert shown == ("✗ Connection failed: Invalid API key\n  Error code: AUTH_FAILED\n  Hint: make a new key")


def test_a_check_that_nobody_wrote_is_never_a_success() -> None:
    missing = step("connection", "warn", "Connection test not implemented", details={"implemented": False})

    shown = text.check_text(checked(CONFIGURED, missing))

    assert shown == "⚠ Connection test not implemented"


def test_an_end_without_any_step_is_not_a_success_either() -> None:
    assert text.check_text(checked(CONFIGURED)) == "⚠ Connection test not implemented"


def test_two_ends_are_named_and_verbose_lists_every_step_with_its_time() -> None:
    probe = step("write probe", message="leaves nothing", end="target", duration_ms=1234.0)

    shown = text.check_text(checked(CONFIGURED, REACHED, probe), verbose=True)

    assert shown.splitlines() == [
        "Source",
        "✓ Connection successful: API accessible",
        "  Details: {'api_version': 'v1', 'account_id': 'acct_123'}",
        "  ✓ configuration  12 ms  configuration is valid",
        "  ✓ connect        12 ms  API accessible",
        "Target",
        "✓ Connection successful: leaves nothing",
        "  ✓ write probe  1.2 s  leaves nothing",
    ]


def test_a_warning_of_a_step_stands_under_a_success() -> None:
    warned = step("list", "warn", "2 files are empty")

    shown = text.check_text(checked(CONFIGURED, REACHED, warned))

    assert "  ⚠ list: 2 files are empty" in shown.splitlines()


def column(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "integer", "arrow_type": "int64", "nullable": True, "fidelity": None, **more}


def discovered(*objects: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {
        "schema": "dativo.discover/1",
        "source": {"connector": "postgres", "version": "1.0.0"},
        "metadata": metadata,
        "objects": list(objects),
        "warnings": [],
    }


CUSTOMERS = {
    "name": "customers",
    "namespace": "public",
    "type": "table",
    "estimated_rows": 1200,
    "primary_key": ["id"],
    "cursor_candidates": [],
    "sync_modes": ["full_refresh"],
    "columns": [column("id", nullable=False), *(column(f"c{index}") for index in range(6))],
}


def test_discover_shows_metadata_objects_and_the_first_columns() -> None:
    shown = text.discover_text(discovered(CUSTOMERS, database="production", schema="public"))

    assert shown.splitlines() == [
        "✓ Discovery completed: found 1 object",
        "",
        "Source Metadata:",
        "  database: production",
        "  schema: public",
        "",
        "Available Objects:",
        "  • customers",
        "    Type: table",
        "    Columns: 7",
        "      - id: integer",
        "      - c0: integer",
        "      - c1: integer",
        "      - c2: integer",
        "      - c3: integer",
        "      … 2 more (--verbose shows all)",
    ]


def test_verbose_discovery_shows_all_that_is_known() -> None:
    shown = text.discover_text(discovered(CUSTOMERS), verbose=True).splitlines()

    assert shown[3:10] == [
        "  • customers",
        "    Type: table",
        "    Namespace: public",
        "    Estimated rows: 1200",
        "    Primary key: id",
        "    Modes: full_refresh",
        "    Columns: 7",
    ]
    assert shown[10] == "      - id: integer (int64, required)"
    assert len(shown) == 17


def test_discovery_that_nobody_wrote_says_so() -> None:
    shown = text.discover_text(discovered(implemented=False))

    assert shown == "⚠ Discovery not implemented by this source"


def stream(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "mode": "incremental",
        "write": "append",
        "status": "succeeded",
        "rows": {"read": 1200, "written": 1198, "quarantined": 2, "skipped": 0},
        "bytes": 4096,
        "commit": {"id": "01900000-0000-7000-8000-0123456789ab", "generation": 3, "snapshot_id": "77"},
        "schema_changes": [],
        "error": None,
        **more,
    }


def report(*streams: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "job": "app",
        "run_id": "r1",
        "status": "succeeded",
        "exit_code": 0,
        "retryable": False,
        "started_at": "2026-01-01T00:00:00.000Z",
        "ended_at": "2026-01-01T00:01:05.000Z",
        "streams": list(streams),
        "errors": [],
        "warnings": [],
        **more,
    }


def test_a_report_shows_a_line_a_stream_and_where_rejected_rows_are() -> None:
    shown = text.report_text(
        report(stream("orders")), durations_ms={"orders": 2500}, quarantine_tables={"orders": "raw.orders__quarantine"}
    )

    assert shown.splitlines() == [
        "✓ app: succeeded in 1 min 05 s (run r1)",
        "",
        "   Stream  Status      Read  Written  Quarantined  Skipped   Bytes  Commit        Gen   Time",
        "✓  orders  succeeded  1,200    1,198            2        0  4.1 kB  0123456789ab    3  2.5 s",
        "",
        "→ orders: 2 rejected rows in raw.orders__quarantine",
    ]


@pytest.mark.parametrize(
    ("retryable", "advice"),
    [
        pytest.param(True, "→ Trying again may help: run the same command.", id="temporary"),
        pytest.param(False, "→ Trying again does not help before what the errors say is mended.", id="final"),
    ],
)
def test_a_failed_stream_shows_its_error_and_what_to_do(retryable: bool, advice: str) -> None:
    error = {
        "error_code": "RATE_LIMIT_ERROR",
        "message": "429 from /charges",
        "retry_after_s": 12.0,
        "hint": "ask for a higher limit",
        "details": {"path": "/charges", "account": "acct_7", "traceback": "long"},
        "stream": "charges",
    }

    shown = text.report_text(
        report(
            stream("charges", status="failed", commit=None, error=error),
            status="failed",
            retryable=retryable,
            errors=[error],
        )
    )

    assert shown.splitlines()[-7:] == [
        "✗ charges: 429 from /charges",
        "  Details: {'account': 'acct_7'}",
        "  Error code: RATE_LIMIT_ERROR",
        "  Retry after: 12 s",
        "  Hint: ask for a higher limit",
        "",
        advice,
    ]


@pytest.mark.parametrize(
    ("isolation", "controls", "held"),
    [
        ("none", {}, "a process of its own, no sandbox"),
        ("process", {"files": "enforced"}, "sandbox process"),
        ("process", {"files": "enforced", "cpu": "weaker"}, "sandbox process (cpu weaker)"),
        ("vm", {"landlock": "absent"}, "sandbox vm (landlock absent)"),
    ],
)
def test_what_a_plugin_used_is_shown_and_how_it_was_held(isolation: str, controls: dict[str, str], held: str) -> None:
    usage = {"cpu_s": 12.34, "peak_memory_bytes": 250_000_000, "starts": 1}
    named = {"end": "source", "name": "stripe-reader", "version": "1.4.0"}
    plugin = {**named, "usage": usage, "isolation": isolation, "controls": controls}

    shown = text.report_text(report(stream("orders"), plugins=[plugin])).splitlines()

    assert shown[4] == f"  source stripe-reader 1.4.0: {held}; 12.3 s of CPU, 250.0 MB of memory"


def test_schema_changes_and_warnings_are_shown() -> None:
    shown = text.report_text(
        report(stream("orders", schema_changes=["added column note"]), warnings=["orders: extra column x left out"]),
        notes=["dry run: nothing was written"],
    ).splitlines()

    assert shown[4:] == [
        "  orders: added column note",
        "",
        "⚠ orders: extra column x left out",
        "⚠ dry run: nothing was written",
    ]


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [(None, "-"), (0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (999_960, "1.0 MB"), (2_340_000_000, "2.3 GB")],
)
def test_sizes_are_shown_in_decimal_units(size_bytes: int | None, shown: str) -> None:
    assert text.size(size_bytes) == shown


@pytest.mark.parametrize(
    ("duration_ms", "shown"),
    [(None, "-"), (12.4, "12 ms"), (3400, "3.4 s"), (125_000, "2 min 05 s"), (3_720_000, "1 h 02 min")],
)
def test_durations_are_shown_in_the_unit_that_fits(duration_ms: float | None, shown: str) -> None:
    assert text.duration(duration_ms) == shown
