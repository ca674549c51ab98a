from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from joined_plugin import Joined
from writer_plugins import AtomicWriter, DictWriter, LedgerWriter, UntellableWriter, ledger, pickled

from dativo_ingest.plugin_process.remote_writer import remote_writer
from dativo_plugin_sdk import (
    BaseWriter,
    CommitRequest,
    CommitStateUnknownError,
    FencedError,
    InvalidConfigError,
    PluginExecutionError,
    StreamWriter,
    TableSpec,
    TableWriter,
    TargetConfig,
)
from dativo_plugin_sdk.testing.ends import MemoryStates

ROWS = pa.record_batch({"id": [1, 2, 3], "name": ["a", "b", None]})
BAD = pa.record_batch({"reason": ["no number"]})
SPEC = TableSpec("events", "raw", "shop", "public.events", "run-1", options={"partition_by": ["id"]})


class Rig:
    """A writer plugin, its processes as they were started, and the folder of its target."""

    def __init__(self, folder: Path, plugin: type, **options: Any) -> None:
        self.folder = folder
        self.config = TargetConfig(type="plugin", connection={"path": str(folder)}, options=options)
        self.started: list[Joined] = []
        self.states = MemoryStates()
        self._plugin = plugin
        self.spec = SimpleNamespace(
            level="simple" if issubclass(plugin, BaseWriter) else "stream", class_name=plugin.__name__
        )
        self.writer = self.make()

    def make(self) -> StreamWriter:
        return remote_writer(self, self.config, states=self.states, output_base=str(self.folder))  # type: ignore[arg-type]

    def __call__(self) -> Joined:
        """Start a process, as a `Starter` does."""
        self.started.append(Joined(self._plugin, self.config))
        self.configured = self.started[-1].powers
        return self.started[-1]

    def arm(self) -> None:
        (self.folder / "armed").touch()


MakeRig = Callable[..., Rig]


@pytest.fixture
def rig(tmp_path: Path) -> MakeRig:
    return partial(Rig, tmp_path)


def spec(**changes: Any) -> TableSpec:
    return TableSpec(**{**vars(SPEC), **changes})


def request(generation: int, state: dict[str, Any] | None = None) -> CommitRequest:
    return CommitRequest(f"commit-{generation}", generation, state or {"at": generation}, "2026-01-01T00:00:00Z")


def fill(table: TableWriter) -> None:
    table.load_state()
    table.open(ROWS.schema)
    table.write(ROWS)


def test_a_simple_writer_gets_dicts_in_its_process_and_its_files_are_committed(rig: MakeRig, tmp_path: Path) -> None:
    there = rig(DictWriter)
    table = there.writer.table(SPEC)

    fill(table)
    table.quarantine(BAD)
    receipt = table.commit(request(0, {"cursor": 3}))

    assert pickled(tmp_path) == [ROWS.to_pylist()]
    assert pickled(tmp_path, "events__quarantine") == [BAD.to_pylist()]
    assert (receipt.inserted, receipt.files, receipt.generation, receipt.snapshot_id) == (3, 2, 1, "7")
    assert receipt.bytes_written > 0
    assert table.load_state().state == {"cursor": 3}
    assert there.writer.delivery == "at_least_once"
    assert len(there.started) == 1


def test_an_atomic_writer_that_takes_arrow_gets_the_batch(rig: MakeRig, tmp_path: Path) -> None:
    there = rig(AtomicWriter)

    fill(table := there.writer.table(SPEC))
    table.commit(request(0))

    assert pickled(tmp_path) == [ROWS]
    assert there.writer.delivery == "exactly_once"


def test_a_simple_writer_commits_its_own_metadata_as_it_was(rig: MakeRig, tmp_path: Path) -> None:
    fill(table := rig(DictWriter).writer.table(SPEC))
    table.commit(request(0))

    assert "'own': {1, 2}" in (tmp_path / "events" / "metadata").read_text()


def test_an_atomic_writers_metadata_must_be_json(rig: MakeRig) -> None:
    table = rig(UntellableWriter).writer.table(SPEC)

    with pytest.raises(PluginExecutionError, match="the metadata of a file: object at object has no form in JSON"):
        fill(table)


