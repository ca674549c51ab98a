"""Writers through real processes and sockets; what is said to them is `test_remote_writer`'s affair."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import writer_plugins
from arrow_zoo import plain_zoo, zoo
from confined import confined
from plugin_remains import Remains
from writer_plugins import ledger, pickled

from dativo_ingest.plugin_process.finding import plugin_of_file
from dativo_ingest.plugin_process.records import PluginRecord
from dativo_ingest.plugin_process.remote_writer import remote_writer
from dativo_ingest.plugin_process.starting import Hosted, Starter
from dativo_ingest.run.state_store import SqliteStateStore
from dativo_ingest.sandbox.grant import Deadlines, Grant
from dativo_plugin_sdk import (
    CommitRequest,
    CommitStateUnknownError,
    NetworkError,
    PluginExecutionError,
    StreamWriter,
    TableSpec,
    TableWriter,
    TargetConfig,
)

ROWS = pa.record_batch({"id": [1, 2, 3], "name": ["a", "b", None]})
SPEC = TableSpec("events", "raw", "shop", "public.events", "run-1")
MakeWriter = Callable[..., StreamWriter]


class StoppedError(Exception):
    """Somebody wants to stop."""


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    folder = tmp_path / "lake"
    folder.mkdir()
    return folder


@pytest.fixture
def make(lake: Path, remains: Remains) -> Iterator[MakeWriter]:  # noqa: ARG001  it looks afterwards
    """Make writers; they are closed before it is looked what remains."""
    made: list[StreamWriter] = []

    def writer(
        name: str, *, idle_s: float = 60, while_waiting: Callable[[], None] = lambda: None, **options: Any
    ) -> StreamWriter:
        plugin = plugin_of_file("writer", f"{writer_plugins.__file__}:{name}")
        config = TargetConfig(type=name, connection={"path": str(lake)}, options=options)
        grant = Grant(deadlines=Deadlines(idle_s=idle_s), read=(str(lake),), write=(str(lake),))
        record = PluginRecord("target", plugin.title, plugin.version, plugin.sha256, grant)
        hosted = Hosted(record, while_waiting=while_waiting, cancel_s=0.5, stop_s=5, confinement=confined())
        states = SqliteStateStore(lake / "state.db")
        made.append(remote_writer(Starter(plugin, config, hosted), config, states=states, output_base=str(lake)))
        return made[-1]

    yield writer
    for each in made:
        each.close()


def request(generation: int, state: dict[str, Any] | None = None) -> CommitRequest:
    return CommitRequest(f"commit-{generation}", generation, state or {"at": generation}, "2026-01-01T00:00:00Z")


def fill(table: TableWriter, batch: pa.RecordBatch = ROWS) -> None:
    table.load_state()
    table.open(batch.schema)
    table.write(batch)


def spelt(batch: pa.RecordBatch) -> tuple[pa.Schema, list[str]]:
    """Give what a batch has, in a form in which a NaN is one and nanoseconds stay."""
    return batch.schema, [column.to_string(window=batch.num_rows) for column in batch.columns]


def test_every_type_reaches_a_simple_writer_as_the_values_that_python_has_for_it(make: MakeWriter, lake: Path) -> None:
    table = make("DictWriter").table(SPEC)

    fill(table, plain_zoo())
    table.commit(request(0))

    assert repr(pickled(lake)) == repr([plain_zoo().to_pylist()])


def test_every_type_reaches_a_simple_writer_that_takes_arrow(make: MakeWriter, lake: Path) -> None:
    table = make("AtomicWriter").table(SPEC)

    fill(table, zoo())
    table.commit(request(0))

    (kept,) = pickled(lake)
    assert spelt(kept) == spelt(zoo())


def test_a_stream_writer_gets_every_type_and_what_is_larger_than_a_frame_or_a_socket(
    make: MakeWriter, lake: Path
) -> None:
    long = "€" * 2**20
    large = pa.record_batch({"text": ["x" * 2**20] * 40})
    table = make("KeepingWriter").table(TableSpec(**{**vars(SPEC), "options": {"long": long}}))

    fill(table, zoo())
    table.write(zoo().slice(1, 2))
    table.quarantine(large)
    table.commit(request(0, {"long": long[: 2**17]}))

    kept = pickle.loads((lake / "kept").read_bytes())  # noqa: S301  of our own
    assert [what for what, _ in kept] == ["options", "open", "write", "write", "quarantine"]
    assert kept[0][1] == {"long": long}
    assert kept[1][1].equals(zoo().schema)
    assert spelt(kept[2][1]) == spelt(zoo())
    assert spelt(kept[3][1]) == spelt(zoo().slice(1, 2))
    assert kept[4][1].equals(large)
    assert table.load_state().state == {"long": long[: 2**17]}


@pytest.mark.parametrize(
    ("what", "told"), [("exit", "ended with exit code 3 during write"), ("kill", "was killed by SIGKILL during write")]
)
def test_a_plugin_that_dies_while_it_writes_is_a_crash_and_the_next_process_writes(
    make: MakeWriter, lake: Path, what: str, told: str
) -> None:
    table = make("LedgerWriter", faults={"after write": what}).table(SPEC)
    (lake / "armed").touch()

    with pytest.raises(PluginExecutionError, match=told) as caught:
        fill(table)
    table.abort()

    assert caught.value.error_code == "PLUGIN_CRASHED"
    assert ledger(lake) == []
    fill(table)
    assert table.commit(request(0)).inserted == 3


def test_a_plugin_that_hangs_in_its_commit_is_ended_and_its_target_is_asked(make: MakeWriter, lake: Path) -> None:
    table = make("LedgerWriter", faults={"after commit": "hang"}, idle_s=2).table(SPEC)
    fill(table)
    (lake / "armed").touch()

    receipt = table.commit(request(0))

    assert (receipt.commit_id, receipt.generation) == ("commit-0", 1)
    assert ledger(lake) == ROWS.to_pylist()


def test_an_atomic_plugin_that_dies_in_its_commit_is_finished_later(make: MakeWriter, lake: Path) -> None:
    table = make("AtomicWriter", faults={"commit": "kill"}).table(SPEC)
    fill(table)
    (lake / "armed").touch()

    with pytest.raises(CommitStateUnknownError, match="was killed by SIGKILL during commit_files"):
        table.commit(request(0, {"cursor": 3}))

    assert pickled(lake) == []
    assert table.load_state().state == {"cursor": 3}
    assert pickled(lake) == [ROWS]


def test_a_source_that_fails_while_its_keys_are_compared_is_the_error_that_is_told(
    make: MakeWriter, lake: Path
) -> None:
    def keys() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"id": [1]})
        raise NetworkError("gone")

    writer = make("LedgerWriter")
    merged = TableSpec(**{**vars(SPEC), "write": "merge", "primary_key": ("id",)})
    fill(first := writer.table(merged))
    first.commit(request(0))
    table = writer.table(merged)

    with pytest.raises(NetworkError, match="gone"):
        table.compare_keys(pa.schema({"id": pa.int64()}), keys())
    table.abort()

    assert ledger(lake) == ROWS.to_pylist()


def test_whoever_stops_waits_for_no_plugin_that_hangs_while_it_writes(make: MakeWriter, lake: Path) -> None:
    began_s = time.monotonic()

    def stop() -> None:
        if (lake / "stop").exists():
            raise StoppedError

    table = make("KeepingWriter", faults={"write": "hang"}, while_waiting=stop).table(SPEC)
    for name in ("armed", "stop"):
        (lake / name).touch()

    with pytest.raises(StoppedError):
        fill(table)
    table.abort()

    assert time.monotonic() - began_s < 60
    assert not (lake / "kept").exists()


def test_whoever_stops_waits_for_a_commit(make: MakeWriter, lake: Path) -> None:
    def stop() -> None:
        if (lake / "stop").exists():
            raise StoppedError

    table = make("KeepingWriter", pause_s=1.2, while_waiting=stop).table(SPEC)
    fill(table)
    (lake / "stop").touch()

    assert table.commit(request(0)).generation == 1
