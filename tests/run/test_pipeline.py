"""What the pipeline promises, whatever the reader says and whenever it fails."""

import threading
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from fakes import MemoryTable, ScriptedReader
from hypothesis import given, strategies as st

from dativo_ingest.run import pipeline
from dativo_ingest.run.events import Event, Progress, Warning_
from dativo_ingest.run.pipeline import CancelledRunError, StreamOutcome, StreamRun
from dativo_ingest.run.plan import Budget, StreamPlan
from dativo_plugin_sdk import (
    CommitStateUnknownError,
    CommittedState,
    DataFormatError,
    DataValidationError,
    FencedError,
    Partition,
    PluginExecutionError,
    Receipt,
    Rejected,
    Rows,
    Skipped,
    StateChanged,
    StreamSpec,
    Warned,
    rejected,
    row_json,
)

SCHEMA = pa.schema([pa.field("id", pa.int64(), nullable=False)])
MALFORMED = Rejected(rejected([{"rule": "malformed", "reason": "no row", "row": row_json("x"), "line": 3}]))


def rows(*ids: int | None) -> Rows:
    return Rows(pa.record_batch({"id": pa.array(ids, pa.int64())}), source="file", source_bytes=10)


def plan(**changes: Any) -> StreamPlan:
    settings: dict[str, Any] = {
        "name": "s",
        "mode": "incremental",
        "write": "append",
        "table": "s",
        "namespace": None,
        "cursor": None,
        "primary_key": (),
        "contract": None,
        "on_bad_row": "quarantine",
        "max_bad_rows": None,
        "max_bad_ratio": None,
        "extra_columns": "ignore",
        "system_columns": (),
    }
    return StreamPlan(**{**settings, **changes})


def carry(
    script: list[Any],
    table: MemoryTable,
    *,
    limit: int | None = None,
    dry_run: bool = False,
    budget: Budget | None = None,
    stop: threading.Event | None = None,
    events: list[Event] | None = None,
    **changes: Any,
) -> StreamOutcome:
    outcome = StreamOutcome(before=table.load_state())
    run = StreamRun(
        plan=plan(**changes),
        spec=StreamSpec("s", schema=SCHEMA),
        reader=ScriptedReader(script),
        table=None if dry_run else table,
        budget=budget or Budget(2**20, 2**20, 2**20),
        run_id="run",
        limit=limit,
        emit=(events if events is not None else []).append,
        stop=stop or threading.Event(),
        outcome=outcome,
    )
    run.run([Partition("s")])
    return outcome


def test_rows_rejected_rows_and_state_land_in_one_commit() -> None:
    table = MemoryTable()

    outcome = carry([rows(1, 2, None), MALFORMED, StateChanged({"at": 2}), rows(3), StateChanged({"at": 3})], table)

    assert [row["id"] for row in table.rows] == [1, 2, 3]
    assert [row["rule"] for row in table.rejected] == ["required", "malformed"]
    assert table.committed.state == {"at": 3}
    assert table.commits == 1
    assert (outcome.totals.read, outcome.totals.written, outcome.totals.quarantined) == (5, 3, 2)


@given(
    st.lists(
        st.one_of(
            st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=30).map(lambda ids: rows(*ids)),
            st.just(MALFORMED),
            st.integers(1, 5).map(lambda number: Skipped(number, "old")),
            st.integers().map(lambda number: StateChanged({"at": number})),
            st.just(Warned("careful")),
        ),
        max_size=12,
    )
)
def test_no_row_disappears(script: list[Any]) -> None:
    table = MemoryTable()

    totals = carry(script, table, budget=Budget(64, 64, 64)).totals

    assert totals.read == totals.written + totals.quarantined + totals.skipped
    assert totals.written == len(table.rows)
    assert totals.quarantined == len(table.rejected)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1)])
def test_a_reader_that_tries_to_end_the_process_is_a_plugin_that_failed(error: BaseException) -> None:
    table = MemoryTable()

    with pytest.raises(PluginExecutionError, match=f"the reader raised {type(error).__name__}"):
        carry([rows(1), error], table)

    assert table.aborted == 1


@pytest.mark.parametrize("error", [DataFormatError("cut off"), KeyError("bug")])
def test_a_reader_that_fails_lands_nothing_and_its_error_arrives_unchanged(error: BaseException) -> None:
    table = MemoryTable()

    with pytest.raises(type(error)):
        carry([rows(1), StateChanged({"at": 1}), error], table)

    assert table.rows == []
    assert table.committed == CommittedState()
    assert table.aborted == 1


