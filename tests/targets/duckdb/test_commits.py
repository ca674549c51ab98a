from __future__ import annotations

import subprocess
import sys
import threading

import duckdb
import pyarrow as pa
import pytest

from dativo_ingest.targets.duckdb_database import Database
from dativo_plugin_sdk import (
    CommitRequest,
    CommittedState,
    ConcurrencyError,
    DatabaseLockError,
    DataValidationError,
    FencedError,
    InvalidConfigError,
    MemoryLimitError,
)

ROWS = pa.record_batch({"id": [1, 2, 3], "name": ["a", None, "ü 💡"]})
HOLD = (
    "import duckdb, sys; c = duckdb.connect(sys.argv[1]); c.execute('CREATE TABLE IF NOT EXISTS held(a INT)');"
    " print('held', flush=True); sys.stdin.readline()"
)


def test_slow_statements_draw_nothing_on_stdout(path):
    database = Database(path, lock_timeout_s=0)

    session = database.session(memory_bytes=0)

    assert session.execute("SELECT current_setting('enable_progress_bar')").fetchone() == (False,)
    database.close()


def test_nothing_is_there_before_the_first_run(table, path):
    writer = table()

    state = writer.load_state()

    assert state == CommittedState()
    assert not path.exists()


def test_rows_and_state_land_together(load, table, ask):
    receipt, changes = load(ROWS)

    assert (receipt.inserted, receipt.updated, receipt.deleted, receipt.generation) == (3, 0, 0, 1)
    assert changes == []
    assert ask("FROM raw.orders ORDER BY id") == [(1, "a"), (2, None), (3, "ü 💡")]
    state = table().load_state()
    assert (state.generation, state.state, state.commit_id) == (1, {"version": 1, "at": 0}, "commit-0")


def test_nobody_sees_rows_before_the_commit(table, path):
    writer = table(buffer_bytes=1)
    writer.open(ROWS.schema)
    writer.write(ROWS)
    with duckdb.connect(str(path)) as reader:
        tables = reader.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'raw'").fetchall()

    writer.abort()

    assert tables == []


def test_append_adds_and_overwrite_replaces(load, ask):
    load(ROWS)
    load(ROWS, generation=1)

    receipt, _ = load(ROWS.slice(0, 1), generation=2, write="overwrite")

    assert (receipt.inserted, receipt.deleted) == (1, 6)
    assert ask("FROM raw.orders") == [(1, "a")]


def test_an_overwrite_without_rows_empties_the_table(load, ask):
    load(ROWS)

    receipt, _ = load(ROWS.slice(0, 0), generation=1, write="overwrite")

    assert (receipt.inserted, receipt.deleted) == (0, 3)
    assert ask("FROM raw.orders") == []


def test_a_stream_that_goes_into_another_table_now_starts_over(load, table):
    load(ROWS)

    assert table().load_state().state == {"version": 1, "at": 0}
    assert table(name="others").load_state() == CommittedState()


def test_a_stream_whose_table_was_dropped_starts_over(load, path, target, table, ask):
    load(ROWS)
    with duckdb.connect(str(path)) as connection:
        connection.execute("DROP TABLE raw.orders")

    writer = target()
    before = table(writer=writer).load_state()
    writer.close()
    load(ROWS, generation=1)

    assert (before.generation, before.state) == (1, None)
    assert ask("SELECT count(*) FROM raw.orders") == [(3,)]


def test_a_state_set_before_the_first_run_is_where_it_starts(table, request_of):
    table().commit(request_of(0))

    assert table().load_state().state == {"version": 1, "at": 0}


@pytest.mark.parametrize(("write", "rows"), [("append", 6), ("merge", 3)])
def test_of_two_writers_on_one_generation_the_second_is_fenced(load, target, table, ask, write, rows):  # noqa: PLR0917
    load(ROWS, stream="other")
    writers = [target(), target()]
    first, second = (
        table(writer=writer, run_id=f"run-{number}", write=write, primary_key=("id",))
        for number, writer in enumerate(writers)
    )
    for each in (first, second):
        each.load_state()
        each.open(ROWS.schema)
        each.write(ROWS)
    first.commit(CommitRequest("first", 0, None, "2026-01-01T00:00:00Z"))

    with pytest.raises(FencedError, match="run-0 committed generation 1"):
        second.commit(CommitRequest("second", 0, None, "2026-01-01T00:00:00Z"))

    second.abort()
    for writer in writers:
        writer.close()
    assert ask("SELECT count(*) FROM raw.orders") == [(rows,)]
    assert table().load_state().commit_id == "first"


def test_of_two_overwrites_in_one_process_the_second_is_told_to_try_again(load, target, table, ask):
    load(ROWS)
    writers = [target(), target()]
    first, second = (table(writer=writer, write="overwrite") for writer in writers)
    first.open(ROWS.schema)

    with pytest.raises(ConcurrencyError) as caught:
        second.open(ROWS.schema)

    assert caught.value.retryable
    for writer in writers:
        writer.close()
    assert ask("SELECT count(*) FROM raw.orders") == [(3,)]


