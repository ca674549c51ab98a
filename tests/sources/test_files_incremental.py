"""Following files from run to run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from file_reading import Reading, config, read_stream

from dativo_ingest.sources.csv import CsvReader
from dativo_plugin_sdk import (
    DataError,
    DataFormatError,
    InvalidConfigError,
    Rows,
    State,
    StateChanged,
    StreamSpec,
    Warned,
)


def _run(path: Path, state: State | None = None, **spec: Any) -> Reading:
    return read_stream(CsvReader(config(path)), state, **{"mode": "incremental", **spec})


def _ids(reading: Reading) -> list[int]:
    return [row["id"] for row in reading.rows]


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    (tmp_path / "a.csv").write_text("id,name\n1,one\n2,two\n")
    (tmp_path / "b.csv").write_text("id,name\n3,three\n")
    return tmp_path


def test_files_read_before_are_not_read_again(landing: Path) -> None:
    first = _run(landing)

    second = _run(landing, first.state)

    assert _ids(first) == [1, 2, 3]
    assert second.messages == []


def test_a_new_file_is_read_alone(landing: Path) -> None:
    first = _run(landing)
    (landing / "c.csv").write_text("id,name\n4,four\n")

    second = _run(landing, first.state)

    assert _ids(second) == [4]


def test_state_moves_once_after_each_file(landing: Path) -> None:
    reading = _run(landing)

    kinds = [type(message) for message in reading.messages]
    known = [sorted(message.state["files"]) for message in reading.of(StateChanged)]

    assert kinds == [Rows, StateChanged, Rows, StateChanged]
    assert known == [[f"{landing}/a.csv"], [f"{landing}/a.csv", f"{landing}/b.csv"]]


def test_full_refresh_reads_everything_and_remembers_it(landing: Path) -> None:
    first = _run(landing)

    again = _run(landing, first.state, mode="full_refresh")

    assert _ids(again) == [1, 2, 3]
    assert again.state == first.state


def test_a_file_that_vanished_stays_known(landing: Path) -> None:
    first = _run(landing)
    (landing / "a.csv").unlink()
    (landing / "c.csv").write_text("id,name\n4,four\n")

    second = _run(landing, first.state)

    assert _ids(second) == [4]
    assert second.state is not None
    assert f"{landing}/a.csv" in second.state["files"]


def test_a_file_that_was_only_touched_is_not_read_again(landing: Path) -> None:
    first = _run(landing)
    os.utime(landing / "a.csv", (1, 1))

    second = _run(landing, first.state)

    assert second.messages == []


def test_a_file_that_grew_is_read_from_its_old_end_on(landing: Path) -> None:
    first = _run(landing)
    with (landing / "a.csv").open("a") as file:
        file.write("5,five\n6\n7,seven\n")

    second = _run(landing, first.state)
    third = _run(landing, second.state)

    assert _ids(second) == [5, 7]
    assert second.lines == [4, 6]
    assert [(row["line"], row["row"]) for row in second.rejected] == [(5, '"6"')]
    assert sum(rows.source_bytes for rows in second.of(Rows)) == len("5,five\n6\n7,seven\n")
    assert third.messages == []


def test_a_large_file_that_grew_is_read_from_its_old_end_on(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("id\n" + "".join(f"{number}\n" for number in range(100_000)))
    first = _run(file)
    with file.open("a") as more:
        more.write("100000\n100001\n")

    second = _run(file, first.state)

    assert len(first.rows) == 100_000
    assert _ids(second) == [100_000, 100_001]
    assert second.lines == [100_002, 100_003]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("id\n1\n", "id\n2\n3\n", id="its beginning is another"),
        pytest.param("id\n1\n", "id\n2\n", id="same size, other bytes"),
        pytest.param("id\n1\n2\n", "id\n1\n", id="it shrank"),
        pytest.param("id\n1", "id\n12\n", id="its last line was not complete"),
        pytest.param('id\n1\n"2\n', 'id\n1\n"2\n"\n', id="its last quote was open"),
    ],
)
def test_a_file_that_changed_fails_the_stream_and_names_it(tmp_path: Path, before: str, after: str) -> None:
    file = tmp_path / "a.csv"
    file.write_text(before)
    first = _run(file)
    file.write_text(after)
    os.utime(file, (2, 2))

    with pytest.raises(DataError) as caught:
        _run(file, first.state)

    assert f"{file}: had {len(before)} bytes when it was read, now {len(after)}" in str(caught.value)
    assert "reload" in (caught.value.hint or "")
    assert "ignore" in (caught.value.hint or "")


@pytest.mark.parametrize(("choice", "expected"), [("reload", [9]), ("ignore", [])])
def test_a_file_that_changed_is_reloaded_or_ignored_as_asked(landing: Path, choice: str, expected: list[int]) -> None:
    first = _run(landing)
    (landing / "b.csv").write_text("id,name\n9,nine!\n")

    second = _run(landing, first.state, options={"changed_files": choice})

    assert _ids(second) == expected


@pytest.mark.parametrize("expected", [pytest.param([4], id="beside a new file"), pytest.param([], id="alone")])
def test_changed_files_that_are_ignored_are_warned_of(landing: Path, expected: list[int]) -> None:
    first = _run(landing)
    (landing / "b.csv").write_text("id,name\n9,nine!\n")
    for number in expected:
        (landing / "c.csv").write_text(f"id,name\n{number},new\n")

    second = _run(landing, first.state, options={"changed_files": "ignore"})

    assert _ids(second) == expected
    assert [warned.message for warned in second.of(Warned)] == [
        f"files that changed since they were read are ignored: {landing}/b.csv"
    ]


def test_a_packed_file_that_grew_has_changed(tmp_path: Path) -> None:
    import gzip

    file = tmp_path / "a.csv.gz"
    file.write_bytes(gzip.compress(b"id\n1\n"))
    first = _run(file)
    file.write_bytes(file.read_bytes() + gzip.compress(b"2\n"))

    with pytest.raises(DataError, match=r"1 file\(s\) changed"):
        _run(file, first.state)


@pytest.mark.parametrize("how", ["grows", "vanishes"])
def test_a_file_that_changes_while_it_is_read_is_an_error_worth_a_retry(tmp_path: Path, how: str) -> None:
    file = tmp_path / "a.csv"
    file.write_text("id\n" + "1\n" * 300_000)
    reader = CsvReader(config(file))
    stream = StreamSpec("s", schema=pa.schema([("id", pa.int64())]), batch_bytes=2**18)
    (partition,) = reader.partitions(stream, None)
    messages = reader.read(stream, partition, None)
    next(messages)
    if how == "grows":
        with file.open("a") as more:
            more.write("2\n")
    else:
        file.unlink()

    with pytest.raises(DataError) as caught:
        list(messages)

    assert caught.value.retryable == (how == "grows") or "is gone" in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_state_of_another_release_is_refused(landing: Path) -> None:
    with pytest.raises(DataFormatError, match="version 99"):
        _run(landing, {"version": 99})


def test_with_a_cursor_only_later_rows_come_through(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,at\n1,2026-01-01 10:00:00\n2,2026-01-03 10:00:00\n")
    first = _run(tmp_path, cursor="at")
    (tmp_path / "b.csv").write_text(
        "id,at\n3,2026-01-02 10:00:00\n4,2026-01-03 10:00:00\n5,2026-01-03 10:00:00.5\n6,\n"
    )

    second = _run(tmp_path, first.state, cursor="at")

    assert first.state is not None
    assert second.state is not None
    assert first.state["cursor"] == "2026-01-03 10:00:00.000000"
    assert _ids(second) == [5]
    assert second.lines == [4]
    assert second.skipped == 2
    assert [(row["column"], row["rule"], row["line"]) for row in second.rejected] == [("at", "cursor", 5)]
    assert second.state["cursor"] == "2026-01-03 10:00:00.500000"


def test_files_of_one_run_do_not_hide_each_others_rows_behind_the_cursor(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id\n5\n9\n")
    (tmp_path / "b.csv").write_text("id\n1\n7\n")

    reading = _run(tmp_path, cursor="id")

    assert _ids(reading) == [5, 9, 1, 7]
    assert reading.state is not None
    assert reading.state["cursor"] == 9


def test_with_a_cursor_a_changed_file_is_read_again_for_its_later_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,v\n1,a\n2,b\n")
    first = _run(tmp_path, cursor="id")
    (tmp_path / "a.csv").write_text("id,v\n1,changed\n3,c\n")

    second = _run(tmp_path, first.state, cursor="id")

    assert second.rows == [{"id": 3, "v": "c"}]
    assert second.skipped == 1


def test_a_cursor_that_is_no_column_is_refused(landing: Path) -> None:
    with pytest.raises(InvalidConfigError, match="no column at to follow; there are: id, name"):
        _run(landing, cursor="at")


def test_a_state_that_follows_another_cursor_is_refused(landing: Path) -> None:
    first = _run(landing, cursor="id")
    (landing / "c.csv").write_text("id,name\n4,four\n")

    with pytest.raises(InvalidConfigError, match="the state follows id, the job name"):
        _run(landing, first.state, cursor="name")


def test_a_range_of_the_cursor_takes_its_beginning_and_not_its_end(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id\n1\n5\n7\n")
    (tmp_path / "b.csv").write_text("id\n9\n6\nnone\n5,6,7\n")

    reading = _run(tmp_path, cursor="id", cursor_from="5", cursor_to="7", schema=pa.schema({"id": pa.int64()}))

    assert [int(row["id"]) for row in reading.rows] == [5, 6]
    assert reading.rejected == []
    assert len(reading.rows) + reading.skipped == 7


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        pytest.param({"cursor_from": "soon"}, "'soon' is no int64", id="not a value of the column"),
        pytest.param({"cursor_from": "7", "cursor_to": "5"}, "no id is from 7 and below 5", id="turned around"),
        pytest.param({"cursor": "at", "cursor_to": "5"}, "no column at", id="no column"),
    ],
)
def test_a_range_that_cannot_be_is_refused(bounds: dict[str, str], message: str, landing: Path) -> None:
    with pytest.raises(InvalidConfigError, match=message):
        _run(landing, **{"cursor": "id", **bounds})