def test_a_table_that_fails_stops_the_reader() -> None:
    class Full(MemoryTable):
        def write(self, batch: pa.RecordBatch) -> None:
            raise OSError(28, "no space")

    table = Full()
    threads = set(threading.enumerate())

    with pytest.raises(OSError, match="no space"):
        carry([rows(*range(100_000)) for _ in range(200)], table)

    assert table.aborted == 1
    assert set(threading.enumerate()) <= threads


def test_a_stale_generation_is_fenced_and_lands_nothing() -> None:
    table = MemoryTable(CommittedState(generation=4, state={"at": 1}))

    class Overtaken(MemoryTable):
        def load_state(self) -> CommittedState:
            return CommittedState(generation=3)

    overtaken = Overtaken(table.committed)

    with pytest.raises(FencedError):
        carry([rows(1)], overtaken)

    assert overtaken.rows == []
    assert overtaken.aborted == 1


def test_an_unknown_commit_is_not_cleaned_up() -> None:
    class Silent(MemoryTable):
        def commit(self, request: Any) -> Receipt:
            raise CommitStateUnknownError("no answer")

    table = Silent()

    with pytest.raises(CommitStateUnknownError):
        carry([rows(1)], table)

    assert table.aborted == 0


def test_a_limit_takes_that_many_rows_and_leaves_the_state() -> None:
    table = MemoryTable(CommittedState(generation=1, state={"at": 0}))

    outcome = carry([rows(1, 2), StateChanged({"at": 2}), rows(3, 4)], table, limit=3)

    assert [row["id"] for row in table.rows] == [1, 2, 3]
    assert table.committed.state == {"at": 0}
    assert outcome.totals.read == 3


def test_a_dry_run_counts_and_writes_nothing() -> None:
    table = MemoryTable()

    outcome = carry([rows(1, None), StateChanged({"at": 1})], table, dry_run=True)

    assert (outcome.totals.written, outcome.totals.quarantined) == (1, 1)
    assert table.commits == 0
    assert table.committed == CommittedState()


def test_nothing_new_commits_nothing() -> None:
    table = MemoryTable(CommittedState(generation=1, state={"at": 1}))

    outcome = carry([StateChanged({"at": 1})], table)

    assert outcome.receipt is None
    assert table.commits == 0


def test_the_state_counts_the_schemas_that_rows_have_had() -> None:
    table = MemoryTable()

    carry([rows(1), StateChanged({"at": 1})], table)
    first = table.committed
    carry([rows(2), StateChanged({"at": 2})], table)
    second = table.committed
    table.committed = replace(second, schema_fingerprint="of another schema")
    carry([rows(3), StateChanged({"at": 3})], table)

    assert first.schema_fingerprint == second.schema_fingerprint == table.committed.schema_fingerprint
    assert [first.schema_version, second.schema_version, table.committed.schema_version] == [1, 1, 2]


def test_progress_of_state_alone_is_committed() -> None:
    table = MemoryTable(CommittedState(generation=1, state={"at": 1}))

    carry([StateChanged({"at": 2})], table)

    assert table.committed.state == {"at": 2}


def test_an_overwrite_of_an_empty_source_empties_the_table() -> None:
    table = MemoryTable()

    assert carry([], table, write="overwrite", mode="full_refresh").receipt is not None


def test_stopping_ends_the_run_before_its_commit() -> None:
    table = MemoryTable()
    stop = threading.Event()
    stop.set()

    with pytest.raises(CancelledRunError):
        carry([rows(1)], table, stop=stop)

    assert table.rows == []


def test_stopping_does_not_wait_for_a_reader_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_GRACE_S", 0.1)
    table = MemoryTable()
    stop = threading.Event()
    let_go = threading.Event()

    class Hanging(ScriptedReader):
        def read(self, stream: StreamSpec, partition: Partition, state: Any) -> Any:
            stop.set()  # somebody asks to stop while the source says nothing
            let_go.wait()
            yield from ()

    run = StreamRun(
        plan=plan(),
        spec=StreamSpec("s", schema=SCHEMA),
        reader=Hanging([]),
        table=table,
        budget=Budget(2**20, 2**20, 2**20),
        run_id="run",
        limit=None,
        emit=lambda _: None,
        stop=stop,
        outcome=StreamOutcome(),
    )

    with pytest.raises(CancelledRunError):
        run.run([Partition("s")])

    let_go.set()
    assert table.aborted == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"max_bad_rows": 1}, "2 of 3 rows are bad, max_bad_rows allows 1", id="rows"),
        pytest.param({"max_bad_ratio": 0.5}, r"max_bad_ratio allows 50\.00%", id="ratio"),
        pytest.param({"on_bad_row": "fail"}, "column id", id="the first bad row"),
    ],
)
def test_more_bad_rows_than_allowed_land_nothing(settings: dict[str, Any], message: str) -> None:
    table = MemoryTable()

    with pytest.raises(DataValidationError, match=message):
        carry([rows(1, None, None)], table, **settings)

    assert table.rows == []
    assert table.rejected == []


