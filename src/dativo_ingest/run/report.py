"""The documents that runs, checks and discoveries give: their shapes are built in one place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import dativo_ingest
from dativo_ingest.run import exit_codes
from dativo_ingest.run.columns import columns_document
from dativo_ingest.run.pipeline import StreamOutcome
from dativo_ingest.run.plan import StreamPlan
from dativo_ingest.steps.json_text import rows_json

REPORT = "dativo.report/1"
CHECK = "dativo.check/1"
DISCOVER = "dativo.discover/1"


def now() -> str:
    """Give the time as reports write it: UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def stream_document(
    plan: StreamPlan,
    outcome: StreamOutcome | None,
    *,
    status: str,
    error: dict[str, Any] | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Describe what became of one stream; ``outcome`` is None where it never began.

    A dry run tells keys of rows that would be deleted; no other report has values of the source.
    """
    totals = outcome.totals if outcome else None
    receipt = outcome.receipt if outcome else None
    landed = status in {"succeeded", "no_data"}
    return {
        "name": plan.name,
        "mode": plan.mode,
        "write": plan.write,
        "status": status,
        "range": {"cursor": plan.cursor, "from": plan.cursor_from, "to": plan.cursor_to} if plan.is_backfill else None,
        "rows": {
            "read": totals.read if totals else 0,
            "written": totals.written if totals and landed else 0,
            "inserted": receipt.inserted if receipt else None,
            "updated": receipt.updated if receipt else None,
            "deleted": receipt.deleted if receipt else None,
            "quarantined": totals.quarantined if totals and landed else 0,
            "skipped": totals.skipped if totals else 0,
        },
        "bytes": receipt.bytes_written if receipt else 0,
        "commit": {"id": receipt.commit_id, "generation": receipt.generation, "snapshot_id": receipt.snapshot_id}
        if receipt
        else None,
        "state": {
            "before": outcome.before.state if outcome else None,
            "after": outcome.after if outcome and receipt else (outcome.before.state if outcome else None),
        },
        "delete_detection": _compared(plan, outcome, dry_run=dry_run),
        "columns": columns_document(outcome.schema, outcome.lost) if outcome and outcome.schema is not None else [],
        "schema_changes": list(outcome.schema_changes) if outcome and receipt else [],
        "maintenance": list(outcome.care) if outcome else [],
        "error": error,
    }


def _compared(plan: StreamPlan, outcome: StreamOutcome | None, *, dry_run: bool) -> dict[str, Any] | None:
    """Describe the comparison of keys, where there was one."""
    compared = outcome.compared if outcome else None
    if compared is None:
        return None
    found = compared.found
    examples = list(rows_json(found.examples)) if dry_run and found.examples is not None else []
    return {
        "mode": "key_diff",
        "compared_at": compared.compared_at,
        "duration_ms": round(compared.duration_s * 1000, 1),
        "source_keys": found.source_keys,
        "table_rows": found.table_rows,
        "absent": found.absent,
        "deletes": plan.deletes if compared.is_certain else None,
        "examples": [json.loads(text) for text in examples],
    }


def report_document(  # noqa: PLR0913  the parts of the document
    *,
    run_id: str,
    job: str,
    tenant: str,
    started_at: str,
    delivery: str,
    isolation: str,
    plugins: Sequence[Mapping[str, Any]],
    streams: Sequence[Mapping[str, Any]],
    errors: Sequence[Mapping[str, Any]],
    warnings: Sequence[str],
    codes: Sequence[int],
    cancelled: bool = False,
) -> dict[str, Any]:
    """Build the report of a run.

    Args:
        run_id: The run.
        job: The job's name.
        tenant: Whose it is.
        started_at: As `now` gave it.
        delivery: What the target promises.
        isolation: Where third-party code ran.
        plugins: What each end's plugin was granted and did, as `PluginRecord` says it.
        streams: The streams' documents.
        errors: Errors of the run itself and of its streams.
        warnings: What the streams warned of.
        codes: An exit code per stream, or the one of the failure before any began.
        cancelled: Whether the run was asked to stop.
    """
    code = exit_codes.of_streams(codes)
    return {
        "schema": REPORT,
        "run_id": run_id,
        "job": job,
        "tenant": tenant,
        "status": "cancelled" if cancelled else _status(code, streams),
        "exit_code": exit_codes.TERMINATED if cancelled else code,
        "retryable": cancelled or (bool(errors) and all(error["retryable"] for error in errors)),
        "started_at": started_at,
        "ended_at": now(),
        "dativo_version": dativo_ingest.__version__,
        "delivery": delivery,
        "isolation": isolation,
        "plugins": list(plugins),
        "streams": list(streams),
        "errors": list(errors),
        "warnings": list(warnings),
    }


def _status(code: int, streams: Sequence[Mapping[str, Any]]) -> str:
    if code == exit_codes.PARTIAL:
        return "partial"
    if code != exit_codes.OK:
        return "failed"
    return "no_data" if streams and all(stream["status"] == "no_data" for stream in streams) else "succeeded"
