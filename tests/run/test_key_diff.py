"""What comparing keys promises, whatever happens at the source meanwhile, and when a run compares at all."""

import itertools
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fakes import MemoryTable, ScriptedReader
from hypothesis import given, settings, strategies as st
from workshop import READERS

from dativo_ingest.job.delete_detection import KeyDiff as Asked
from dativo_ingest.registry.connectors import find, make_writer
from dativo_ingest.run.key_diff import is_due
from dativo_ingest.run.pipeline import StreamOutcome, StreamRun
from dativo_ingest.run.plan import Budget, StreamPlan
from dativo_plugin_sdk import (
    CommittedState,
    DataValidationError,
    Message,
    NetworkError,
    Partition,
    Rejected,
    Rows,
    State,
    StateChanged,
    StreamSpec,
    TableSpec,
    TableWriter,
    TargetConfig,
    rejected,
    row_json,
)

SCHEMA = pa.schema([("tenant", pa.string()), ("id", pa.int64()), ("at", pa.int64()), ("value", pa.int64())])
KEYS = ("tenant", "id")
Key = tuple[str, int]
Op = tuple[Key, int | None]
"""A key, and the value it gets, or None where it is deleted."""


@dataclass
class Source:
    """A table whose rows have a cursor that moves with every change."""

    rows: dict[Key, tuple[int, int]] = field(default_factory=dict)
    seen: list[set[Key]] = field(default_factory=list)
    """The keys that were there, at every moment of a run."""
    clock: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def change(self, ops: Sequence[Op]) -> None:
        for key, value in ops:
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = (next(self.clock), value)
            self.seen.append(set(self.rows))

    def batch(self, beyond: int = 0) -> pa.RecordBatch:
        found = [
            {"tenant": tenant, "id": number, "at": at, "value": value}
            for (tenant, number), (at, value) in self.rows.items()
            if at > beyond
        ]
        return pa.RecordBatch.from_pylist(found, SCHEMA)


class ChangingReader(ScriptedReader):
    """Reads a source that others change after its keys were read, and after its rows were."""

    def __init__(self, source: Source, after_keys: Sequence[Op] = (), after_rows: Sequence[Op] = ()) -> None:
        super().__init__([])
        self.source, self.after_keys, self.after_rows = source, after_keys, after_rows
        self.asked: list[StreamSpec] = []

    def read(self, stream: StreamSpec, partition: Partition, state: State | None) -> Iterator[Message]:
        self.asked.append(stream)
        if stream.columns is not None:
            keys = self.source.batch().select(list(stream.columns))
            self.source.change(self.after_keys)
            yield Rows(keys)
            return
        rows = self.source.batch(state["at"] if state and stream.mode == "incremental" else 0)
        self.source.change(self.after_rows)
        yield Rows(rows)
        if rows.num_rows:
            yield StateChanged({"at": max(rows.column("at").to_pylist())})


def plan(**changes: Any) -> StreamPlan:
    settings: dict[str, Any] = {
        "name": "s",
        "mode": "incremental",
        "write": "merge",
        "table": "t",
        "namespace": None,
        "cursor": "at",
        "primary_key": KEYS,
        "contract": None,
        "on_bad_row": "quarantine",
        "max_bad_rows": None,
        "max_bad_ratio": None,
        "extra_columns": "ignore",
        "system_columns": (),
        "delete_detection": Asked(mode="key_diff", every=timedelta(0), max_deleted_share=1.0),
    }
    return StreamPlan(**{**settings, **changes})


def carry(
    reader: ScriptedReader, table: TableWriter, *, dry_run: bool = False, limit: int | None = None, **changes: Any
) -> StreamOutcome:
    """Carry one stream as the engine does."""
    planned = plan(**changes)
    outcome = StreamOutcome(before=table.load_state())
    due = is_due(planned, outcome.before, datetime.now(UTC), limit=limit)
    StreamRun(
        plan=planned,
        spec=StreamSpec("s", mode=planned.mode, cursor="at", primary_key=KEYS, schema=SCHEMA),
        reader=reader,
        table=None if dry_run else table,
        budget=Budget(2**20, 2**20, 2**20),
        run_id="run",
        limit=limit,
        emit=lambda _: None,
        stop=threading.Event(),
        outcome=outcome,
        compared=table if due else None,
    ).run([Partition("s")])
    return outcome


