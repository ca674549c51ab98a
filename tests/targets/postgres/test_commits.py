from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pytest
from postgres_tunnel import tunnel

from dativo_ingest.targets.postgres import state as state_module, table as table_module
from dativo_plugin_sdk import (
    CommitRequest,
    CommitStateUnknownError,
    CommittedState,
    DatabaseLockError,
    DataValidationError,
    FencedError,
    InvalidConfigError,
    NetworkError,
    PastCommit,
    ServiceUnavailableError,
)

ROWS = pa.record_batch({"id": [1, 2, 3], "name": ["a", None, "ü 💡"]})


def test_nothing_is_there_before_the_first_run(table, ask, namespace):
    writer = table()

    state = writer.load_state()

    assert state == CommittedState()
    assert writer.history() == []
    assert ask(f"SELECT nspname FROM pg_namespace WHERE nspname = '{namespace}'") == []


def test_rows_and_state_land_together(load, table, ask):
    receipt, changes = load(ROWS)

    assert (receipt.inserted, receipt.updated, receipt.deleted, receipt.generation) == (3, 0, 0, 1)
    assert receipt.bytes_written > 0
    assert changes == []
    assert ask("SELECT * FROM orders ORDER BY id") == [(1, "a"), (2, None), (3, "ü 💡")]
    state = table().load_state()
    assert (state.generation, state.state, state.commit_id) == (1, {"version": 1, "at": 0}, "commit-0")


def test_nobody_sees_anything_before_the_commit(table, ask, namespace):
    writer = table(buffer_bytes=1)
    writer.open(ROWS.schema)
    writer.write(ROWS)
    schemas = ask(f"SELECT nspname FROM pg_namespace WHERE nspname = '{namespace}'")

    writer.abort()

    assert schemas == []
    assert ask("SELECT relname FROM pg_class WHERE relname LIKE '\\_dativo\\_stage%'") == []


def test_a_run_keeps_no_transaction_open_while_it_reads(table, ask):
    writer = table(buffer_bytes=1)
    writer.open(ROWS.schema)

    writer.write(ROWS)

    running = ask("SELECT state, xact_start FROM pg_stat_activity WHERE application_name = 'dativo'")
    assert running == [("idle", None)]


def test_append_adds_and_overwrite_replaces(load, ask):
    load(ROWS)
    load(ROWS, generation=1)

    receipt, _ = load(ROWS.slice(0, 1), generation=2, write="overwrite")

    assert (receipt.inserted, receipt.deleted) == (1, 6)
    assert ask("SELECT * FROM orders") == [(1, "a")]


def test_an_overwrite_without_rows_empties_the_table(load, ask):
    load(ROWS)

    receipt, _ = load(ROWS.slice(0, 0), generation=1, write="overwrite")

    assert (receipt.inserted, receipt.deleted) == (0, 3)
    assert ask("SELECT * FROM orders") == []


def test_an_overwrite_keeps_grants_and_indexes_and_hides_nothing_from_a_reader(load, ask, postgres, namespace):
    load(ROWS)
    ask("CREATE INDEX own ON orders (name)")
    ask("GRANT SELECT ON orders TO pg_monitor")

    with postgres.connect(autocommit=False) as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT 1")
        load(ROWS.slice(0, 1), generation=1, write="overwrite")
        seen = reader.execute(f'SELECT count(*) FROM "{namespace}".orders').fetchall()

    assert seen == [(3,)]
    assert ask("SELECT indexname FROM pg_indexes WHERE tablename = 'orders' AND schemaname = current_schema()") == [
        ("own",)
    ]
    assert ask("SELECT has_table_privilege('pg_monitor', 'orders', 'SELECT')") == [(True,)]


def test_a_stream_that_goes_into_another_table_now_starts_over(load, table):
    load(ROWS)

    assert table().load_state().state == {"version": 1, "at": 0}
    assert table(name="others").load_state() == CommittedState()


def test_a_stream_whose_table_was_dropped_starts_over(load, table, ask):
    load(ROWS)
    ask("DROP TABLE orders")

    before = table().load_state()
    load(ROWS, generation=1)

    assert (before.generation, before.state) == (1, None)
    assert ask("SELECT count(*) FROM orders") == [(3,)]


def test_a_state_set_before_the_first_run_is_where_it_starts(table, request_of):
    table().commit(request_of(0))

    assert table().load_state().state == {"version": 1, "at": 0}


def test_the_history_tells_the_commits_newest_first(load, table, request_of):
    load(ROWS)
    table(run_id="run-1").commit(request_of(1))
    load(ROWS, generation=2, write="merge", primary_key=("id",))

    commits = table().history()

    assert [(each.generation, each.run_id, each.rows) for each in commits if isinstance(each, PastCommit)] == [
        (3, "run-2", 3),
        (2, "run-1", 0),
        (1, "run-0", 3),
    ]
    assert commits[1].state == {"version": 1, "at": 1}


