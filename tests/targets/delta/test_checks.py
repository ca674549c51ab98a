from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from dativo_ingest.targets.delta import DeltaWriter
from dativo_ingest.targets.delta.config import parse_config
from dativo_plugin_sdk import (
    CommitRequest,
    FencedError,
    InsufficientPermissionsError,
    InvalidConfigError,
    InvalidCredentialsError,
    NetworkError,
    ResourceNotFoundError,
    TableSpec,
    TargetConfig,
)

SPEC = TableSpec(name="orders", namespace="raw", job="job", stream="orders", run_id="run-1")


def target(path: Path | str, **options) -> DeltaWriter:
    return DeltaWriter(TargetConfig(type="delta", connection={"path": str(path)}, options=options))


def on_s3(s3, prefix: str, **credentials) -> DeltaWriter:
    connection = {"path": f"s3://{prefix}", "endpoint": s3.endpoint}
    return DeltaWriter(TargetConfig(type="delta", connection=connection, credentials=credentials or s3.credentials))


def listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*"))


def load(writer: DeltaWriter, generation: int = 0, run: str = "c"):
    table = writer.table(SPEC)
    table.open(pa.schema({"id": pa.int64()}))
    table.write(pa.record_batch({"id": [1, 2]}))
    return table.commit(CommitRequest(f"{run}{generation}", generation, {"at": generation}, "2026-01-01T00:00:00Z"))


def test_checking_walks_the_steps_and_leaves_nothing(tmp_path):
    results = {check.step: check.run() for check in target(tmp_path / "lake").check([SPEC])}

    assert list(results) == ["path", "table raw.orders", "write_probe"]
    assert results["table raw.orders"].message == "raw.orders does not exist yet"
    assert listing(tmp_path) == []


def test_checking_a_table_tells_what_it_holds_and_changes_nothing(tmp_path):
    load(target(tmp_path))
    before = listing(tmp_path / "raw")

    (result,) = [check.run() for check in target(tmp_path).check([SPEC]) if check.step.startswith("table")]

    assert result.details is not None
    assert (result.details["version"], result.details["files"], result.details["generation"]) == (0, 1, 1)
    assert listing(tmp_path / "raw") == before


@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param({"connection": {}}, "target.connection.path: required key is missing", id="no path"),
        pytest.param({"connection": {"path": "gs://lake/x"}}, "gs:// is not supported", id="another store"),
        pytest.param({"connection": {"path": "x", "pth": 1}}, "unknown key, did you mean path", id="misspelt"),
        pytest.param({"connection": {"path": "x", "endpoint": "y"}}, "begins with s3://", id="endpoint"),
        pytest.param(
            {"connection": {"path": "x"}, "options": {"compresion": "zstd"}}, "did you mean compression", id="option"
        ),
        pytest.param(
            {"connection": {"path": "x"}, "options": {"properties": {"a": "b"}}}, "begin with 'delta.'", id="properties"
        ),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(config, message):
    with pytest.raises(InvalidConfigError, match=message):
        DeltaWriter(TargetConfig(type="delta", **config))


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "", "_x"])
def test_a_name_that_cannot_be_a_tables_is_refused(tmp_path, name):
    with pytest.raises(InvalidConfigError, match="cannot be a folder"):
        target(tmp_path).table(TableSpec(name=name, namespace=None, job="j", stream="o", run_id="r"))


def test_a_file_where_the_folder_should_be_is_a_configuration_error(tmp_path):
    (tmp_path / "lake").write_text("")

    with pytest.raises(InvalidConfigError, match="is a file"):
        target(tmp_path / "lake" / "deep").check([SPEC])[0].run()


