"""The care for a lake's tables, and what lies in them, as the tests of compaction, expiry and orphans use them."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from iceberg_lake import Lake
from pyiceberg.table.snapshots import Summary

from dativo_plugin_sdk import Compacted, Compaction, TableCare


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
