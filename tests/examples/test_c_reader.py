"""The reader in C: a program with nothing but the C library, asked by the engine."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from c_programs import built
from pages import ROOT
from workshop import DATIVO

from dativo_ingest.plugin_process.conversation import Conversation
from dativo_ingest.sandbox.manifest import load_manifest
from dativo_ingest.sandbox.run_spec import RunSpec
from dativo_ingest.sandbox.unconfined import Unconfined
from dativo_ingest.targets.parquet import read_dataset
from dativo_plugin_sdk.errors import DataNotFoundError, DativoError, InvalidConfigError, PluginExecutionError
from dativo_plugin_sdk.protocol import messages
from dativo_plugin_sdk.rejects import REJECTED_SCHEMA
from dativo_plugin_sdk.streams import Message, Partition, Rejected, Rows, Skipped, StateChanged, StreamSpec

C_READER = ROOT / "examples" / "plugins" / "c_reader"
SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("station", pa.string()),
        pa.field("value", pa.float64()),
        pa.field("taken_at", pa.timestamp("us", "UTC")),
    ]
)
READINGS = """\
# station and value may be empty
1;Oslo;-3.5;2026-01-02T03:04:05Z
2;;;
3;Øst 日本;1e-300;1969-12-31T23:59:59.999999Z
4;"quoted";0;2024-02-29T00:00:00Z
"""
CONFIG = {"connection": {"path": "/"}}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(C_READER, tmp_path_factory.mktemp("built")) / "reader"


class Asked:
    """A process of the reader, greeted."""

    def __init__(self, program: Path) -> None:
        self.process = Conversation(RunSpec("c_reader", (str(program),)), Unconfined())
        self.process.greet()

    def ask(self, method: str, **params: Any) -> Any:
        return self.process.ask(method, params)

    def configure(self, folder: Path, **options: Any) -> None:
        config = {"type": "c_reader", "connection": {"path": str(folder)}, "options": options}
        self.ask("configure", config=config, config_version=1)

    def events(self, stream: str, state: dict[str, Any] | None = None) -> Iterator[Message]:
        asked = {
            "stream": messages.stream_to_json(StreamSpec(stream, schema=SCHEMA)),
            "partition": messages.partition_to_json(Partition(stream)),
            "state": state,
        }
        for event in self.process.converse("read", asked):
            yield messages.message_of(event, self.process.receive)

    def read(self, stream: str, state: dict[str, Any] | None = None) -> list[Message]:
        return list(self.events(stream, state))


@pytest.fixture
def start(program: Path) -> Iterator[Callable[[], Asked]]:
    every: list[Asked] = []

    def begin() -> Asked:
        every.append(Asked(program))
        return every[-1]

    yield begin
    for each in every:
        each.process.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "north.readings").write_text(READINGS, encoding="utf-8")
    (tmp_path / "south.readings").write_text("", encoding="utf-8")
    (tmp_path / "notes.txt").write_text("no readings", encoding="utf-8")
    return tmp_path


@pytest.fixture
def reader(start: Callable[[], Asked], folder: Path) -> Asked:
    asked = start()
    asked.configure(folder)
    return asked


def rows_of(found: list[Message]) -> list[dict[str, Any]]:
    return [row for each in found if isinstance(each, Rows) for row in each.batch.to_pylist()]


def last_state(found: list[Message]) -> dict[str, Any]:
    return [each.state for each in found if isinstance(each, StateChanged)][-1]


def test_it_says_what_it_is_and_what_there_is(reader: Asked) -> None:
    spec = reader.ask("spec", kind="reader", plugin=None)
    steps = reader.ask("check", streams=[])
    checked = messages.connection_test_from_json(reader.ask("check_step", step=0))
    discovered = messages.discovery_from_json(reader.ask("discover", pattern=None))
    schema = messages.schema_from_json(reader.ask("schema", stream={"name": "north"}))

    assert (spec["kind"], spec["level"], spec["version"]) == (
        "reader",
        "stream",
        load_manifest(C_READER / "dativo-plugin.yaml").version,
    )
    assert steps == {"steps": ["folder"]}
    assert checked.success
    assert checked.details == {"files": 2}
    assert [each["name"] for each in discovered.objects] == ["north", "south"]
    assert [each["name"] for each in reader.ask("discover", pattern="s*")["objects"]] == ["south"]
    assert schema.equals(SCHEMA, check_metadata=True)


def test_rows_comments_and_state_arrive_in_order(reader: Asked) -> None:
    found = reader.read("north")

    first, second, third = found
    assert isinstance(first, Rows)
    assert first.batch.schema.equals(SCHEMA)
    assert first.batch.to_pylist() == [
        {"id": 1, "station": "Oslo", "value": -3.5, "taken_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)},
        {"id": 2, "station": None, "value": None, "taken_at": None},
        {
            "id": 3,
            "station": "Øst 日本",
            "value": 1e-300,
            "taken_at": datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        },
        {"id": 4, "station": '"quoted"', "value": 0.0, "taken_at": datetime(2024, 2, 29, tzinfo=UTC)},
    ]
    assert (first.source, first.first_line, first.source_bytes) == ("north.readings", None, len(READINGS.encode()))
    assert second == Skipped(1, "comment")
    assert third == StateChanged({"version": 1, "line": 5, "byte": len(READINGS.encode())})
    assert reader.read("south") == []


def test_reading_goes_on_from_every_state(reader: Asked, folder: Path) -> None:
    lines = [f"{n};station {n % 7};{n / 8};2026-01-01T00:00:00Z\n" for n in range(1000)]
    (folder / "many.readings").write_text("".join(lines), encoding="utf-8")
    reader.configure(folder, batch_rows=64)

    found = reader.read("many")
    states = [each.state for each in found if isinstance(each, StateChanged)]
    firsts = [each.first_line for each in found if isinstance(each, Rows)]

    assert [row["id"] for row in rows_of(found)] == list(range(1000))
    assert firsts == list(range(1, 1001, 64))
    for number, state in enumerate(states):
        rest = rows_of(reader.read("many", state))
        assert [row["id"] for row in rest] == list(range(min(1000, 64 * (number + 1)), 1000))


def test_what_is_added_is_read_once_its_line_is_whole(reader: Asked, folder: Path) -> None:
    state = last_state(reader.read("north"))
    file = folder / "north.readings"
    with file.open("a", encoding="utf-8") as out:
        out.write("5;Oslo;1;\n6;Os")

    found = reader.read("north", state)

    assert [row["id"] for row in rows_of(found)] == [5]
    assert last_state(found)["line"] == 6


def test_lines_that_are_none_are_rejected_with_a_reason(reader: Asked, folder: Path) -> None:
    bad = b'1;a;;\nx;"a"\t;;\n2;\xff;;\n3;a;1;2026-02-29T00:00:00Z\n4;a\n5;b;nan;\n9;z;;\r\n' + b"7" * 2000 + b"\n"
    (folder / "bad.readings").write_bytes(bad)

    rows, rejected, _state = reader.read("bad")

    assert isinstance(rejected, Rejected)
    assert rejected.batch.schema.equals(REJECTED_SCHEMA)
    assert [row["id"] for row in rows_of([rows])] == [1, 9]
    assert [(row["line"], row["column"], row["rule"]) for row in rejected.batch.to_pylist()] == [
        (2, "id", "type"),
        (3, None, "malformed"),
        (4, "taken_at", "type"),
        (5, None, "malformed"),
        (6, "value", "type"),
        (8, None, "malformed"),
    ]
    assert rejected.batch.column("row")[0].as_py() == '"x;\\"a\\"\\u0009;;"'
    assert rejected.batch.column("row")[1].as_py() == '"2;\N{REPLACEMENT CHARACTER};;"'


def test_a_reader_of_many_batches_leaves_off_when_it_is_cancelled(reader: Asked, folder: Path) -> None:
    line = "123456789;a station with a long name;1.5;2026-01-01T00:00:00Z\n"
    (folder / "long.readings").write_text(line * 400_000, encoding="utf-8")
    reader.configure(folder, batch_rows=10_000)
    events = reader.process.converse("read", {"stream": {"name": "long"}, "partition": {"id": "long"}, "state": None})
    event = next(events)
    messages.message_of(event, reader.process.receive)

    events.close()

    assert not reader.process.is_over
    assert reader.process.bytes_in < 400_000 * 40  # of some 60 bytes for each row
    assert [each["name"] for each in reader.ask("discover", pattern="n*")["objects"]] == ["north"]
    assert len(rows_of(reader.read("north"))) == 4


@pytest.mark.parametrize(
    ("method", "params", "error", "message"),
    [
        ("configure", {"config": {"connection": {}}}, InvalidConfigError, "source.connection.path: required key"),
        (
            "configure",
            {"config": {"connection": {"path": "x"}, "options": {"batch_rows": 0}}},
            InvalidConfigError,
            "1 or",
        ),
        ("schema", {"stream": {"name": "west"}}, DataNotFoundError, "there is no stream west"),
        ("schema", {"stream": {"name": "../north"}}, DataNotFoundError, "there is no stream ../north"),
        ("check_step", {"step": 7}, PluginExecutionError, "no such step"),
        ("fly", {}, PluginExecutionError, "there is no method fly"),
    ],
)
def test_what_it_cannot_do_is_an_error_and_it_lives_on(
    reader: Asked, method: str, params: dict[str, Any], error: type[DativoError], message: str
) -> None:
    with pytest.raises(error, match=message):
        reader.process.ask(method, params)

    assert reader.ask("check", streams=[]) == {"steps": ["folder"]}


def test_a_folder_that_is_not_there_fails_the_check(start: Callable[[], Asked], tmp_path: Path) -> None:
    asked = start()
    asked.configure(tmp_path / "nowhere")

    with pytest.raises(DataNotFoundError, match="nowhere is no folder"):
        asked.ask("check_step", step=0)


def test_a_file_that_became_shorter_is_an_error(reader: Asked) -> None:
    with pytest.raises(DativoError, match="shorter than it was"):
        reader.read("north", {"version": 1, "line": 9, "byte": 10_000})


def test_a_request_larger_than_a_frame_is_understood(reader: Asked) -> None:
    options = {f"option {n}": 'é"\\\n' * 100 for n in range(5_000)}

    schema = reader.ask("schema", stream={"name": "north", "options": options})

    assert messages.schema_from_json(schema).equals(SCHEMA)


def test_it_ends_when_asked_to_and_when_the_engine_is_gone(start: Callable[[], Asked]) -> None:
    asked, other = start(), start()

    asked.process.stop()
    other.process.session.control.close()
    other.process.session.data.close()

    assert asked.process.session.wait(5) is not None
    assert asked.process.session.wait(5).exit_code == 0
    assert other.process.session.wait(5).exit_code == 0


def run_job(folder: Path) -> dict[str, Any]:
    """Run the example's job and give its report."""
    command = [*DATIVO, "run", "--config", str(folder / "job.yaml"), "--report", "-", "--progress", "none"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_job_reads_with_it_and_goes_on_where_it_stopped(program: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(program.parent, tmp_path / "c_reader"))

    first = run_job(folder)
    with (folder / "data" / "south.readings").open("a", encoding="utf-8") as out:
        out.write("3;Bari;15.5;2026-01-02T03:06:00Z\n4;Bari;warm;\n")
    second = run_job(folder)

    plugin = first["plugins"][0]
    assert [stream["rows"]["written"] for stream in first["streams"]] == [4, 2]
    assert (plugin["name"], plugin["language"], plugin["sdk"], plugin["outcome"]) == ("c_reader", "c", None, "ok")
    assert [stream["status"] for stream in second["streams"]] == ["no_data", "succeeded"]
    assert second["streams"][1]["rows"]["quarantined"] == 1
    rows = read_dataset(folder / "warehouse" / "south").to_table().to_pylist()
    assert sorted((row["id"], row["station"], row["value"]) for row in rows) == [
        (1, "Roma", 12.75),
        (2, "Napoli", 14.0),
        (3, "Bari", 15.5),
    ]
