"""The same through a REST catalog and an object store, as a lakehouse has them."""

import os

import pyarrow as pa
import pytest
from iceberg_cares import compact, everything, expire, sweep
from iceberg_lake import NUMBERS, REJECTED, Lake, before_a_commit, numbers, wait_for_the_table_bucket
from iceberg_merges import merge, rows
from pyiceberg.catalog.rest import RestCatalog
from s3_service import S3

from dativo_plugin_sdk import (
    AuthenticationError,
    ConnectionTestResult,
    FencedError,
    NetworkError,
)


@pytest.fixture
def rest(s3: S3, lake: Lake) -> Lake:
    """A namespace of the test's own in the REST catalog."""
    lake.namespace = f"n{os.urandom(4).hex()}"
    lake.connection = {
        "uri": s3.catalog_uri,
        "warehouse": f"s3://{s3.table_bucket}",
        "endpoint": s3.endpoint,
    }
    lake.credentials = {**s3.credentials, "credential": f"{s3.access_key_id}:{s3.secret_access_key}"}
    with lake.catalog() as catalog:
        wait_for_the_table_bucket(catalog)
    return lake


def test_rows_state_schema_and_rejected_rows_land(rest: Lake) -> None:
    rest.load(numbers(1, 2), rejected=REJECTED, state={"at": 2})
    wider = numbers(3).append_column("x", pa.array([7], pa.int64()))

    receipt = rest.load(wider, rejected=REJECTED, state={"at": 3})

    assert rest.values() == [1, 2, 3]
    assert rest.rows("t__quarantine").num_rows == 2
    with rest.run(None) as run:
        assert (run.before.generation, run.before.state) == (2, {"at": 3})
    with rest.table() as table:
        assert receipt.snapshot_id == str(table.current_snapshot().snapshot_id)
        assert table.schema().column_names == ["id", "text", "x"]


def test_partitions_and_an_overwrite_land(rest: Lake) -> None:
    rest.load(numbers(*range(20)), options={"partition_by": ["bucket(4, id)"]})

    receipt = rest.load(numbers(7, 8), write="overwrite")

    assert rest.values() == [7, 8]
    assert receipt.deleted == 20


