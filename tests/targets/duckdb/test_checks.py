from __future__ import annotations

import tempfile
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hard_places import run, run_on_small_disk

from dativo_ingest.targets.duckdb import DuckDBWriter
from dativo_plugin_sdk import InvalidConfigError, TableSpec, TargetConfig

SPEC = TableSpec(name="orders", namespace="raw", job="job", stream="orders", run_id="run-1")


def test_checking_walks_the_steps_and_leaves_nothing(target, tmp_path):
    results = {check.step: check.run() for check in target().check([SPEC])}

    assert list(results) == ["path", "table raw.orders", "write_probe"]
    assert all(result.success for result in results.values())
    assert list(tmp_path.iterdir()) == []


def test_checking_a_file_tells_what_it_holds_and_changes_nothing(load, target, path, tmp_path):
    load(pa.record_batch({"id": [1], "v": ["a"]}))
    before = path.read_bytes()

    results = {check.step: check.run() for check in target().check([SPEC])}

    assert results["table raw.orders"].details == {"columns": 2, "generation": 1}
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_checking_does_not_loosen_the_lock_of_a_run(target, table, path):
    writer = target()
    table(writer=writer).open(pa.schema({"id": pa.int64()}))

    for check in writer.check([SPEC]):
        check.run()

    found = run(
        "answer(code=caught(lambda: table_of(writer_of('duckdb', sys.argv[1], lock_timeout_s=0)).load_state()))", path
    )
    assert found == {"code": "DATABASE_LOCK"}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        pytest.param("s3://lake/x.duckdb", "is no local file", id="object store"),
        pytest.param(":memory:", "is no local file", id="memory"),
        pytest.param("md:mine", "is no local file", id="service"),
    ],
)
def test_a_path_that_is_no_file_is_refused(path, message):
    with pytest.raises(InvalidConfigError, match=message):
        DuckDBWriter(TargetConfig(type="duckdb", connection={"path": path}))


def test_a_file_that_is_no_database_is_a_configuration_error(target, path):
    path.write_text("hello" * 5000)

    with pytest.raises(InvalidConfigError, match="not a valid DuckDB database"):
        target().check([])[0].run()


def test_a_folder_in_the_files_place_is_a_configuration_error(target, path):
    path.mkdir()

    with pytest.raises(InvalidConfigError, match="directory"):
        target().check([])[0].run()


def test_a_full_disk_is_told_lands_nothing_and_the_next_run_is_whole():
    found = run_on_small_disk(
        """
path, filler = Path(sys.argv[1], "lake.duckdb"), Path(sys.argv[1], "filler")
filler.write_bytes(bytes(10 * 2**20))
writer = writer_of("duckdb", path)
load(writer, 1)
code = caught(lambda: load(writer, 20, generation=1))
writer.close()
filler.unlink()
load(writer, 1, generation=1)
writer.close()
rows = duckdb.connect(str(path)).execute("SELECT count(*) FROM raw.orders").fetchall()[0][0]
answer(code=code, rows=rows)
""",
        size_mb=20,
    )

    assert found == {"code": "DISK_FULL", "rows": 2000}


def test_a_folder_or_file_that_may_not_be_written_is_a_permission_error():
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        place = Path(folder, "place")
        place.mkdir()
        duckdb.connect(str(place / "old.duckdb")).close()
        (place / "old.duckdb").chmod(0o444)
        place.chmod(0o555)
        Path(folder).chmod(0o755)
        found = run(
            """
become_nobody()
found = {}
for name in ("old.duckdb", "new.duckdb"):
    writer = writer_of("duckdb", Path(sys.argv[1], name))
    found[name] = [caught(check.run) for check in writer.check([])] + [caught(lambda: load(writer, 1))]
answer(**found)
""",
            place,
        )

    denied = [None, "INSUFFICIENT_PERMISSIONS", "INSUFFICIENT_PERMISSIONS"]
    assert found == {"old.duckdb": denied, "new.duckdb": denied}
