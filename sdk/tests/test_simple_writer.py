from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dativo_plugin_sdk import (
    BaseWriter,
    Capability,
    CommitRequest,
    CommitStateUnknownError,
    ConnectionTestResult,
    FencedError,
    InvalidConfigError,
    PluginExecutionError,
    ServiceUnavailableError,
    SimpleWriter,
    TableSpec,
    TableWriter,
    TargetConfig,
)
from dativo_plugin_sdk.testing.ends import MemoryStates

ROWS = pa.record_batch({"id": [1, 2, 3], "name": ["a", "b", None]})
SPEC = TableSpec(name="orders", namespace=None, job="shop", stream="orders", run_id="run-1")


class FolderWriter(BaseWriter):
    """Writes JSON files that a commit names in a list."""

    def write_batch(self, records: Any, file_counter: int) -> list[dict[str, Any]]:
        path = (
            Path(self.output_base) / f"{self.asset_definition.name}-{self.asset_definition.run_id}-{file_counter}.json"
        )
        path.write_text(json.dumps(records))
        return [{"path": path, "size_bytes": path.stat().st_size}]

    def commit_files(self, file_metadata: list[dict[str, Any]]) -> dict[str, Any]:
        shown = Path(self.output_base) / f"{self.asset_definition.name}.shown"
        names = shown.read_text().split() if shown.exists() else []
        shown.write_text("\n".join(dict.fromkeys([*names, *(item["path"] for item in file_metadata)])))
        return {"status": "success", "snapshot_id": 7}


class AtomicWriter(FolderWriter):
    capabilities = frozenset({Capability.ATOMIC_COMMIT})
    failure: BaseException | None = None

    def commit_files(self, file_metadata: list[dict[str, Any]]) -> dict[str, Any]:
        if type(self).failure is not None:
            raise type(self).failure
        return super().commit_files(file_metadata)


class OldWriter(BaseWriter):
    """As written before there was anything but ``write_batch``."""

    def __init__(self, asset_definition: Any, target_config: Any, output_base: str) -> None:
        self.base = output_base

    def write_batch(self, records: list[dict[str, Any]], file_counter: int) -> list[dict[str, Any]]:
        path = Path(self.base) / f"part-{file_counter}.json"
        path.write_text(json.dumps(records))
        return [{"path": str(path)}]


@pytest.fixture
def states() -> MemoryStates:
    return MemoryStates()


def writer_of(plugin: type[BaseWriter], states: MemoryStates, folder: Path) -> SimpleWriter:
    return SimpleWriter(plugin, TargetConfig(type="plugin"), states=states, output_base=str(folder))


def request(generation: int, state: dict[str, Any] | None = None) -> CommitRequest:
    return CommitRequest(f"commit-{generation}", generation, state or {"at": generation}, "2026-01-01T00:00:00Z")


def shown(folder: Path, table: str = "orders") -> list[dict[str, Any]]:
    listed = folder / f"{table}.shown"
    names = listed.read_text().split() if listed.exists() else []
    return [row for name in names for row in json.loads(Path(name).read_text())]


def fill(table: TableWriter) -> None:
    table.open(ROWS.schema)
    table.write(ROWS)


def test_rows_reach_the_plugin_as_dicts_and_are_committed_once_with_their_state(
    states: MemoryStates, tmp_path: Path
) -> None:
    table = writer_of(FolderWriter, states, tmp_path).table(SPEC)

    fill(table)
    receipt = table.commit(request(0, {"cursor": 3}))

    assert shown(tmp_path) == ROWS.to_pylist()
    assert (receipt.inserted, receipt.files, receipt.generation, receipt.snapshot_id) == (3, 1, 1, "7")
    assert receipt.bytes_written > 0
    assert table.load_state().state == {"cursor": 3}


def test_a_plugin_that_takes_arrow_gets_the_batch_itself(states: MemoryStates, tmp_path: Path) -> None:
    taken: list[Any] = []

    class ArrowWriter(BaseWriter):
        capabilities = frozenset({Capability.ARROW_BATCHES})

        def write_batch(self, records: Any, file_counter: int) -> list[dict[str, Any]]:
            taken.append(records)
            return [{"path": f"part-{file_counter}"}]

    fill(writer_of(ArrowWriter, states, tmp_path).table(SPEC))

    assert taken == [ROWS]


def test_a_batch_larger_than_the_table_may_hold_reaches_the_plugin_in_parts(
    states: MemoryStates, tmp_path: Path
) -> None:
    sizes: list[int] = []

    class CountingWriter(BaseWriter):
        def write_batch(self, records: list[Any], file_counter: int) -> list[dict[str, Any]]:
            sizes.append(len(records))
            return [{"path": str(file_counter)}]

    small = TableSpec(**{**vars(SPEC), "buffer_bytes": 8 * 1024})
    table = writer_of(CountingWriter, states, tmp_path).table(small)
    table.open(pa.schema({"n": pa.int64()}))
    table.write(pa.record_batch({"n": list(range(1000))}))

    assert sum(sizes) == 1000
    assert max(sizes) <= 128