def test_a_commit_of_state_alone_is_fenced_too(table, request_of):
    first, second = table(run_id="run-1"), table(run_id="run-2")
    receipt = first.commit(request_of(0, "first"))

    with pytest.raises(FencedError):
        second.commit(request_of(0, "second"))

    assert receipt.inserted == 0
    assert table().load_state().commit_id == "first"


def test_a_stale_run_is_fenced_whatever_generation_it_expects(load, table, request_of):
    load(ROWS)

    for expected in (0, 2):
        with pytest.raises(FencedError):
            table().commit(request_of(expected, "stale"))


def test_committing_the_same_commit_again_lands_nothing_more(table, request_of, target, ask):
    writer = target()
    made = table(writer=writer)
    made.open(ROWS.schema)
    made.write(ROWS)
    made.commit(request_of(0))

    again = made.commit(request_of(0))

    writer.close()
    assert again.generation == 1
    assert ask("SELECT count(*) FROM raw.orders") == [(3,)]


def test_streams_of_one_run_share_the_file(target, table, request_of, ask):
    writer = target()
    tables = [table(writer=writer, name=f"t{number}", stream=f"s{number}") for number in range(4)]

    def carry(made) -> None:
        made.open(ROWS.schema)
        made.write(ROWS)
        made.commit(request_of(0))

    threads = [threading.Thread(target=carry, args=(made,)) for made in tables]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()

    assert [ask(f"SELECT count(*) FROM raw.t{number}") for number in range(4)] == [[(3,)]] * 4
    assert ask("SELECT count(*) FROM _dativo.state") == [(4,)]


def test_an_abort_leaves_the_table_as_it_was(load, target, table, ask):
    load(ROWS)
    writer = target()
    made = table(writer=writer, write="overwrite")
    made.open(pa.schema({"id": pa.int64(), "new": pa.string()}))
    made.write(pa.record_batch({"id": [9], "new": ["x"]}))
    made.abort()
    made.abort()
    writer.close()

    assert ask("FROM raw.orders ORDER BY id") == [(1, "a"), (2, None), (3, "ü 💡")]


def test_rejected_rows_land_beside_the_table_in_the_same_transaction(target, table, request_of, ask):
    batches = [pa.record_batch({"rule": ["type"], "line": [7]}), pa.record_batch({"rule": [5], "source": ["x.csv"]})]
    for generation, batch in enumerate(batches):
        writer = target()
        made = table(writer=writer, run_id=f"run-{generation}")
        made.open(ROWS.schema)
        made.quarantine(batch)
        made.commit(request_of(generation))
        writer.close()

    assert ask("SELECT rule, line, source FROM raw.orders__quarantine") == [("type", 7, None), ("5", None, "x.csv")]
    assert table().load_state().quarantine == {
        "table": "orders__quarantine",
        "namespace": "raw",
        "rows": 1,
        "run_id": "run-1",
    }


def test_another_process_that_holds_the_file_is_named(path, target, table):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()

        with pytest.raises(DatabaseLockError, match=f"process {holder.pid} has") as caught:
            table(writer=target(lock_timeout_s=0.2)).load_state()

        holder.kill()
    assert caught.value.retryable
    assert caught.value.details["pid"] == holder.pid
    assert "lock_timeout_s" in str(caught.value.hint)


def test_a_second_runner_waits_and_reads_what_the_first_one_left(path, table):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        holder.stdout.readline()
        threading.Timer(0.5, holder.stdin.close).start()

        state = table().load_state()

    assert state.generation == 0


def test_a_limit_too_small_for_duckdb_is_a_memory_error_with_the_way_out(load, target, table, request_of, ask):
    load(ROWS)
    writer = target(memory_limit_mb=64)
    made = table(writer=writer)
    wide = pa.record_batch({f"c{number}": pa.array(range(2000)) for number in range(500)})

    with pytest.raises(MemoryLimitError) as caught:
        _overfill(made, wide, request_of)

    made.abort()
    writer.close()
    assert "memory_limit_mb" in str(caught.value.hint)
    assert ask("SELECT count(*) FROM raw.orders") == [(3,)]


def _overfill(made, wide, request_of) -> None:
    made.open(wide.schema)
    for _ in range(20):
        made.write(wide)
    made.commit(request_of(1))


def test_a_required_column_refuses_nulls_as_a_data_error(table, request_of):
    made = table()
    made.open(pa.schema([pa.field("id", pa.int64(), nullable=False)]))
    made.write(pa.record_batch({"id": pa.array([None], pa.int64())}))

    with pytest.raises(DataValidationError, match="NOT NULL"):
        made.commit(request_of(0))


def test_writing_before_opening_is_refused(table):
    with pytest.raises(InvalidConfigError, match="before open"):
        table().write(ROWS)