def test_skipped_bad_rows_are_counted_and_warned_of() -> None:
    table = MemoryTable()

    outcome = carry([rows(1, None)], table, on_bad_row="skip")

    assert (outcome.totals.written, outcome.totals.skipped) == (1, 1)
    assert outcome.warnings


def test_rows_skipped_by_the_cursor_are_not_bad_rows() -> None:
    outcome = carry([Skipped(100, "seen before"), rows(1, None)], MemoryTable(), on_bad_row="skip", max_bad_rows=1)

    assert outcome.totals.skipped == 101


def test_extra_columns_fail_where_asked() -> None:
    extra = Rows(pa.record_batch({"id": [1], "shoe": [39]}))

    with pytest.raises(DataValidationError, match="shoe"):
        carry([extra], MemoryTable(), extra_columns="fail")
    outcome = carry([extra], MemoryTable())
    assert outcome.warnings == ["columns that are not in the schema: shoe; they are left out"]


def test_system_columns_are_added_where_asked() -> None:
    table = MemoryTable()

    carry([rows(1)], table, system_columns=("loaded_at", "run_id"))

    assert table.rows[0].keys() == {"id", "_dativo_loaded_at", "_dativo_run_id"}
    assert table.rows[0]["_dativo_run_id"] == "run"


def test_the_state_is_acknowledged_only_after_the_commit() -> None:
    table = MemoryTable()
    reader = ScriptedReader([rows(1), StateChanged({"at": 1})])
    run = StreamRun(
        plan=plan(),
        spec=StreamSpec("s", schema=SCHEMA),
        reader=reader,
        table=table,
        budget=Budget(2**20, 2**20, 2**20),
        run_id="run",
        limit=None,
        emit=lambda _: None,
        stop=threading.Event(),
        outcome=StreamOutcome(),
    )

    run.run([Partition("s")])

    assert reader.acknowledged == [{"at": 1}]
    assert table.commits == 1


def test_rejected_rows_keep_their_lines_when_batches_are_split() -> None:
    table = MemoryTable()
    batch = pa.record_batch({"id": pa.array([None if i % 100 == 0 else i for i in range(1000)], pa.int64())})

    carry([Rows(batch, source="file", first_line=2)], table, budget=Budget(512, 2**20, 2**20))

    assert [row["line"] for row in table.rejected] == [2 + i for i in range(0, 1000, 100)]


def test_progress_tells_totals() -> None:
    events: list[Event] = []

    carry([rows(1, 2), rows(3)], MemoryTable(), events=events)

    told = [event for event in events if isinstance(event, Progress)]
    assert [event.rows_read for event in told] == [2, 3]
    assert told[-1].source_bytes == 20


def test_of_many_warnings_the_first_are_kept_and_the_others_counted() -> None:
    events: list[Event] = []

    outcome = carry([rows(1), *(Warned(f"file {number}") for number in range(1000))], MemoryTable(), events=events)

    assert outcome.warnings == [*(f"file {number}" for number in range(50)), "and 950 more warnings"]
    assert [event.message for event in events if isinstance(event, Warning_)] == outcome.warnings[:50]


def test_a_row_that_a_target_cannot_delete_fails_the_stream_and_is_never_kept() -> None:
    table = MemoryTable()
    changes = Rows(pa.record_batch({"id": [1, 2, 1], "_dativo_op": ["c", "c", "d"]}))

    with pytest.raises(DataValidationError, match=r"1 row\(s\) with op d are to be deleted, which this target cannot"):
        carry([changes], table, write="merge", primary_key=("id",), can_delete=False)

    assert (table.commits, table.aborted) == (0, 1)


def test_changes_of_one_key_land_in_their_order_across_batches() -> None:
    table = MemoryTable()
    batches = [{"id": [1, 2], "_dativo_op": ["c", "c"]}, {"id": [1, 2], "_dativo_op": ["d", "u"]}]

    outcome = carry([Rows(pa.record_batch(each)) for each in batches], table, write="merge", primary_key=("id",))

    assert {row["id"] for row in table.rows} == {2}
    assert table.deleted == [{"id": 1}]
    assert (outcome.totals.read, outcome.totals.written) == (4, 4)