@pytest.mark.parametrize("plugin", [DictWriter, LedgerWriter])
def test_the_plugins_own_check_runs_in_its_process(rig: MakeRig, plugin: type) -> None:
    there = rig(plugin)

    checks = there.writer.check([SPEC])
    results = [check.run() for check in checks]

    assert [check.step for check in checks] == (["connection"] if plugin is DictWriter else ["reach", "write"])
    assert all(result.success for result in results)
    assert results[-1].details == (
        {"pid": results[-1].details["pid"]} if plugin is DictWriter else {"tables": ["events"]}
    )


def test_what_a_simple_writers_instance_refuses_is_its_own_error(rig: MakeRig) -> None:
    table = rig(DictWriter, refuse=True).writer.table(SPEC)

    with pytest.raises(InvalidConfigError, match="refuse: unknown key"):
        table.open(ROWS.schema)


def test_what_a_stream_writer_refuses_is_its_own_error(rig: MakeRig) -> None:
    with pytest.raises(InvalidConfigError, match="refuse: unknown key"):
        rig(LedgerWriter, refuse=True)


def test_a_stream_writer_commits_rows_rejected_rows_and_state(rig: MakeRig, tmp_path: Path) -> None:
    there = rig(LedgerWriter)
    table = there.writer.table(SPEC)

    before = table.load_state()
    changes = table.open(ROWS.schema)
    table.write(ROWS)
    table.quarantine(BAD)
    receipt = table.commit(request(0, {"cursor": 3}))

    assert (before.generation, list(changes)) == (0, ["add column id", "add column name"])
    assert ledger(tmp_path) == ROWS.to_pylist()
    assert ledger(tmp_path, rejected=True) == BAD.to_pylist()
    assert (receipt.generation, receipt.snapshot_id, receipt.inserted) == (1, "snapshot 1", 3)
    assert table.load_state().state == {"cursor": 3}
    assert [(commit.generation, commit.rows) for commit in table.history()] == [(1, 3)]  # type: ignore[attr-defined]
    assert table.keeps_history
    assert len(there.started) == 1


def test_a_stream_writers_powers_are_those_of_its_instance(rig: MakeRig) -> None:
    writer = rig(LedgerWriter, delivery="at_least_once").writer

    assert writer.delivery == "at_least_once"
    assert writer.write_modes == {"append", "overwrite", "merge"}
    assert (writer.deletes_rows, writer.compares_keys) == (True, True)


def test_rows_are_merged_and_deleted_by_their_keys_in_order(rig: MakeRig, tmp_path: Path) -> None:
    table = rig(LedgerWriter).writer.table(spec(write="merge", primary_key=("id",)))

    fill(table)
    table.delete(pa.record_batch({"id": [1, 2]}))
    table.write(pa.record_batch({"id": [2], "name": ["again"]}))
    table.commit(request(0))

    assert ledger(tmp_path) == [{"id": 3, "name": None}, {"id": 2, "name": "again"}]


def keys_of(*batches: list[int]) -> Iterator[pa.RecordBatch]:
    return iter([pa.record_batch({"id": pa.array(ids, pa.int64())}) for ids in batches])


@pytest.mark.parametrize(
    ("marks", "kept"),
    [
        pytest.param(None, [], id="taken away"),
        pytest.param({"name": pa.scalar("gone")}, [{"id": 2, "name": "gone"}], id="marked"),
    ],
)
def test_keys_are_compared_batch_by_batch_and_absent_rows_go(
    rig: MakeRig, tmp_path: Path, marks: Any, kept: list[Any]
) -> None:
    writer = rig(LedgerWriter).writer
    merged = spec(write="merge", primary_key=("id",))
    first = writer.table(merged)
    fill(first)
    first.commit(request(0))
    table = writer.table(merged)

    found = table.compare_keys(pa.schema({"id": pa.int64()}), keys_of([1], [], [3, 4]))
    table.open(ROWS.schema)
    table.delete_absent(marks)
    table.commit(request(1))

    assert (found.source_keys, found.table_rows, found.absent) == (3, 3, 1)
    assert found.examples is not None
    assert found.examples.to_pylist() == [{"id": 2}]
    assert ledger(tmp_path) == [{"id": 1, "name": "a"}, {"id": 3, "name": None}, *kept]


def test_an_empty_table_asks_for_no_keys(rig: MakeRig) -> None:
    def never() -> Iterator[pa.RecordBatch]:
        raise AssertionError("nobody asks")
        yield

    table = rig(LedgerWriter).writer.table(SPEC)

    assert table.compare_keys(pa.schema({"id": pa.int64()}), never()).table_rows == 0