def put(*ids: int, tenant: str = "a") -> list[Op]:
    return [((tenant, number), number) for number in ids]


def gone(*ids: int, tenant: str = "a") -> list[Op]:
    return [((tenant, number), None) for number in ids]


keys = st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 3))
ops = st.lists(st.tuples(keys, st.one_of(st.none(), st.integers(0, 9))), max_size=6)
runs = st.lists(st.tuples(ops, ops, ops), min_size=1, max_size=4)


class Target:
    """A real target's table, opened anew for each run."""

    def __init__(self, name: str, folder: str) -> None:
        self.name, self.place = name, Path(folder) / ("lake.duckdb" if name == "duckdb" else "lake")
        self.runs = itertools.count()

    def carry(self, reader: ScriptedReader, **changes: Any) -> StreamOutcome:
        key = "warehouse" if self.name == "iceberg" else "path"
        config = TargetConfig(type=self.name, connection={key: str(self.place)})
        writer = make_writer(find("writer", self.name), config, states=None, output_base="")  # type: ignore[arg-type]  # built-in targets keep no state beside the table
        spec = TableSpec("t", "raw", "j", "s", f"run-{next(self.runs)}", "merge", KEYS, buffer_bytes=5_000)
        try:
            return carry(reader, writer.table(spec), **changes)
        finally:
            writer.close()

    def rows(self) -> dict[Key, int]:
        found = READERS[self.name](self.place, "t").to_pylist()
        assert len(found) == len({(row["tenant"], row["id"]) for row in found})
        return {(row["tenant"], row["id"]): row["value"] for row in found}


class Memory:
    """The same in memory, for many examples."""

    def __init__(self) -> None:
        self.table = MergingTable()

    def carry(self, reader: ScriptedReader, **changes: Any) -> StreamOutcome:
        return carry(reader, self.table, **changes)

    def rows(self) -> dict[Key, int]:
        return {(row["tenant"], row["id"]): row["value"] for row in self.table.rows}  # type: ignore[misc]  # of any type


class MergingTable(MemoryTable):
    """Rows of a key that is written again replace the ones before them."""

    def write(self, batch: pa.RecordBatch) -> None:
        written = {(row["tenant"], row["id"]) for row in batch.to_pylist()}
        self._gone += [row for row in self.rows if (row["tenant"], row["id"]) in written]
        super().write(batch)

    def commit(self, request: Any) -> Any:
        receipt = super().commit(request)
        self._gone, self._rows = [], []
        return receipt


def law(target: Any, runs: Sequence[tuple[list[Op], list[Op], list[Op]]]) -> None:
    """A key that was there all the time is in the table, one that was there at no time is not; in the end all fit."""
    source = Source()
    for before, after_keys, after_rows in runs:
        source.change(before)
        source.seen = [set(source.rows)]

        target.carry(ChangingReader(source, after_keys, after_rows))

        there = target.rows().keys()
        assert set.intersection(*source.seen) <= there <= set.union(*source.seen)
    target.carry(ChangingReader(source))
    assert target.rows() == {key: value for key, (_, value) in source.rows.items()}


@settings(max_examples=100)
@given(runs=runs)
def test_whatever_happens_at_the_source_meanwhile_no_row_is_lost_and_none_stays(runs: Any) -> None:
    law(Memory(), runs)