def test_rejected_rows_go_to_the_quarantine_table_through_an_instance_of_their_own(
    states: MemoryStates, tmp_path: Path
) -> None:
    table = writer_of(FolderWriter, states, tmp_path).table(SPEC)
    bad = pa.record_batch({"reason": ["no number"]})

    fill(table)
    table.quarantine(bad)
    table.commit(request(0))

    assert shown(tmp_path, "orders__quarantine") == [{"reason": "no number"}]
    assert shown(tmp_path) == ROWS.to_pylist()


def test_the_asset_tells_columns_types_and_what_is_required(states: MemoryStates, tmp_path: Path) -> None:
    assets: list[Any] = []

    class LookingWriter(FolderWriter):
        def __init__(self, asset_definition: Any, target_config: Any, output_base: str) -> None:
            super().__init__(asset_definition, target_config, output_base)
            assets.append(asset_definition)

    schema = pa.schema([pa.field("id", pa.int32(), nullable=False), pa.field("price", pa.decimal128(10, 2))])
    writer_of(LookingWriter, states, tmp_path).table(SPEC).open(schema)

    assert assets[0].name == "orders"
    assert assets[0].schema == [
        {"name": "id", "type": "integer", "required": True},
        {"name": "price", "type": "decimal(10,2)", "required": False},
    ]
    assert assets[0].arrow_schema == schema


def test_a_commit_from_a_stale_generation_is_fenced_and_shows_nothing(states: MemoryStates, tmp_path: Path) -> None:
    writer = writer_of(AtomicWriter, states, tmp_path)
    first, second = writer.table(SPEC), writer.table(TableSpec(**{**vars(SPEC), "run_id": "run-2"}))
    fill(first)
    fill(second)
    first.commit(request(0))

    with pytest.raises(FencedError, match="generation 1"):
        second.commit(request(0))

    assert shown(tmp_path) == ROWS.to_pylist()
    assert second.load_state().run_id == "run-1"


def test_a_commit_without_rows_moves_the_state_alone(states: MemoryStates, tmp_path: Path) -> None:
    table = writer_of(FolderWriter, states, tmp_path).table(SPEC)

    receipt = table.commit(request(0, {"cursor": 9}))

    assert receipt.files == 0
    assert table.load_state().state == {"cursor": 9}
    assert list(tmp_path.iterdir()) == []


def test_a_stream_that_goes_into_another_table_now_starts_over(states: MemoryStates, tmp_path: Path) -> None:
    writer = writer_of(FolderWriter, states, tmp_path)
    writer.table(SPEC).commit(request(0, {"at": 1}))

    other = writer.table(TableSpec(**{**vars(SPEC), "name": "others"}))

    assert writer.table(SPEC).load_state().state == {"at": 1}
    assert other.load_state().generation == 0


