from __future__ import annotations

import tempfile
from pathlib import Path

from hard_places import run, run_on_small_disk


def test_a_full_disk_is_told_lands_nothing_and_the_next_run_is_whole():
    found = run_on_small_disk(
        """
from deltalake import DeltaTable
place = Path(sys.argv[1])
writer = writer_of("delta", place)
load(writer, 2)
code = caught(lambda: load(writer, 40, generation=1))
left = len([path for path in place.rglob("*.parquet")])
load(writer, 2, generation=1)
answer(code=code, left=left, rows=DeltaTable(place / "raw/orders").count())
""",
        size_mb=12,
    )

    assert found == {"code": "DISK_FULL", "left": 1, "rows": 4000}


def test_a_disk_too_full_for_the_log_is_told():
    found = run_on_small_disk(
        """
place = Path(sys.argv[1])
writer = writer_of("delta", place)
load(writer, 1)
table = table_of(writer, 1)
table.open(pa.schema({"id": pa.int64()}))
table.write(pa.record_batch({"id": [1]}))
land = table._land
def full(*arguments):
    with (place / "filler").open("wb", buffering=0) as filler:
        while True:
            try:
                filler.write(bytes(4096))
            except OSError:
                break
    return land(*arguments)
table._land = full
code = caught(lambda: table.commit(CommitRequest("c1", 1, None, "2026-01-01T00:00:00Z")))
table.abort()
(place / "filler").unlink()
state = table_of(writer).load_state()
answer(code=code, generation=state.generation, left=len([path for path in place.rglob("*.parquet")]))
""",
        size_mb=4,
    )

    assert found == {"code": "DISK_FULL", "generation": 1, "left": 1}


def test_a_folder_that_may_not_be_written_is_a_permission_error():
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        lake = Path(folder, "lake")
        lake.mkdir(mode=0o555)
        found = run(
            """
become_nobody()
writer = writer_of("delta", sys.argv[1])
checks = {check.step: caught(check.run) for check in writer.check([])}
answer(checks=checks, code=caught(lambda: load(writer, 1)))
""",
            lake,
        )

    assert found == {
        "checks": {"path": None, "write_probe": "INSUFFICIENT_PERMISSIONS"},
        "code": "INSUFFICIENT_PERMISSIONS",
    }