def test_tables_on_s3_are_appended_to_overwritten_merged_and_fenced(s3):
    writer = on_s3(s3, "lake/delta-load")
    load(writer)
    load(writer, 1)
    receipts = []
    for generation, write in ((2, "overwrite"), (3, "merge")):
        table = writer.table(replace(SPEC, write=write, primary_key=("id",)))
        table.open(pa.schema({"id": pa.int64(), "v": pa.string()}))
        table.write(pa.record_batch({"id": [generation, 2], "v": [write, write]}))
        table.quarantine(pa.record_batch({"reason": [write]}))
        receipts.append(table.commit(CommitRequest(f"c{generation}", generation, None, "2026-01-01T00:00:00Z")))

    with pytest.raises(FencedError):
        load(writer, 1, run="late")
    writer.close()

    assert [(each.inserted, each.updated, each.deleted) for each in receipts] == [(2, 0, 4), (1, 2, 0)]
    place = parse_config(writer.config).place("raw", "orders")
    found = pa.table(DeltaTable(place.uri, storage_options=dict(place.storage_options)).scan())
    assert sorted(found.to_pylist(), key=str) == [
        {"id": 2, "v": "merge"},
        {"id": 2, "v": "merge"},
        {"id": 3, "v": "merge"},
    ]
    assert writer.table(SPEC).load_state().generation == 4


@pytest.mark.parametrize("race", range(4))
def test_of_many_creators_on_s3_one_lands(s3, race):
    def create(number: int) -> str:
        writer = on_s3(s3, f"lake/delta-race-{race}")
        table = writer.table(replace(SPEC, run_id=f"run-{number}"))
        table.open(pa.schema({"id": pa.int64()}))
        table.write(pa.record_batch({"id": [number]}))
        try:
            table.commit(CommitRequest(f"c{number}", 0, None, "2026-01-01T00:00:00Z"))
        except FencedError:
            return "fenced"
        finally:
            writer.close()
        return "landed"

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(create, range(6)))

    assert sorted(outcomes) == ["fenced"] * 5 + ["landed"]
    files = [info.path for info in s3.filesystem().get_file_info(_all(f"lake/delta-race-{race}"))]
    assert sum(path.endswith(".parquet") for path in files) == 1


def test_checking_s3_leaves_nothing(s3):
    writer = on_s3(s3, "lake/delta-check")

    results = [check.run() for check in writer.check([SPEC])]

    assert all(result.success for result in results)
    assert s3.filesystem().get_file_info(_all("lake/delta-check")) == []


@pytest.mark.parametrize(
    ("prefix", "credentials", "error"),
    [
        pytest.param("nowhere/x", {}, ResourceNotFoundError, id="bucket"),
        pytest.param(
            "lake/x", {"access_key_id": "nobody", "secret_access_key": "x"}, InvalidCredentialsError, id="user"
        ),
        pytest.param(
            "lake/x", {"access_key_id": "weedadmin", "secret_access_key": "x"}, InvalidCredentialsError, id="secret"
        ),
        pytest.param(
            "lake/x",
            {"access_key_id": "weedlister", "secret_access_key": "weedlistersecret"},
            InsufficientPermissionsError,
            id="rights",
        ),
    ],
)
def test_what_s3_refuses_is_told(s3, prefix, credentials, error):
    writer = on_s3(s3, prefix, **credentials)

    def check() -> None:
        for each in writer.check([SPEC]):
            each.run()

    with pytest.raises(error):
        check()
    with pytest.raises(error):
        load(writer)


def test_without_the_package_the_way_to_get_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "deltalake", None)

    with pytest.raises(ResourceNotFoundError, match="needs the package deltalake") as caught:
        target(tmp_path).table(SPEC)

    assert "dativo-ingest[delta]" in str(caught.value.hint)


def test_a_service_that_is_down_is_a_network_error():
    connection = {"path": "s3://lake/x", "endpoint": "http://127.0.0.1:9"}
    writer = DeltaWriter(
        TargetConfig(type="delta", connection=connection, credentials={"access_key_id": "a", "secret_access_key": "b"})
    )

    with pytest.raises(NetworkError):
        writer.check([SPEC])[0].run()


def _all(prefix: str):
    from pyarrow.fs import FileSelector

    return FileSelector(prefix, recursive=True, allow_not_found=True)