def test_streams_that_write_have_a_process_each_and_one_that_only_looks_passes_its_own_on(
    rig: MakeRig, tmp_path: Path
) -> None:
    there = rig(LedgerWriter)

    for name in ("looks", "writes", "looks too", "writes as well"):
        table = there.writer.table(spec(name=name, stream=name))
        state = table.load_state()
        if "writes" in name:
            table.open(ROWS.schema)
            table.write(ROWS)
            table.commit(request(state.generation))
    alive = [not process.is_over for process in there.started]
    there.writer.close()

    assert alive == [False, True]
    assert [process.asked.count("commit") for process in there.started] == [1, 1]
    assert all(process.is_over for process in there.started)
    assert (tmp_path / "closed").exists()


def test_a_table_and_its_quarantine_share_a_process_and_another_stream_has_its_own(
    rig: MakeRig,
) -> None:
    there = rig(DictWriter)

    for name in ("a", "b"):
        table = there.writer.table(spec(name=name, stream=name))
        fill(table)
        table.quarantine(BAD)
        table.commit(request(0))

    assert [process.asked.count("instance") for process in there.started] == [2, 2]
    assert all(process.is_over for process in there.started)


def test_an_abort_reaches_the_plugin_and_ends_its_process(rig: MakeRig, tmp_path: Path) -> None:
    there = rig(LedgerWriter)
    table = there.writer.table(SPEC)

    fill(table)
    table.abort()
    table.abort()

    assert (tmp_path / "aborted").exists()
    assert there.started[0].is_over
    assert ledger(tmp_path) == []
    assert table.load_state().generation == 0


def test_an_abort_that_fails_hides_no_other_error(rig: MakeRig) -> None:
    there = rig(LedgerWriter, faults={"abort": "raise"})
    fill(table := there.writer.table(SPEC))
    there.arm()

    table.abort()

    assert there.started[0].is_over


def test_a_commit_from_a_stale_generation_is_fenced_with_the_plugins_own_word(rig: MakeRig, tmp_path: Path) -> None:
    there = rig(LedgerWriter)
    first, second = there.writer.table(SPEC), there.make().table(spec(run_id="run-2"))
    fill(first)
    fill(second)
    first.commit(request(0))

    with pytest.raises(FencedError, match="the ledger is at 1"):
        second.commit(request(0))

    assert ledger(tmp_path) == ROWS.to_pylist()


# When the process ends


@pytest.mark.parametrize("plugin", [DictWriter, AtomicWriter, LedgerWriter])
@pytest.mark.parametrize("moment", ["write", "after write"])
def test_a_process_that_ends_before_the_commit_lands_nothing(
    rig: MakeRig, tmp_path: Path, plugin: type, moment: str
) -> None:
    there = rig(plugin, faults={moment: "die"})
    table = there.writer.table(SPEC)
    there.arm()

    with pytest.raises(PluginExecutionError, match="was killed") as caught:
        fill(table)
    with pytest.raises(PluginExecutionError, match="was killed"):
        table.write(ROWS)
    table.abort()

    assert caught.value.error_code == "PLUGIN_CRASHED"
    assert (pickled(tmp_path), ledger(tmp_path)) == ([], [])
    fill(table)
    assert table.commit(request(0)).inserted == 3


def test_a_stream_writer_that_ends_after_its_commit_has_committed(rig: MakeRig, tmp_path: Path) -> None:
    there = rig(LedgerWriter, faults={"after commit": "die"})
    fill(table := there.writer.table(SPEC))
    there.arm()

    receipt = table.commit(request(0, {"cursor": 3}))

    assert (receipt.commit_id, receipt.generation, receipt.inserted) == ("commit-0", 1, None)
    assert ledger(tmp_path) == ROWS.to_pylist()
    assert table.load_state().state == {"cursor": 3}


@pytest.mark.parametrize("what", ["die", "raise"])
def test_a_stream_writer_that_ends_before_its_commit_has_landed_nothing_and_says_so(
    rig: MakeRig, tmp_path: Path, what: str
) -> None:
    there = rig(LedgerWriter, faults={"commit": what})
    fill(table := there.writer.table(SPEC))
    there.arm()

    with pytest.raises(PluginExecutionError, match="events is at generation 0 as before: nothing landed"):
        table.commit(request(0))
    table.abort()

    assert ledger(tmp_path) == []
    assert (tmp_path / "aborted").exists() == (what == "raise")


