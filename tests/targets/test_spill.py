"""Rows that wait on disk come back group by group, and the file they wait in has no name."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hard_places import run_on_small_disk

from dativo_ingest.targets.spill import Spill

SCHEMA = pa.schema({"id": pa.int64(), "text": pa.string()})


def rows(*ids: int) -> pa.RecordBatch:
    return pa.record_batch({"id": ids, "text": [f"text {each}" for each in ids]}, SCHEMA)


def ids(spill: Spill[str], group: str) -> list[int]:
    return [each for batch in spill.read(group) for each in batch.column("id").to_pylist()]


def test_each_group_is_read_in_the_order_its_rows_came() -> None:
    spill: Spill[str] = Spill(SCHEMA)
    spill.add("a", [rows(1, 2), rows(3)])
    spill.add("b", [rows(4, 5, 6).slice(1)])
    spill.add("a", [rows(7)])

    found = {group: ids(spill, group) for group in spill.finish()}

    assert found == {"a": [1, 2, 3, 7], "b": [5, 6]}
    assert spill.size_bytes > 0
    spill.close()


def test_the_file_has_no_name_and_may_be_closed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spill: Spill[str] = Spill(SCHEMA)

    spill.add("a", [rows(1)])

    assert list(tmp_path.iterdir()) == []
    spill.close()
    spill.close()


def test_no_room_for_temporary_files_is_a_full_disk() -> None:
    found = run_on_small_disk(
        """
import tempfile
from dativo_ingest.targets.spill import Spill
tempfile.tempdir = sys.argv[1]
noise = pa.record_batch({"noise": pa.array([os.urandom(1000) for _ in range(1000)])})
spill = Spill(noise.schema)
def fill():
    for _ in range(20):
        spill.add("a", [noise])
code = caught(fill)
spill.close()
answer(code=code)
""",
        size_mb=4,
    )

    assert found == {"code": "DISK_FULL"}