def test_the_history_keeps_the_newest_commits(table, request_of, monkeypatch):
    monkeypatch.setattr(state_module, "_KEPT_COMMITS", 2)
    for generation in range(4):
        table().commit(request_of(generation))

    assert [each.generation for each in table().history()] == [4, 3]


@pytest.mark.parametrize(("write", "rows"), [("append", 6), ("merge", 3)])
def test_of_two_writers_on_one_generation_the_second_is_fenced(load, table, ask, write, rows):
    load(ROWS, stream="other")
    first, second = (table(run_id=f"run-{number}", write=write, primary_key=("id",)) for number in range(2))
    for each in (first, second):
        each.load_state()
        each.open(ROWS.schema)
        each.write(ROWS)
    first.commit(CommitRequest("first", 0, None, "2026-01-01T00:00:00Z"))

    with pytest.raises(FencedError, match="run-0 committed generation 1"):
        second.commit(CommitRequest("second", 0, None, "2026-01-01T00:00:00Z"))

    assert ask("SELECT count(*) FROM orders") == [(rows,)]
    assert table().load_state().commit_id == "first"


@pytest.mark.parametrize("generation", [0, 1])
def test_of_runners_that_commit_at_once_one_lands(load, table, ask, generation):
    if generation:
        load(ROWS)
    runners = [table(run_id=f"run-{number}") for number in range(4)]
    for each in runners:
        each.open(ROWS.schema)
        each.write(ROWS)
    outcomes: list[str] = []

    def commit(number: int) -> None:
        try:
            runners[number].commit(CommitRequest(f"commit-{number}", generation, None, "2026-01-01T00:00:00Z"))
            outcomes.append("landed")
        except FencedError:
            outcomes.append("fenced")

    threads = [threading.Thread(target=commit, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["fenced", "fenced", "fenced", "landed"]
    assert ask("SELECT count(*) FROM orders") == [(3 * (generation + 1),)]


def test_streams_that_make_the_same_schema_at_once_all_land(table, ask):
    tables = [table(name=f"t{number}", stream=f"s{number}") for number in range(4)]
    failures: list[Exception] = []

    def carry(made) -> None:
        try:
            made.open(ROWS.schema)
            made.write(ROWS)
            made.quarantine(pa.record_batch({"reason": ["odd"]}))
            made.commit(CommitRequest("commit", 0, None, "2026-01-01T00:00:00Z"))
        except Exception as error:  # noqa: BLE001  a thread's failure is the test's
            failures.append(error)

    threads = [threading.Thread(target=carry, args=(made,)) for made in tables]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert [ask(f"SELECT count(*) FROM t{number}") for number in range(4)] == [[(3,)]] * 4
    assert ask("SELECT count(*) FROM _dativo_state") == [(4,)]


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


def test_committing_the_same_commit_again_lands_nothing_more(table, request_of, ask):
    made = table()
    made.open(ROWS.schema)
    made.write(ROWS)
    made.commit(request_of(0))

    again = made.commit(request_of(0))

    assert again.generation == 1
    assert ask("SELECT count(*) FROM orders") == [(3,)]


def test_an_abort_leaves_the_table_as_it_was(load, table, ask):
    load(ROWS)
    made = table(write="overwrite")
    made.open(pa.schema({"id": pa.int64(), "new": pa.string()}))
    made.write(pa.record_batch({"id": [9], "new": ["x"]}))
    made.abort()
    made.abort()

    assert ask("SELECT * FROM orders ORDER BY id") == [(1, "a"), (2, None), (3, "ü 💡")]


def test_tables_of_one_run_share_a_session_one_after_another(target, table, request_of, ask):
    writer = target()
    for number in range(3):
        made = table(writer=writer, name=f"t{number}", stream=f"s{number}")
        made.load_state()
        made.open(ROWS.schema)
        made.write(ROWS)
        made.commit(request_of(0))

    sessions = ask("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dativo'")
    left = ask("SELECT relname FROM pg_class WHERE relname LIKE '\\_dativo\\_stage%'")

    assert sessions == [(1,)]
    assert left == []


def test_rejected_rows_land_beside_the_table_in_the_same_transaction(table, request_of, ask, namespace):
    batches = [
        pa.record_batch({"rule": ["type"], "line": [7]}),
        pa.record_batch({"rule": [5], "source": ["x\0.csv"]}),
    ]
    for generation, batch in enumerate(batches):
        made = table(run_id=f"run-{generation}")
        made.open(ROWS.schema)
        made.quarantine(batch)
        made.commit(request_of(generation))

    assert ask("SELECT rule, line, source FROM orders__quarantine") == [("type", 7, None), ("5", None, "x.csv")]
    assert table().load_state().quarantine == {
        "table": "orders__quarantine",
        "namespace": namespace,
        "rows": 1,
        "run_id": "run-1",
    }


def test_a_commit_that_fails_leaves_neither_rows_nor_columns_nor_state(load, table, request_of, ask):
    load(ROWS)
    ask("ALTER TABLE orders ADD CONSTRAINT small CHECK (id < 10)")
    made = table(run_id="run-1")
    made.open(pa.schema({"id": pa.int64(), "new": pa.string()}))
    made.write(pa.record_batch({"id": [11], "new": ["x"]}))
    made.quarantine(pa.record_batch({"reason": ["odd"]}))

    with pytest.raises(DataValidationError, match="small"):
        made.commit(request_of(1))

    assert ask("SELECT * FROM orders ORDER BY id") == [(1, "a"), (2, None), (3, "ü 💡")]
    assert ask("SELECT to_regclass('orders__quarantine')") == [(None,)]
    assert table().load_state().generation == 1


def test_a_constraint_that_waits_for_the_commit_refuses_it(load, table, request_of, ask):
    load(ROWS)
    ask("ALTER TABLE orders ADD CONSTRAINT one UNIQUE (id) DEFERRABLE INITIALLY DEFERRED")
    made = table(run_id="run-1")
    made.open(ROWS.schema)
    made.write(ROWS)

    with pytest.raises(DataValidationError, match="one"):
        made.commit(request_of(1))

    assert ask("SELECT count(*) FROM orders") == [(3,)]


def test_a_required_column_refuses_nulls_as_a_data_error_that_names_it(table, request_of):
    made = table()
    made.open(pa.schema([pa.field("id", pa.int64(), nullable=False)]))
    made.write(pa.record_batch({"id": pa.array([None], pa.int64())}))

    with pytest.raises(DataValidationError, match='"id"'):
        made.commit(request_of(0))


def test_who_holds_the_table_is_waited_for_as_long_as_is_said(load, postgres, namespace, target, table, request_of):  # noqa: PLR0917
    load(ROWS)
    made = table(run_id="run-1", writer=target(lock_timeout_s=0.1), write="overwrite")
    made.open(ROWS.schema)

    with postgres.connect(autocommit=False) as other:
        other.execute(f'LOCK TABLE "{namespace}".orders')
        with pytest.raises(DatabaseLockError) as caught:
            made.commit(request_of(1))

    assert caught.value.retryable
    assert "lock_timeout_s" in str(caught.value.hint)


def test_writing_before_opening_is_refused(table):
    with pytest.raises(InvalidConfigError, match="before open"):
        table().write(ROWS)


@pytest.mark.parametrize(
    ("cut", "landed"),
    [
        pytest.param("answer", True, id="the answer is lost"),
        pytest.param("question", False, id="the server never hears of it"),
        pytest.param("stuck", False, id="the server still waits for it"),
    ],
)
def test_a_commit_without_an_answer_is_looked_up_by_its_id(load, target, table, postgres, ask, request_of, cut, landed):  # noqa: PLR0917
    load(ROWS)
    with tunnel(postgres.port, cut=cut) as port:
        made = table(writer=target(connection={**postgres.connection, "port": port}), run_id="run-1")
        made.open(ROWS.schema)
        made.write(ROWS)

        if landed:
            assert made.commit(request_of(1)).generation == 2
        else:
            with pytest.raises(NetworkError):
                made.commit(request_of(1))

    assert ask("SELECT count(*) FROM orders") == [(6 if landed else 3,)]
    again = table(run_id="run-2")
    assert again.load_state().generation == (2 if landed else 1)
    again.commit(request_of(2 if landed else 1, "again"))


def test_a_commit_that_nobody_can_tell_of_is_unknown(load, target, table, postgres, request_of, monkeypatch):  # noqa: PLR0917
    monkeypatch.setattr(table_module, "_LOOK_FOR_S", 1.0)
    load(ROWS)
    with tunnel(postgres.port, cut="answer", for_good=True) as port:
        made = table(writer=target(connection={**postgres.connection, "port": port}), run_id="run-1")
        made.open(ROWS.schema)
        made.write(ROWS)

        with pytest.raises(CommitStateUnknownError) as caught:
            made.commit(request_of(1))

    assert not caught.value.retryable
    assert caught.value.details["commit_id"] == "commit-1"
    assert table().load_state().commit_id == "commit-1"


def test_a_session_that_the_server_ends_is_a_network_error_and_leaves_nothing(table, ask, request_of):
    made = table(buffer_bytes=1)
    made.open(ROWS.schema)
    made.write(ROWS)
    ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'dativo'")

    with pytest.raises((NetworkError, ServiceUnavailableError)) as caught:
        made.commit(request_of(0))

    assert caught.value.retryable
    assert table().load_state() == CommittedState()


def test_runs_killed_at_random_moments_and_pairs_started_together_double_no_row_and_lose_none(postgres, namespace):
    script = Path(__file__).with_name("crashing_runs.py")
    settings = json.dumps({**postgres.connection, "password": postgres.password, "namespace": namespace})

    done = subprocess.run([sys.executable, script, settings], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