def test_an_error_that_a_plugin_did_not_foresee_after_its_commit_is_no_failure(rig: MakeRig) -> None:
    there = rig(LedgerWriter, faults={"after commit": "raise"})
    fill(table := there.writer.table(SPEC))
    there.arm()

    assert table.commit(request(0)).generation == 1


def test_a_commit_whose_target_cannot_be_asked_again_is_unknown(rig: MakeRig) -> None:
    there = rig(LedgerWriter, faults={"after commit": "die", "load_state": "raise"})
    fill(table := there.writer.table(SPEC))
    there.arm()
    first = there.started[0]
    end = first._end

    def end_and_arm(error: Any) -> None:
        there.arm()
        end(error)

    first._end = end_and_arm  # type: ignore[method-assign]

    with pytest.raises(CommitStateUnknownError, match="looking again failed"):
        table.commit(request(0))


def test_a_commit_without_an_answer_that_another_run_came_before_is_fenced(rig: MakeRig) -> None:
    there = rig(LedgerWriter, faults={"commit": "die"})
    fill(table := there.writer.table(SPEC))
    fill(other := there.make().table(spec(run_id="run-2")))
    other.commit(CommitRequest("of another", 0, {}, "2026-01-01T00:00:00Z"))
    there.arm()

    with pytest.raises(FencedError, match="another run has committed in between"):
        table.commit(request(0))


@pytest.mark.parametrize("landed", [True, False], ids=["landed", "did not"])
def test_a_commit_without_an_answer_that_others_followed_is_looked_for_in_the_history(
    rig: MakeRig, landed: bool
) -> None:
    there = rig(LedgerWriter, faults={"after commit" if landed else "commit": "die"})
    fill(table := there.writer.table(SPEC))
    there.arm()
    process = there.started[0]
    end = process._end

    def others_follow(error: Any) -> None:
        other = there.make().table(spec(run_id="run-2"))
        for generation in range(int(landed), 3):
            other.commit(CommitRequest(f"other-{generation}", generation, {}, "2026-01-01T00:00:00Z"))
        end(error)

    process._end = others_follow  # type: ignore[method-assign]

    if landed:
        assert table.commit(request(0)).generation == 1
        return
    with pytest.raises(CommitStateUnknownError, match="events is at generation 3"):
        table.commit(request(0))


def test_a_receipt_of_another_commit_is_a_breach_that_is_looked_into(
    rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = rig(LedgerWriter)
    fill(table := there.writer.table(SPEC))
    process = there.started[0]
    ask = process.ask

    def lie(method: str, *args: Any, **named: Any) -> Any:
        answer = ask(method, *args, **named)
        return {**answer, "generation": 12} if method == "commit" else answer

    monkeypatch.setattr(process, "ask", lie)

    receipt = table.commit(request(0))

    assert receipt.generation == 1
    assert process.is_over


@pytest.mark.parametrize("moment", ["commit", "after commit"])
def test_an_atomic_writer_that_ends_within_its_commit_is_finished_by_the_next_run(
    rig: MakeRig, tmp_path: Path, moment: str
) -> None:
    there = rig(AtomicWriter, faults={moment: "die"})
    fill(table := there.writer.table(SPEC))
    there.arm()

    with pytest.raises(CommitStateUnknownError, match="gave no answer to its commit"):
        table.commit(request(0, {"cursor": 3}))
    there.writer.close()
    after = there.make().table(spec(run_id="run-2")).load_state()

    assert after.state == {"cursor": 3}
    assert pickled(tmp_path) == [ROWS]


@pytest.mark.parametrize(("moment", "times"), [("commit", 1), ("after commit", 2)])
def test_a_writer_that_is_not_atomic_may_repeat_its_rows_after_it_ended(
    rig: MakeRig, tmp_path: Path, moment: str, times: int
) -> None:
    there = rig(DictWriter, faults={moment: "die"})
    fill(table := there.writer.table(SPEC))
    there.arm()

    with pytest.raises(PluginExecutionError, match="was killed"):
        table.commit(request(0))
    table.abort()
    again = there.writer.table(spec(run_id="run-2"))
    fill(again)
    again.commit(request(0))

    assert pickled(tmp_path) == [ROWS.to_pylist()] * times