def test_a_merge_lands_beside_a_foreign_append(rest: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    rest.load(numbers(*range(20)), options={"partition_by": ["bucket(4, id)"]})

    def append() -> None:
        with rest.table() as table:
            table.append(pa.Table.from_batches([numbers(30)]))

    before_a_commit(monkeypatch, RestCatalog, append)

    receipt = rest.load(numbers(7, 30, 40), write="merge", primary_key=("id",))

    assert (receipt.inserted, receipt.updated) == (1, 2)
    assert rest.values() == [*range(20), 30, 40]


def test_of_two_runs_with_one_generation_one_lands(rest: Lake) -> None:
    rest.load(numbers(1))

    with rest.run(NUMBERS) as first, rest.run(NUMBERS) as second:
        first.table.write(numbers(2))
        second.table.write(numbers(3))
        first.commit()
        with pytest.raises(FencedError):
            second.commit()

    assert rest.values() == [1, 2]


def test_a_state_alone_is_fenced_inside_the_retry(rest: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    rest.load(numbers(1))

    with rest.run(None) as winner, rest.run(None) as loser:
        before_a_commit(monkeypatch, RestCatalog, lambda: winner.commit({"at": "winner"}))
        with pytest.raises(FencedError):
            loser.commit({"at": "loser"})

    with rest.run(None) as run:
        assert run.before.state == {"at": "winner"}


def test_a_table_created_at_the_last_moment_fences_the_other_run(rest: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    with rest.run(NUMBERS) as winner, rest.run(NUMBERS) as loser:
        winner.table.write(numbers(1))
        loser.table.write(numbers(2))
        before_a_commit(monkeypatch, RestCatalog, winner.commit)
        with pytest.raises(FencedError):
            loser.commit()
        loser.table.abort()

    assert rest.values() == [1]


def test_a_foreign_append_at_the_last_moment_is_kept(rest: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    rest.load(numbers(1))

    def append() -> None:
        with rest.table() as table:
            table.append(pa.Table.from_batches([numbers(50)]))

    with rest.run(NUMBERS) as run:
        run.table.write(numbers(2))
        before_a_commit(monkeypatch, RestCatalog, append)
        run.commit()

    assert rest.values() == [1, 2, 50]


def objects(s3: S3, bucket: str) -> set[str]:
    from pyarrow.fs import FileSelector

    infos = s3.filesystem().get_file_info(FileSelector(bucket, recursive=True, allow_not_found=True))
    return {info.path for info in infos}


def test_a_check_passes_and_leaves_nothing(rest: Lake, s3: S3) -> None:
    before = objects(s3, s3.table_bucket)
    new = rest.walk()
    after = objects(s3, s3.table_bucket)
    rest.load(numbers(1))
    before_again = objects(s3, s3.table_bucket)
    in_use = rest.walk()

    assert before == after
    assert objects(s3, s3.table_bucket) == before_again
    assert new["write_probe"].details == {"warning": "writing was not tried"}
    assert all(isinstance(each, ConnectionTestResult) for each in [*new.values(), *in_use.values()]), (new, in_use)
    assert "was written under" in in_use["write_probe"].message


def test_wrong_credentials_are_found_by_the_catalog(rest: Lake) -> None:
    rest.credentials["credential"] = "weedadmin:wrong"

    found = rest.walk()

    assert isinstance(found["catalog"], AuthenticationError), found


def test_a_catalog_that_is_not_there_is_a_network_error(rest: Lake) -> None:
    rest.connection["uri"] = "http://127.0.0.1:9"

    found = rest.walk()

    assert isinstance(found["catalog"], NetworkError)


@pytest.fixture
def sql(s3: S3, lake: Lake) -> Lake:
    """An SQL catalog over a plain bucket."""
    prefix = f"s3://{s3.bucket}/{os.urandom(4).hex()}/deep"
    uri = f"sqlite:///{lake.folder.parent}/any.db"
    lake.connection = {"uri": uri, "type": "sql", "warehouse": prefix, "endpoint": s3.endpoint, "region": s3.region}
    lake.credentials = s3.credentials
    return lake


def test_a_probe_of_a_bucket_leaves_no_object_and_no_folder(sql: Lake, s3: S3) -> None:
    before = objects(s3, s3.bucket)

    found = sql.walk()

    assert isinstance(found["write_probe"], ConnectionTestResult), found
    assert objects(s3, s3.bucket) == before


def test_wrong_keys_are_found_by_the_probe(sql: Lake) -> None:
    sql.credentials = {**sql.credentials, "secret_access_key": "wrong"}

    found = sql.walk()

    assert isinstance(found["write_probe"], AuthenticationError), found


def test_keys_that_may_not_write_are_found_by_the_probe(sql: Lake, s3: S3) -> None:
    sql.credentials = {"access_key_id": s3.reader_key_id, "secret_access_key": s3.reader_secret}

    found = sql.walk()

    assert isinstance(found["write_probe"], AuthenticationError), found


def test_rows_land_in_a_bucket_and_an_abort_takes_them_away(sql: Lake, s3: S3) -> None:
    with sql.run(NUMBERS, buffer_bytes=1) as run:
        run.table.write(numbers(1))
        run.table.abort()
    folder = sql.connection["warehouse"].removeprefix("s3://")
    left = [path for path in objects(s3, folder) if path.endswith(".parquet")]

    sql.load(numbers(2))

    assert left == []
    assert len([path for path in objects(s3, folder) if path.endswith(".parquet")]) == 1


def test_a_table_is_compacted_expired_and_swept(rest: Lake, s3: S3) -> None:
    merge(rest, rows(*range(50), text="old"), options={"partition_by": ["bucket(2, id)"]}, rejected=REJECTED)
    for number in range(3):
        merge(rest, rows(number, 100 + number, text=f"merge {number}"))
    before = everything(rest)
    with rest.table() as table:
        folder = table.location().removeprefix("s3://")
    orphan = f"{folder}/data/id_bucket_2=1/killed.parquet"
    with s3.filesystem().open_output_stream(orphan) as stream:
        stream.write(b"nobody knows me")

    assert sweep(rest, days=1).young == 1
    would = compact(rest, min_input_files=2, dry_run=True)
    compacted = compact(rest, min_input_files=2)
    expired = expire(rest)
    swept = sweep(rest)

    assert compacted.files_removed == would.files_removed > 2
    assert (expired.snapshots_removed, expired.failed) == (4, 0)
    assert expired.files_removed == compacted.files_removed + compacted.delete_files_removed
    assert f"s3://{orphan}" in swept.files
    assert swept.failed == 0
    assert everything(rest) == before
    assert merge(rest, rows(1, 2)).updated == 2
    assert sweep(rest, "t__quarantine").failed == 0
    assert rest.rows("t__quarantine").num_rows == 1
