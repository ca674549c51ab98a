from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from dativo_ingest.targets.parquet import ParquetWriter
from dativo_plugin_sdk import CommitRequest, InvalidConfigError, TableSpec, TargetConfig

SPEC = TableSpec(name="orders", namespace="raw", job="job", stream="orders", run_id="run-1")


def target(path: Path | str, **options) -> ParquetWriter:
    return ParquetWriter(TargetConfig(type="parquet", connection={"path": str(path)}, options=options))


def listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_mtime_ns) for path in [folder, *folder.rglob("*")])


def test_checking_walks_the_steps_and_leaves_nothing(tmp_path):
    before = listing(tmp_path)

    results = {check.step: check.run() for check in target(tmp_path / "lake").check([SPEC])}

    assert list(results) == ["path", "table raw.orders", "write_probe"]
    assert all(result.success for result in results.values())
    assert results["table raw.orders"].message == "raw.orders does not exist yet"
    assert [name for name, _ in listing(tmp_path)] == [name for name, _ in before]


def test_checking_a_table_tells_what_it_holds_and_changes_nothing(tmp_path):
    writer = target(tmp_path)
    table = writer.table(SPEC)
    table.open(pa.schema({"id": pa.int64()}))
    table.write(pa.record_batch({"id": [1, 2]}))
    table.commit(CommitRequest("c", 0, None, "2026-01-01T00:00:00Z"))
    before = listing(tmp_path / "raw/orders/_manifests")

    (result,) = [check.run() for check in target(tmp_path).check([SPEC]) if check.step.startswith("table")]

    assert result.details is not None
    assert (result.details["rows"], result.details["files"], result.details["generation"]) == (2, 1, 1)
    assert listing(tmp_path / "raw/orders/_manifests") == before


@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param({"connection": {}}, "target.connection.path: required key is missing", id="no path"),
        pytest.param({"connection": {"path": "x", "pth": 1}}, "unknown key, did you mean path", id="misspelt"),
        pytest.param(
            {"connection": {"path": "x"}, "options": {"compresion": "zstd"}}, "did you mean compression", id="option"
        ),
        pytest.param(
            {"connection": {"path": "x"}, "options": {"properties": {"a": "b"}}}, "has no properties", id="properties"
        ),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(config, message):
    with pytest.raises(InvalidConfigError, match=message):
        ParquetWriter(TargetConfig(type="parquet", **config))


def test_merge_is_refused_with_the_way_out(tmp_path):
    spec = TableSpec(name="o", namespace=None, job="j", stream="o", run_id="r", write="merge", primary_key=("id",))

    with pytest.raises(InvalidConfigError, match="cannot merge") as caught:
        target(tmp_path).table(spec)

    assert "duckdb" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["../x", "a/b", "..", ""])
def test_a_name_that_would_leave_the_folder_is_refused(tmp_path, name):
    spec = TableSpec(name=name, namespace=None, job="j", stream="o", run_id="r")

    with pytest.raises(InvalidConfigError, match="cannot be a folder"):
        target(tmp_path).table(spec)


def test_a_file_where_the_folder_should_be_is_a_configuration_error(tmp_path):
    (tmp_path / "lake").write_text("")

    first = target(tmp_path / "lake" / "deep").check([SPEC])[0]

    with pytest.raises(InvalidConfigError, match="is a file"):
        first.run()


def test_a_streams_options_go_before_the_targets(tmp_path):
    writer = target(tmp_path, compression="snappy", partition_by="a")
    spec = TableSpec(
        name="o", namespace=None, job="j", stream="o", run_id="r", options={"partition_by": ["b"], "sort_by": []}
    )
    table = writer.table(spec)
    table.open(pa.schema({"b": pa.string()}))
    table.write(pa.record_batch({"b": ["x"]}))

    table.commit(CommitRequest("c", 0, None, "2026-01-01T00:00:00Z"))

    assert (tmp_path / "o/b=x/r-0.parquet").exists()
