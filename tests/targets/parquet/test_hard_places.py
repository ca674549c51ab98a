from __future__ import annotations

import tempfile
from pathlib import Path

from hard_places import run, run_on_small_disk


def test_a_full_disk_is_told_lands_nothing_and_the_next_run_is_whole():
    found = run_on_small_disk(
        """
place = Path(sys.argv[1])
writer = writer_of("parquet", place)
load(writer, 2)
code = caught(lambda: load(writer, 40, generation=1))
left = sorted(path.name for path in place.rglob("*.parquet*")) + [path.name for path in place.rglob("*.run")]
load(writer, 2, generation=1)
rows = dativo_ingest.targets.parquet.read_dataset(place / "raw/orders").count_rows()
answer(code=code, left=left, rows=rows)
""",
        size_mb=12,
    )

    assert found == {"code": "DISK_FULL", "left": ["run-0-0.parquet"], "rows": 4000}


def test_a_disk_too_full_for_the_manifest_is_told():
    found = run_on_small_disk(
        """
place = Path(sys.argv[1])
writer = writer_of("parquet", place)
table = table_of(writer)
table.open(pa.schema({"id": pa.int64()}))
table.write(pa.record_batch({"id": [1]}))
with (place / "filler").open("wb", buffering=0) as filler:
    while True:
        try:
            filler.write(bytes(4096))
        except OSError:
            break
code = caught(lambda: table.commit(REQUEST))
table.abort()
(place / "filler").unlink()
state = table_of(writer).load_state()
answer(code=code, generation=state.generation, left=[path.name for path in place.rglob("*.parquet*")])
""",
        size_mb=1,
    )

    assert found == {"code": "DISK_FULL", "generation": 0, "left": []}


def test_a_probe_on_a_full_disk_says_so():
    found = run_on_small_disk(
        """
place = Path(sys.argv[1])
try:
    (place / "filler").write_bytes(bytes(2 * 2**20))
except OSError:
    pass
*_, probe = writer_of("parquet", place).check([])
answer(code=caught(probe.run), left=os.listdir(place))
""",
        size_mb=1,
    )

    assert found == {"code": "DISK_FULL", "left": ["filler"]}


def test_a_folder_that_may_not_be_written_is_a_permission_error():
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        lake = Path(folder, "lake")
        lake.mkdir(mode=0o555)
        found = run(
            """
become_nobody()
writer = writer_of("parquet", sys.argv[1])
checks = {check.step: caught(check.run) for check in writer.check([])}
answer(checks=checks, code=caught(lambda: load(writer, 1)))
""",
            lake,
        )

    assert found == {
        "checks": {"path": None, "write_probe": "INSUFFICIENT_PERMISSIONS"},
        "code": "INSUFFICIENT_PERMISSIONS",
    }


def test_a_read_only_file_system_is_a_permission_error():
    found = run_on_small_disk(
        """
import subprocess
place = Path(sys.argv[1])
subprocess.run(["mount", "-o", "remount,ro", place], check=True)
writer = writer_of("parquet", place / "lake")
*_, probe = writer.check([])
answer(probe=caught(probe.run), code=caught(lambda: load(writer, 1)))
""",
        size_mb=1,
    )

    assert found == {"probe": "INSUFFICIENT_PERMISSIONS", "code": "INSUFFICIENT_PERMISSIONS"}
