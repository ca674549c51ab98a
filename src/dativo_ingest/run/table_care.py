"""The care for a job's tables: what `dativo table` does to each of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from dativo_ingest.job.load import LoadedJob
from dativo_ingest.run import exit_codes
from dativo_ingest.run.ends import Target, open_source, open_target, plan_streams, table_spec
from dativo_ingest.run.error_document import error_document
from dativo_ingest.run.lease_store import SqliteLeaseStore
from dativo_ingest.run.plan import Budget, RunOptions, StreamPlan
from dativo_ingest.run.run_ids import uuid7
from dativo_ingest.run.state_file import state_file
from dativo_plugin_sdk.errors import DativoError, InvalidConfigError, ResourceNotFoundError
from dativo_plugin_sdk.table_care import (
    Compacted,
    Compaction,
    Expired,
    Expiry,
    Sweep,
    Swept,
    TableCare,
    TableHealth,
)

DOCUMENT = "dativo.table/1"
YOUNGEST_ORPHAN = timedelta(days=1)
"""What is younger may be of a run that is still at work: it goes only where that is asked for in so many words."""

Result: TypeAlias = TableHealth | Compacted | Expired | Swept
Act: TypeAlias = Callable[[TableCare], Result]

_MANY_SMALL = 10
_MANY_DELETES = 5
_MUCH_DELETED = 0.05
_MANY_SNAPSHOTS = 100
_MANY_MANIFESTS = 50


def look(loaded: LoadedJob, streams: tuple[str, ...] | None) -> dict[str, Any]:
    """Look at the health of each table."""
    return _for_each(loaded, streams, "health", lambda care: care.health(), dry_run=False)


def compact(loaded: LoadedJob, streams: tuple[str, ...] | None, asked: Compaction, *, dry_run: bool) -> dict[str, Any]:
    """Compact each table."""
    return _for_each(loaded, streams, "compact", lambda care: care.compact(asked, dry_run=dry_run), dry_run=dry_run)


def expire(loaded: LoadedJob, streams: tuple[str, ...] | None, asked: Expiry, *, dry_run: bool) -> dict[str, Any]:
    """Forget old versions of each table."""
    return _for_each(loaded, streams, "expire", lambda care: care.expire(asked, dry_run=dry_run), dry_run=dry_run)


def orphans(
    loaded: LoadedJob,
    streams: tuple[str, ...] | None,
    older_than: timedelta,
    *,
    dry_run: bool,
    allow_recent: bool = False,
) -> dict[str, Any]:
    """Delete files of each table that nothing refers to; those of runs that hold a lease of this job stay.

    Raises:
        InvalidConfigError: They may be younger than a day, and nobody has allowed that.
    """
    if older_than < YOUNGEST_ORPHAN and not (allow_recent or dry_run):
        raise InvalidConfigError(
            "files that are younger than a day may be of a run that is still at work",
            hint="--allow-recent deletes them all the same, where no run is at work on the tables",
        )
    asked = Sweep(older_than, SqliteLeaseStore(state_file(loaded.folder)).at_work())
    return _for_each(loaded, streams, "orphans", lambda care: care.orphans(asked, dry_run=dry_run), dry_run=dry_run)


def advice(health: TableHealth) -> list[str]:
    """Say what would do the table good."""
    said = []
    if health.most_deletes >= _MANY_DELETES or health.deleted_ratio >= _MUCH_DELETED:
        said.append(
            f"compact: {health.delete_files} delete files over {health.files} data files, "
            f"{health.deleted_ratio:.1%} of the stored rows are deleted"
        )
    elif health.small_files >= _MANY_SMALL:
        said.append(f"compact: {health.small_files} of {health.files} data files are small")
    elif health.manifests is not None and health.manifests >= _MANY_MANIFESTS:
        said.append(f"compact: {health.manifests} manifests")
    if health.snapshots >= _MANY_SNAPSHOTS:
        said.append(f"expire: {health.snapshots} snapshots")
    return said


def _for_each(
    loaded: LoadedJob, streams: tuple[str, ...] | None, action: str, act: Act, *, dry_run: bool
) -> dict[str, Any]:
    """Do the same to each table, once however many streams fill it; the failure of one is its own."""
    tables: list[dict[str, Any]] = []
    codes: list[int] = []
    with _cares(loaded, streams) as cares:
        for stream, care in cares:
            entry: dict[str, Any] = {"stream": stream, "table": care.name if care is not None else None}
            result, error = None, None
            try:
                result = act(care) if care is not None else None
                codes.append(exit_codes.OK)
            except DativoError as failure:
                error = error_document(failure, stage=f"table {action}", stream=stream)
                codes.append(exit_codes.of(failure))
            if isinstance(result, TableHealth):
                entry["advice"] = advice(result)
            tables.append({**entry, "result": None if result is None else as_json(result), "error": error})
    return {
        "schema": DOCUMENT,
        "job": loaded.job.name,
        "action": action,
        "dry_run": dry_run,
        "tables": tables,
        "exit_code": exit_codes.of_streams(codes),
    }


@contextmanager
def _cares(loaded: LoadedJob, streams: tuple[str, ...] | None) -> Iterator[Iterator[tuple[str, TableCare | None]]]:
    limits = loaded.job.limits
    budget = Budget.of(limits.memory_mb, limits.batch_mb)
    with open_source(loaded) as source, open_target(loaded) as target:
        plans = plan_streams(loaded, source, target, RunOptions(streams=streams))
        yield _each_once(loaded, plans, target, budget)


def _each_once(
    loaded: LoadedJob, plans: list[StreamPlan], target: Target, budget: Budget
) -> Iterator[tuple[str, TableCare | None]]:
    """Give each table's care with its stream; None for a stream whose table does not exist yet."""
    seen: set[str] = set()
    for plan in plans:
        cares = target.writer.care(table_spec(plan, loaded.job.name, uuid7(), budget))
        if cares is None:
            raise ResourceNotFoundError(
                f"{loaded.locate(('target', 'connector'))} the target {target.connector.name} has no care for tables "
                "to give",
                hint="iceberg and delta have; a database looks after its tables by itself",
            )
        if not cares:
            yield plan.name, None
        for care in cares:
            if care.name not in seen:
                seen.add(care.name)
                yield plan.name, care


def as_json(result: Result) -> dict[str, Any]:
    """Give a result's facts as JSON has them."""
    document: dict[str, Any] = {}
    for key, value in asdict(result).items():
        match value:
            case datetime():
                document[key] = value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            case timedelta():
                document[f"{key}_s"] = value.total_seconds()
            case tuple() | list():
                document[key] = [os.fspath(each) for each in value]
            case _:
                document[key] = value
    return document
