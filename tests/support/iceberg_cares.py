"""The care for a lake's tables, and what lies in them, as the tests of compaction, expiry and orphans use them."""

import hashlib
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from iceberg_lake import Lake
from pyiceberg.table.snapshots import Summary

from dativo_plugin_sdk import Compacted, Compaction, Expired, Expiry, Sweep, Swept, TableCare


@contextmanager
def care_of(lake: Lake, name: str = "t", **settings: Any) -> Iterator[TableCare]:
    """Take care of a table, not of its quarantine table."""
    writer = lake.writer()
    try:
        found = writer.care(lake.spec(name, **settings))
        assert found is not None
        yield next(each for each in found if each.name == f"{lake.namespace}.{name}")
    finally:
        writer.close()


def compact(lake: Lake, name: str = "t", *, dry_run: bool = False, **asked: Any) -> Compacted:
    settings = {key: asked.pop(key) for key in ("options", "buffer_bytes", "run_id") if key in asked}
    with care_of(lake, name, **settings) as care:
        return care.compact(Compaction(**asked), dry_run=dry_run)


def expire(lake: Lake, name: str = "t", *, days: float = 0, retain_last: int = 1, dry_run: bool = False) -> Expired:
    with care_of(lake, name) as care:
        return care.expire(Expiry(timedelta(days=days), retain_last), dry_run=dry_run)


def sweep(lake: Lake, name: str = "t", *, days: float = 0, dry_run: bool = False, running: str = "") -> Swept:
    with care_of(lake, name) as care:
        return care.orphans(Sweep(timedelta(days=days), frozenset(running.split())), dry_run=dry_run)


def files_of(lake: Lake, name: str = "t") -> set[Path]:
    """Every file in the folders of a table of a local lake."""
    return {path for path in (lake.folder / lake.namespace / name).rglob("*") if path.is_file()}


def aged(path: Path, days: float) -> Path:
    """Let a file be of some days ago."""
    at = time.time() - days * 86_400
    os.utime(path, (at, at))
    return path


def uuid7_at(days_ago: float) -> str:
    """Make a run id of some days ago."""
    milliseconds = int((time.time() - days_ago * 86_400) * 1000)
    return str(uuid.UUID(int=(milliseconds << 80) | (0x7 << 76) | (0b10 << 62) | int.from_bytes(os.urandom(7), "big")))


def content(folder: Path) -> dict[str, str]:
    """Every file under a folder, with a digest of what is in it; SQLite's own files are left out."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("catalog.db-")
    }


def live(lake: Lake, name: str = "t") -> list[tuple[int, int]]:
    """The rows of each live data file, and how many of them delete files take away."""
    with lake.table(name) as table:
        return sorted(
            (task.file.record_count, sum(each.record_count for each in task.delete_files))
            for task in table.scan().plan_files()
        )


def summary(lake: Lake, name: str = "t") -> Summary:
    with lake.table(name) as table:
        snapshot = table.current_snapshot()
        assert snapshot is not None
        assert snapshot.summary is not None
        return snapshot.summary


def everything(lake: Lake, name: str = "t") -> list[dict[str, Any]]:
    """All rows, in the order of their text."""
    return sorted(lake.rows(name).to_pylist(), key=repr)