@pytest.mark.parametrize("name", ["duckdb", "iceberg", "delta"])
@settings(max_examples=3)
@given(runs=runs)
def test_so_it_is_with_every_target(name: str, runs: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        law(Target(name, folder), runs)


def test_a_key_that_is_deleted_after_the_keys_were_read_is_gone_with_the_next_run() -> None:
    source, target = Source(), Memory()
    source.change(put(1, 2))
    target.carry(ChangingReader(source))

    target.carry(ChangingReader(source, after_keys=gone(1)))
    stays = target.rows()
    target.carry(ChangingReader(source))

    assert (set(stays), set(target.rows())) == ({("a", 1), ("a", 2)}, {("a", 2)})


@pytest.mark.parametrize("name", ["memory", "duckdb", "iceberg", "delta"])
def test_a_key_that_comes_back_after_the_keys_were_read_stays(name: str, tmp_path: Path) -> None:
    source, target = Source(), Memory() if name == "memory" else Target(name, str(tmp_path))
    source.change(put(1, 2))
    target.carry(ChangingReader(source))
    source.change(gone(1))

    outcome = target.carry(ChangingReader(source, after_keys=[(("a", 1), 7)]))

    assert outcome.compared is not None
    assert outcome.compared.found.absent == 1
    assert target.rows() == {("a", 1): 7, ("a", 2): 2}


def test_a_row_that_has_become_bad_keeps_its_older_version() -> None:
    target = Memory()
    source = Source()
    source.change(put(1, 2))
    target.carry(ChangingReader(source))
    source.change([(("a", 1), 5)])
    reader = ChangingReader(source)
    bad = pa.record_batch({"tenant": ["a"], "id": [1], "at": ["x"], "value": ["y"]})

    class Bad(ChangingReader):
        def read(self, stream: StreamSpec, partition: Partition, state: State | None) -> Iterator[Message]:
            if stream.columns is not None:
                yield from reader.read(stream, partition, state)
            else:
                yield Rows(bad)

    outcome = target.carry(Bad(source))

    assert outcome.totals.quarantined == 1
    assert target.rows() == {("a", 1): 1, ("a", 2): 2}


def test_only_the_key_columns_are_read_and_of_all_rows() -> None:
    source, target = Source(), Memory()
    source.change(put(1))
    target.carry(ChangingReader(source))
    reader = ChangingReader(source)

    target.carry(reader)

    keys, rows = reader.asked
    assert keys.columns == KEYS
    assert (keys.mode, keys.cursor) == ("full_refresh", None)
    assert keys.schema is not None
    assert keys.schema.names == list(KEYS)
    assert (rows.mode, rows.columns) == ("incremental", None)


def test_a_first_load_reads_no_keys() -> None:
    source = Source()
    source.change(put(1))
    reader = ChangingReader(source)

    outcome = Memory().carry(reader)

    assert [stream.columns for stream in reader.asked] == [None]
    assert outcome.committed is not None
    assert outcome.committed.keys_compared_at is not None


def test_a_comparison_that_finds_nothing_is_remembered() -> None:
    source, target = Source(), Memory()
    source.change(put(1))
    target.carry(ChangingReader(source))
    before = target.table.committed.keys_compared_at

    outcome = target.carry(ChangingReader(source))

    assert outcome.receipt is not None
    assert target.table.committed.keys_compared_at not in {None, before}
    assert target.table.committed.state == {"at": 1}


def after(**ago: float) -> CommittedState:
    return CommittedState(1, keys_compared_at=(datetime.now(UTC) - timedelta(**ago)).isoformat())


@pytest.mark.parametrize(
    ("before", "changes", "limit", "due"),
    [
        pytest.param(CommittedState(), {}, None, True, id="never before"),
        pytest.param(after(hours=23), {}, None, False, id="not long ago"),
        pytest.param(after(hours=25), {}, None, True, id="long ago"),
        pytest.param(after(hours=-2), {}, None, True, id="in the future"),
        pytest.param(CommittedState(), {}, 10, False, id="limit"),
        pytest.param(CommittedState(), {"cursor_from": "3"}, None, False, id="range from"),
        pytest.param(CommittedState(), {"cursor_to": "3"}, None, False, id="range to"),
        pytest.param(CommittedState(), {"write": "overwrite"}, None, False, id="replaces the table"),
        pytest.param(CommittedState(), {"delete_detection": None}, None, False, id="not asked for"),
    ],
)
def test_a_run_compares_when_it_is_time_and_reads_everything(
    before: CommittedState, changes: Any, limit: int | None, due: bool
) -> None:
    planned = plan(**{"delete_detection": Asked(mode="key_diff"), **changes})

    assert is_due(planned, before, datetime.now(UTC), limit=limit) is due


def loaded(*ids: int) -> tuple[Source, Memory]:
    source, target = Source(), Memory()
    source.change(put(*ids))
    target.carry(ChangingReader(source))
    return source, target


def test_more_deletes_than_the_job_allows_commit_nothing() -> None:
    source, target = loaded(*range(10))
    source.change([*gone(*range(6)), *put(11)])
    asked = Asked(mode="key_diff", every=timedelta(0), max_deleted_share=0.5)

    with pytest.raises(DataValidationError, match=r"no keys for 6 of the 10 rows of t, .* lets 50\.00%") as refused:
        target.carry(ChangingReader(source), delete_detection=asked)

    assert refused.value.details == {"absent": 6, "table_rows": 10, "source_keys": 5}
    assert "max_deleted_share: 1" in str(refused.value.hint)
    assert len(target.rows()) == 10
    source.change(put(5))
    target.carry(ChangingReader(source), delete_detection=asked)
    assert len(target.rows()) == 6


def test_a_source_without_any_key_is_refused_unless_all_may_go() -> None:
    source, target = loaded(1)
    source.change(gone(1))

    with pytest.raises(DataValidationError, match="the source has no keys, so that all 1 rows of t would be deleted"):
        target.carry(
            ChangingReader(source),
            delete_detection=Asked(mode="key_diff", every=timedelta(0), max_deleted_share=0.999),
        )
    target.carry(ChangingReader(source))

    assert target.rows() == {}


def test_a_dry_run_finds_what_would_go_and_changes_nothing() -> None:
    source, target = loaded(1, 2, 3)
    source.change(gone(3))
    state = target.table.committed

    outcome = target.carry(ChangingReader(source), dry_run=True)

    assert outcome.compared is not None
    assert (outcome.compared.found.absent, outcome.compared.found.table_rows) == (1, 3)
    assert len(target.rows()) == 3
    assert target.table.committed == state
    assert target.table.aborted == 1


def test_rows_read_in_full_are_the_keys_themselves() -> None:
    source, target = loaded(1, 2, 3)
    source.change([*gone(3), *put(4)])
    reader = ChangingReader(source)

    outcome = target.carry(reader, mode="full_refresh", cursor=None, ignore_state=True)

    assert [stream.columns for stream in reader.asked] == [None]
    assert set(target.rows()) == {("a", 1), ("a", 2), ("a", 4)}
    assert outcome.compared is not None
    assert outcome.compared.found.source_keys == 3


def test_rows_read_in_full_keep_what_is_bad_but_for_its_key() -> None:
    _, target = loaded(1, 2, 3)
    rows = pa.record_batch(
        {"tenant": ["a", "a", "a"], "id": ["1", "2", None], "at": ["4", "x", "5"], "value": ["1"] * 3}
    )

    outcome = target.carry(ScriptedReader([Rows(rows)]), mode="full_refresh", cursor=None, ignore_state=True)

    assert outcome.totals.quarantined == 2
    assert set(target.rows()) == {("a", 1), ("a", 2)}


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(
            [Rejected(rejected([{"rule": "malformed", "reason": "no row", "row": row_json("x")}]))], id="no row"
        ),
        pytest.param([Rows(pa.record_batch({"tenant": ["a"], "id": ["one"], "at": [1], "value": [1]}))], id="no key"),
    ],
)
def test_a_key_that_cannot_be_read_keeps_every_row(script: list[Message]) -> None:
    _, target = loaded(1, 2, 3)
    before = target.table.committed.keys_compared_at
    good = Rows(pa.record_batch({"tenant": ["a", "a"], "id": [1, 2], "at": [4, 5], "value": [1, 2]}))

    outcome = target.carry(ScriptedReader([good, *script]), mode="full_refresh", cursor=None, ignore_state=True)

    assert len(target.rows()) == 3
    assert any("1 keys of the source cannot be read" in text for text in outcome.warnings)
    assert target.table.committed.keys_compared_at == before


def test_a_failure_while_keys_are_read_lands_nothing() -> None:
    source, target = loaded(1, 2)
    reader = ScriptedReader([Rows(source.batch()), NetworkError("gone away")])

    with pytest.raises(NetworkError, match="gone away"):
        target.carry(reader)

    assert target.table.commits == 1
    assert target.table.aborted == 1


def test_soft_deletes_mark_what_is_absent() -> None:
    source, target = loaded(1, 2)
    source.change(gone(2))

    outcome = target.carry(ChangingReader(source), deletes="soft", system_columns=("loaded_at", "run_id"))

    assert outcome.compared is not None
    assert set(target.table.marks) == {"_dativo_deleted", "_dativo_loaded_at", "_dativo_run_id"}
    assert target.table.marks["_dativo_deleted"].as_py() is True


def test_a_full_refresh_that_replaces_the_table_counts_as_a_comparison() -> None:
    source, target = loaded(1, 2)
    before = target.table.committed.keys_compared_at
    source.change(gone(2))

    outcome = target.carry(ChangingReader(source), write="overwrite", replaces_merge=True, ignore_state=True)

    assert outcome.compared is None
    assert target.table.committed.keys_compared_at not in {None, before}
