"""What only holds, or only goes wrong, in a bucket."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given, strategies as st
from parquet_lakes import BucketLake
from s3_proxy import S3Proxy, between, lose_answer, lose_request

from dativo_ingest.targets import parquet_manifest
from dativo_ingest.targets.parquet import ParquetWriter
from dativo_ingest.targets.parquet_manifest import Manifest
from dativo_ingest.targets.parquet_s3 import greatest
from dativo_ingest.targets.s3_store import PAGE, UPLOAD_BYTES
from dativo_plugin_sdk import (
    CommitStateUnknownError,
    FencedError,
    InsufficientPermissionsError,
    InvalidConfigError,
    InvalidCredentialsError,
    NetworkError,
    RateLimitError,
    ResourceNotFoundError,
    ServiceUnavailableError,
    TableSpec,
    TargetConfig,
)

ROWS = pa.record_batch({"id": [1, 2, 3], "region": ["eu", "us", "eu"]})


@pytest.fixture
def proxy(bucket):
    with between(bucket.s3.endpoint) as proxy:
        yield proxy


@pytest.fixture
def place(bucket, proxy: S3Proxy) -> BucketLake:
    return replace(bucket, endpoint=proxy.endpoint)


@pytest.fixture
def opened(table):
    """Give a writer that holds three rows and is ready to commit."""

    def make(run_id="run-1", **spec):
        writer = table(run_id=run_id, **spec)
        writer.open(ROWS.schema)
        writer.write(ROWS)
        return writer

    return make


def test_of_sixteen_creators_of_one_manifest_one_wins_in_every_of_twenty_races(bucket):
    creators, races = 16, 20
    tables = [bucket.storage() for _ in range(creators)]
    starts = [threading.Barrier(creators) for _ in range(races)]

    def create(race: int, creator: int) -> bool:
        commit = {"commit_id": f"{race}-{creator}", "run_id": f"run-{creator}", "state_key": "s"}
        starts[race].wait()
        return parquet_manifest.publish(tables[creator], Manifest(number=race + 1, commit=commit), f"run-{creator}")

    each = [(race, creator) for race in range(races) for creator in range(creators)]
    with ThreadPoolExecutor(5 * creators) as pool:  # five races at once: SeaweedFS lets contenders wait for seconds
        outcomes = list(pool.map(create, *zip(*each, strict=True)))

    won = [pair for pair, outcome in zip(each, outcomes, strict=True) if outcome]
    assert [race for race, _ in won] == list(range(races))
    for race, creator in won:
        assert parquet_manifest.read(bucket.storage(), race + 1).commit["commit_id"] == f"{race}-{creator}"


def test_of_sixteen_runs_of_one_stream_one_lands_and_the_others_leave_nothing(bucket, table, request_of):
    runs = 16
    barrier = threading.Barrier(runs)

    def run(number: int) -> str:
        writer = table(run_id=f"run-{number}")
        writer.open(ROWS.schema)
        writer.write(ROWS)
        barrier.wait()
        try:
            writer.commit(request_of(0, f"commit-{number}"))
        except FencedError:
            writer.abort()
            return "fenced"
        return "landed"

    with ThreadPoolExecutor(runs) as pool:
        outcomes = list(pool.map(run, range(runs)))

    assert sorted(outcomes) == ["fenced"] * (runs - 1) + ["landed"]
    winner = outcomes.index("landed")
    assert table().load_state().commit_id == f"commit-{winner}"
    assert bucket.data_files() == bucket.live_files() == {f"run-{winner}-0.parquet"}
    assert bucket.marks() == set()


@pytest.mark.parametrize("fault", [pytest.param(lose_answer, id="answer"), pytest.param(lose_request, id="request")])
def test_a_commit_whose_answer_or_request_is_lost_lands_once(bucket, proxy, opened, request_of, fault):
    writer = opened()
    proxy.on_commit(fault)

    receipt = writer.commit(request_of(0))

    assert (receipt.generation, receipt.snapshot_id, receipt.inserted) == (1, "1", 3)
    assert proxy.faults == []
    assert bucket.read().count_rows() == 3
    assert bucket.marks() == set()


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_commit_that_the_service_failed_after_doing_it_lands_once(bucket, proxy, opened, request_of, status):
    def fail(exchange):
        exchange.forward()
        exchange.refuse(status, "InternalError" if status == 500 else "ServiceUnavailable")

    writer = opened()
    proxy.on_commit(fail)

    writer.commit(request_of(0))

    assert bucket.read().count_rows() == 3
    assert bucket.manifest().number == 1


def test_a_commit_that_stays_without_answer_is_unknown_and_keeps_its_files(bucket, proxy, table, opened, request_of):
    late = []
    writer = opened()
    proxy.on_commit(late.append, times=4)

    with pytest.raises(CommitStateUnknownError, match="may still arrive"):
        writer.commit(request_of(0))
    writer.abort()

    assert bucket.data_files() == {"run-1-0.parquet"}
    assert table().load_state().generation == 0
    outcomes = [exchange.forward()[0] for exchange in late]  # they were only slow
    assert outcomes == [200, 412, 412, 412]
    assert table(run_id="run-2").load_state().commit_id == "commit-0"
    assert bucket.read().count_rows() == 3


def test_a_commit_that_comes_too_late_is_refused_and_its_files_go(bucket, proxy, opened, request_of):
    late = []
    writer = opened()
    proxy.on_commit(late.append, times=4)
    with pytest.raises(CommitStateUnknownError):
        writer.commit(request_of(0, "slow"))
    opened("run-2").commit(request_of(0, "next"))

    outcomes = [exchange.forward()[0] for exchange in late]

    assert outcomes == [412] * 4
    assert bucket.data_files() == bucket.live_files() == {"run-2-0.parquet"}
    assert bucket.marks() == set()


def test_a_lost_answer_to_a_commit_that_another_run_won_is_a_refusal(bucket, proxy, opened, table, request_of):
    def beaten(exchange):
        other.commit(request_of(0, "other"))
        exchange.forward()

    writer, other = opened(), opened("run-2")
    proxy.on_commit(beaten)

    with pytest.raises(FencedError, match="run-2 committed generation 1"):
        writer.commit(request_of(0, "mine"))
    writer.abort()

    assert table().load_state().commit_id == "other"
    assert bucket.data_files() == {"run-2-0.parquet"}


def test_a_lost_answer_to_a_commit_that_another_stream_won_goes_on_to_the_next_number(
    bucket, proxy, opened, request_of
):
    def beaten(exchange):
        other.commit(request_of(0, "other"))
        exchange.forward()

    writer, other = opened(), opened("run-2", stream="other")
    proxy.on_commit(beaten)

    receipt = writer.commit(request_of(0, "mine"))

    assert receipt.snapshot_id == "2"
    assert bucket.read().count_rows() == 6


def test_a_commit_found_under_later_ones_of_other_streams_is_known_as_landed(bucket, proxy, opened, request_of):
    def overtaken(exchange):
        exchange.forward()
        for number in range(4):  # by the last of them, our manifest is history
            opened(f"other-{number}", stream="other").commit(request_of(number, f"other-{number}"))

    writer = opened()
    proxy.on_commit(overtaken)

    receipt = writer.commit(request_of(0))

    assert receipt.snapshot_id == "1"
    assert bucket.read().count_rows() == 15


def test_slow_down_is_heeded_and_in_the_end_told(bucket, proxy, opened, request_of):
    first, second = opened(), opened("run-2")
    proxy.on_commit(lambda exchange: exchange.refuse(503, "SlowDown"))
    first.commit(request_of(0))
    proxy.on_commit(lambda exchange: exchange.refuse(503, "SlowDown"), times=4)

    with pytest.raises(RateLimitError) as caught:
        opened("run-3").commit(request_of(1))

    assert caught.value.retryable
    second.abort()
    assert bucket.manifest().number == 1


def test_a_service_that_does_not_heed_the_condition_is_refused_by_check_and_run(bucket, proxy, table):
    def say_yes(exchange):
        if exchange.method == "PUT" and "If-None-Match" in {name.title() for name in exchange.headers}:
            exchange.answer(200, {"ETag": '"1"'})
        else:
            exchange.answer(*exchange.forward())

    proxy.always = say_yes
    writer = table()
    *_, probe = replace(bucket, endpoint=proxy.endpoint).writer().check([])

    with pytest.raises(InvalidConfigError, match="does not heed If-None-Match") as caught:
        probe.run()
    with pytest.raises(InvalidConfigError, match="does not heed If-None-Match"):
        writer.open(ROWS.schema)

    assert "conditional writes" in str(caught.value.hint)
    assert bucket.all_files() == {}


def test_a_service_without_conditional_writes_is_refused(proxy, table):
    proxy.faults.append((lambda each: each.method == "PUT", lambda each: each.refuse(501, "NotImplemented")))

    with pytest.raises(InvalidConfigError, match="NOT_IMPLEMENTED"):
        table().open(ROWS.schema)


def test_a_cut_connection_while_a_file_is_sent_is_a_network_error_and_leaves_nothing(bucket, proxy, table, request_of):
    batch = pa.record_batch({"id": pa.array(range(2_000_000))})
    writer = table(target={"compression": "none"})
    writer.open(batch.schema)
    proxy.faults += [(lambda each: "partNumber=2" in each.path, lose_request)] * 10

    writer.write(batch)

    with pytest.raises(NetworkError) as caught:
        writer.commit(request_of(0))

    writer.abort()

    assert caught.value.retryable
    assert bucket.all_files() == {}


def test_without_the_library_the_way_to_get_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "obstore", None)

    with pytest.raises(ResourceNotFoundError) as caught:
        ParquetWriter(TargetConfig(type="parquet", connection={"path": "s3://lake/x"}))

    assert "dativo-ingest[s3]" in str(caught.value.hint)


def test_large_files_are_sent_in_parts(bucket, table, request_of):
    ids = pa.record_batch({"id": pa.array(range(500_000))})
    writer = table(target={"compression": "none"})
    writer.open(ids.schema)
    for _ in range(6):
        writer.write(ids)

    receipt = writer.commit(request_of(0))

    assert receipt.files == 1
    assert receipt.bytes_written == bucket.all_files()["raw/orders/run-1-0.parquet"]
    with bucket.s3.filesystem().open_input_file(
        f"{bucket.s3.bucket}/{bucket.prefix}/raw/orders/run-1-0.parquet"
    ) as file:
        assert b"-" in file.metadata()["ETag"]  # as S3 writes that of an object in parts
    assert bucket.read().count_rows() == 3_000_000


def test_files_that_are_open_at_once_hold_no_more_than_half_the_buffer(bucket, table, request_of):
    days = pa.array(list(range(40)) * 100, pa.int32())
    writer = table(options={"partition_by": "day"}, buffer_bytes=50 * 2**20)
    writer.open(pa.schema({"day": pa.int32(), "noise": pa.binary()}))
    most_bytes = 0
    for _ in range(12):
        writer.write(pa.record_batch({"day": days, "noise": [os.urandom(2500) for _ in range(4000)]}))
        sizes = [file.size_bytes for file in writer._files._open.values()]
        most_bytes = max(most_bytes, sum(min(size, UPLOAD_BYTES) for size in sizes))

    receipt = writer.commit(request_of(0))

    assert 20 * 2**20 < most_bytes <= 25 * 2**20
    assert receipt.files < 100
    assert bucket.read().count_rows() == 48_000


def test_files_of_a_killed_run_stay_until_it_can_no_longer_commit(bucket, opened, request_of):
    killed = opened("killed", buffer_bytes=1, options={"partition_by": "region"})
    killed.quarantine(pa.record_batch({"rule": ["type"]}))
    killed._files.finish()
    killed._rejects.finish()
    left = {"region=eu/killed-0.parquet", "region=us/killed-1.parquet"}
    other = opened("other", stream="other")
    other.commit(request_of(0))

    assert bucket.data_files() == {*left, "other-0.parquet"}  # it might only be slow
    following = opened("next")
    assert left < bucket.data_files()
    following.commit(request_of(0))

    assert bucket.data_files() == bucket.live_files() == {"other-0.parquet", "next-0.parquet"}
    assert bucket.data_files("raw/orders__quarantine") == set()
    assert bucket.marks() == set()
    with pytest.raises(FencedError):
        killed.commit(request_of(0, "killed"))


def test_what_an_abort_cannot_remove_is_removed_later(bucket, proxy, opened, request_of):
    writer = opened()
    writer._files.finish()
    proxy.always = lambda exchange: exchange.refuse(503, "ServiceUnavailable")

    writer.abort()

    proxy.always = None
    assert bucket.data_files() == {"run-1-0.parquet"}
    assert len(bucket.marks()) == 1
    opened("run-2").commit(request_of(0))
    assert bucket.data_files() == {"run-2-0.parquet"}
    assert bucket.marks() == set()


def test_a_run_that_died_right_after_its_commit_is_cleaned_up_after(bucket, opened, table, request_of):
    opened("run-1").commit(request_of(0))
    replacing = opened("run-2", write="overwrite")
    replacing._landed = lambda *_: None  # as if it were killed here
    replacing.commit(request_of(1))
    assert bucket.data_files() == {"run-1-0.parquet", "run-2-0.parquet"}

    table(run_id="run-3").open(ROWS.schema)

    assert bucket.data_files() == {"run-2-0.parquet"}
    assert {name.rpartition("/")[2] for name in bucket.marks()} == {"run-3.run"}


def test_a_writer_that_was_opened_before_the_generation_it_commits_on_is_refused(opened, request_of):
    early = opened("early")
    opened("run-1").commit(request_of(0))  # from now on, the early run's files may be gone

    with pytest.raises(FencedError):
        early.commit(request_of(1))


def credentials(s3, **changes):
    return {**s3.credentials, **changes}


@pytest.mark.parametrize(
    ("connection", "keys", "failing", "error"),
    [
        pytest.param({}, {"secret_access_key": "wrong"}, "bucket", InvalidCredentialsError, id="wrong secret"),
        pytest.param({}, {"access_key_id": "nobody"}, "bucket", InvalidCredentialsError, id="wrong key"),
        pytest.param({"path": "s3://missing/x"}, {}, "bucket", ResourceNotFoundError, id="no bucket"),
        pytest.param(
            {},
            {"access_key_id": "weedlister", "secret_access_key": "weedlistersecret"},
            "write_probe",
            InsufficientPermissionsError,
            id="may only list",
        ),
        pytest.param({"endpoint": "http://127.0.0.1:1"}, {}, "endpoint", NetworkError, id="nobody listens"),
        pytest.param({"endpoint": "http://nobody.invalid"}, {}, "endpoint", NetworkError, id="no such host"),
    ],
)
def test_checking_finds_the_step_that_fails_and_why(s3, connection, keys, failing, error):
    writer = ParquetWriter(
        TargetConfig(
            type="parquet",
            connection={"path": "s3://lake/checks", "endpoint": s3.endpoint, **connection},
            credentials={**s3.credentials, **keys},
        )
    )
    spec = TableSpec(name="orders", namespace="raw", job="job", stream="orders", run_id="run-1")
    steps = {check.step: check for check in writer.check([spec])}

    assert list(steps) == ["endpoint", "bucket", "table raw.orders", "write_probe"]
    for step in steps.values():
        if step.step == failing:
            with pytest.raises(error) as caught:
                step.run()
            assert caught.value.hint
            break
        assert step.run().success


def test_checking_leaves_nothing_in_the_bucket(bucket):
    spec = TableSpec(name="orders", namespace="raw", job="job", stream="orders", run_id="run-1")

    results = [check.run() for check in bucket.writer().check([spec])]

    assert all(result.success for result in results)
    assert bucket.all_files() == {}


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        pytest.param({"secret_access_key": "wrong"}, InvalidCredentialsError, id="wrong secret"),
        pytest.param(
            {"access_key_id": "weedlister", "secret_access_key": "weedlistersecret"},
            InsufficientPermissionsError,
            id="may only list",
        ),
    ],
)
def test_a_run_that_may_not_write_says_so(s3, keys, error):
    writer = ParquetWriter(
        TargetConfig(
            type="parquet",
            connection={"path": "s3://lake/denied", "endpoint": s3.endpoint},
            credentials={**s3.credentials, **keys},
        )
    )
    table = writer.table(TableSpec(name="o", namespace=None, job="j", stream="s", run_id="r"))

    with pytest.raises(error):
        table.open(ROWS.schema)


def test_a_service_that_is_down_while_it_is_read_is_a_temporary_error(proxy, table):
    proxy.always = lambda exchange: exchange.refuse(503, "ServiceUnavailable")

    with pytest.raises(ServiceUnavailableError) as caught:
        table().load_state()

    assert caught.value.retryable


def test_keys_of_the_environment_are_used_where_the_job_has_none(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", bucket.s3.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", bucket.s3.secret_access_key)
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.s3.endpoint)
    connection = {"path": f"s3://{bucket.s3.bucket}/{bucket.prefix}"}
    writer = ParquetWriter(TargetConfig(type="parquet", connection=connection))

    results = [check.run() for check in writer.check([])]

    assert all(result.success for result in results)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        pytest.param({"connection": {"path": "s3://"}}, "is not s3://bucket", id="no bucket"),
        pytest.param({"connection": {"path": "s3://lake/a/../b"}}, "is not s3://bucket", id="dots"),
        pytest.param({"connection": {"path": "gs://lake/x"}}, "gs:// is not supported", id="another store"),
        pytest.param({"connection": {"path": "x", "region": "eu"}}, "begins with s3://", id="a folder has no region"),
        pytest.param({"connection": {"path": "s3://lake", "endpoint": "ftp://x"}}, "no address of http", id="endpoint"),
        pytest.param(
            {"connection": {"path": "s3://lake"}, "credentials": {"access_key_id": "a"}}, "both of its parts", id="half"
        ),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(config, message):
    with pytest.raises(InvalidConfigError, match=message):
        ParquetWriter(TargetConfig(type="parquet", **config))


@given(st.integers(0, 300_000), st.integers(0, 300_000))
def test_the_newest_of_many_manifests_is_found_in_few_listings(newest, seen):
    listings = 0

    def page(after: int) -> list[int]:
        nonlocal listings
        listings += 1
        return list(range(after + 1, min(newest, after + PAGE) + 1))

    found = greatest(page, min(seen, newest))

    assert found == newest
    assert listings < 40