def test_an_atomic_commit_that_fails_leaves_rows_and_state_as_they_were(
    states: MemoryStates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = writer_of(AtomicWriter, states, tmp_path)
    earlier = writer.table(SPEC)
    earlier.commit(request(0, {"cursor": 1}))
    monkeypatch.setattr(AtomicWriter, "failure", ServiceUnavailableError("down"))
    table = writer.table(TableSpec(**{**vars(SPEC), "run_id": "run-2"}))
    fill(table)

    with pytest.raises(ServiceUnavailableError, match="down"):
        table.commit(request(1, {"cursor": 2}))

    assert table.load_state().state == {"cursor": 1}
    assert shown(tmp_path) == []
    monkeypatch.setattr(AtomicWriter, "failure", None)
    again = writer.table(TableSpec(**{**vars(SPEC), "run_id": "run-3"}))
    fill(again)
    again.commit(request(again.load_state().generation, {"cursor": 2}))
    assert shown(tmp_path) == ROWS.to_pylist()


def test_a_commit_killed_after_its_promise_is_finished_by_the_next_run_and_never_repeated(
    states: MemoryStates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = writer_of(AtomicWriter, states, tmp_path)
    monkeypatch.setattr(AtomicWriter, "failure", KeyboardInterrupt())
    killed = writer.table(SPEC)
    fill(killed)
    with pytest.raises(KeyboardInterrupt):
        killed.commit(request(0, {"cursor": 3}))
    monkeypatch.setattr(AtomicWriter, "failure", None)

    following = writer.table(TableSpec(**{**vars(SPEC), "run_id": "run-2"}))
    state = following.load_state()

    assert state.state == {"cursor": 3}
    assert shown(tmp_path) == ROWS.to_pylist()
    following.commit(request(state.generation, state.state))
    assert shown(tmp_path) == ROWS.to_pylist()


def test_rejected_rows_that_could_not_be_shown_after_the_rows_are_shown_by_the_next_run(
    states: MemoryStates, tmp_path: Path
) -> None:
    class HalfWriter(AtomicWriter):
        def commit_files(self, file_metadata: list[dict[str, Any]]) -> dict[str, Any]:
            if self.asset_definition.name == "orders__quarantine" and breaks:
                raise ServiceUnavailableError("down")
            return super().commit_files(file_metadata)

    breaks = [True]
    writer = writer_of(HalfWriter, states, tmp_path)
    table = writer.table(SPEC)
    fill(table)
    table.quarantine(pa.record_batch({"reason": ["no number"]}))

    with pytest.raises(ServiceUnavailableError):
        table.commit(request(0, {"cursor": 3}))

    breaks.clear()
    assert writer.table(SPEC).load_state().state == {"cursor": 3}
    assert shown(tmp_path) == ROWS.to_pylist()
    assert shown(tmp_path, "orders__quarantine") == [{"reason": "no number"}]


def test_an_unknown_outcome_keeps_the_promise_for_the_next_run(
    states: MemoryStates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = writer_of(AtomicWriter, states, tmp_path)
    monkeypatch.setattr(AtomicWriter, "failure", CommitStateUnknownError("no answer"))
    table = writer.table(SPEC)
    fill(table)

    with pytest.raises(CommitStateUnknownError):
        table.commit(request(0, {"cursor": 3}))

    with pytest.raises(CommitStateUnknownError):
        writer.table(SPEC).load_state()
    monkeypatch.setattr(AtomicWriter, "failure", None)
    assert writer.table(SPEC).load_state().state == {"cursor": 3}
    assert shown(tmp_path) == ROWS.to_pylist()


def test_delivery_is_at_least_once_unless_the_commit_is_atomic(states: MemoryStates, tmp_path: Path) -> None:
    deliveries = [writer_of(plugin, states, tmp_path).delivery for plugin in (FolderWriter, AtomicWriter)]

    assert deliveries == ["at_least_once", "exactly_once"]


def test_a_write_mode_that_the_plugin_does_not_declare_is_refused(states: MemoryStates, tmp_path: Path) -> None:
    writer = writer_of(FolderWriter, states, tmp_path)

    with pytest.raises(InvalidConfigError, match="FolderWriter cannot overwrite; it can append"):
        writer.table(TableSpec(**{**vars(SPEC), "write": "overwrite"}))


def test_a_class_of_earlier_releases_still_writes(states: MemoryStates, tmp_path: Path) -> None:
    table = writer_of(OldWriter, states, tmp_path).table(SPEC)

    fill(table)
    receipt = table.commit(request(0))

    assert receipt.files == 1
    assert json.loads((tmp_path / "part-0.json").read_text()) == ROWS.to_pylist()


def test_a_check_that_nobody_wrote_says_so(states: MemoryStates, tmp_path: Path) -> None:
    (check,) = writer_of(OldWriter, states, tmp_path).check([SPEC])

    assert check.run() == ConnectionTestResult(True, "Connection test not implemented", None, {"implemented": False})


def test_an_exception_of_the_plugin_names_class_and_method(states: MemoryStates, tmp_path: Path) -> None:
    class Broken(BaseWriter):
        def write_batch(self, records: Any, file_counter: int) -> list[dict[str, Any]]:
            raise KeyError("bucket")

    with pytest.raises(PluginExecutionError, match=r"Broken.write_batch failed: KeyError: 'bucket'") as caught:
        fill(writer_of(Broken, states, tmp_path).table(SPEC))

    assert caught.value.details["original_error"] == "KeyError"


@pytest.mark.parametrize(
    "returned",
    [pytest.param(None, id="nothing"), pytest.param([{"file": "x"}], id="without path"), pytest.param("x", id="text")],
)
def test_metadata_without_a_path_is_the_plugins_error(returned: Any, states: MemoryStates, tmp_path: Path) -> None:
    class Forgetful(BaseWriter):
        def write_batch(self, records: Any, file_counter: int) -> list[dict[str, Any]]:
            return returned

    with pytest.raises(PluginExecutionError, match=r"Forgetful.write_batch returned .*, expected a list of dicts"):
        fill(writer_of(Forgetful, states, tmp_path).table(SPEC))


def test_a_commit_that_says_it_failed_has_failed(states: MemoryStates, tmp_path: Path) -> None:
    class Refusing(FolderWriter):
        def commit_files(self, file_metadata: list[dict[str, Any]]) -> dict[str, Any]:
            return {"status": "failed"}

    table = writer_of(Refusing, states, tmp_path).table(SPEC)
    fill(table)

    with pytest.raises(PluginExecutionError, match="commit_files says failed"):
        table.commit(request(0))

    assert table.load_state().generation == 0
