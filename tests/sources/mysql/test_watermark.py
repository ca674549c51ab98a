"""How far incremental runs read: each way in which rows could come in behind what was read already."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dativo_plugin_sdk import DatabaseLockError, InvalidConfigError, Watermark

SOON = {"options": {"writers_timeout_s": 0.3}}
"""For tests in which somebody never ends."""


def ids(found: Any) -> list[int]:
    return sorted(row["id"] for row in found.rows)


def follow(database: Any, table: str, cursor: str, state: Any = None, **spec: Any) -> Any:
    return database.read(table, mode="incremental", cursor=cursor, state=state, **spec)


def execute(session: Any, *statements: str) -> None:
    with session.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@contextmanager
def transaction(database: Any, *statements: str) -> Iterator[Any]:
    """Open one that has run these statements."""
    session = database.server.connect(database=database.name, autocommit=False)
    try:
        execute(session, *statements)
        yield session
    finally:
        session.close()


def pass_margin() -> None:
    time.sleep(2.2)


@pytest.fixture
def notes(database) -> Any:
    """Give a table with a cursor of each kind, and two rows that are a day old."""
    database.run(
        "CREATE TABLE notes (id bigint AUTO_INCREMENT PRIMARY KEY, at timestamp(6) NULL DEFAULT CURRENT_TIMESTAMP(6),"
        " local datetime DEFAULT CURRENT_TIMESTAMP, code char(36))",
        "INSERT INTO notes (at, local) VALUES (NOW() - INTERVAL 1 DAY, NOW() - INTERVAL 1 DAY),"
        " (NOW() - INTERVAL 1 DAY, NOW() - INTERVAL 1 DAY)",
    )
    return database


def test_rows_of_a_transaction_that_commits_late_are_not_lost(notes) -> None:
    with transaction(notes, "INSERT INTO notes (id) VALUES (3)") as late:
        time.sleep(0.1)
        notes.run("INSERT INTO notes (id) VALUES (4)")
        pass_margin()
        first = {cursor: follow(notes, "notes", cursor) for cursor in ("at", "local")}
        late.commit()

    second = {cursor: follow(notes, "notes", cursor, first[cursor].state) for cursor in first}

    assert [ids(each) for each in first.values()] == [[1, 2], [1, 2]]
    assert [ids(each) for each in second.values()] == [[3, 4], [3, 4]]


def test_a_statement_that_waits_for_a_table_has_its_time_already(notes) -> None:
    with transaction(notes, "LOCK TABLES notes READ") as holder:
        waiting = threading.Thread(target=notes.run, args=("INSERT INTO notes (id) VALUES (3)",))
        waiting.start()
        time.sleep(3.5)
        first = follow(notes, "notes", "at", watermark=Watermark(max_lag=timedelta(hours=1)))
        with pytest.raises(DatabaseLockError, match=r"connection \d+ of"):
            follow(notes, "notes", "at", watermark=Watermark(max_lag=timedelta(seconds=1)))
        execute(holder, "UNLOCK TABLES")
        waiting.join()
    pass_margin()

    second = follow(notes, "notes", "at", first.state)

    assert (ids(first), ids(second)) == ([1, 2], [3])


def test_what_has_only_read_holds_nothing_back(notes) -> None:
    notes.run("INSERT INTO notes (id) VALUES (3)")
    with transaction(notes, "SELECT * FROM notes"):
        pass_margin()
        by_time = follow(notes, "notes", "at")
        by_number = follow(notes, "notes", "id", **SOON)

    assert (ids(by_time), ids(by_number)) == ([1, 2, 3], [1, 2, 3])
    assert by_time.warnings == by_number.warnings == []


def test_numbers_wait_for_those_that_write(notes) -> None:
    with transaction(notes, "INSERT INTO notes (code) VALUES ('late')") as late:
        notes.run("INSERT INTO notes (code) VALUES ('early')")
        first = follow(notes, "notes", "id", **SOON)
        timer = threading.Timer(0.5, late.commit)
        timer.start()
        second = follow(notes, "notes", "id", first.state)
        timer.join()

    assert (ids(first), ids(second)) == ([], [1, 2, 3, 4])
    assert any("held back by connection" in text and "KILL" in text for text in first.warnings)


def test_what_ends_too_late_to_be_waited_for_is_left_to_the_next_run(notes) -> None:
    with transaction(notes, "INSERT INTO notes (code) VALUES ('late')") as first_late:
        notes.run("INSERT INTO notes (code) VALUES ('early')")
        first = follow(notes, "notes", "id", **SOON)
        held = follow(notes, "notes", "id", first.state, **SOON)
        with transaction(notes, "INSERT INTO notes (code) VALUES ('later')") as second_late:
            notes.run("INSERT INTO notes (code) VALUES ('early')")
            first_late.commit()
            second = follow(notes, "notes", "id", held.state, **SOON)
            second_late.commit()
    third = follow(notes, "notes", "id", second.state)

    assert (ids(first), ids(held), ids(second), ids(third)) == ([], [], [1, 2, 3, 4], [5, 6])
    assert held.state == first.state


def test_a_prepared_transaction_is_as_old_as_nobody_knows(notes) -> None:
    name = f"'{notes.name}'"
    with transaction(notes, f"XA START {name}", "INSERT INTO notes (id) VALUES (3)") as late:
        time.sleep(0.1)
        notes.run("INSERT INTO notes (id) VALUES (4)")
        execute(late, f"XA END {name}", f"XA PREPARE {name}")
        pass_margin()
        attached = follow(notes, "notes", "at", **SOON)
    try:
        time.sleep(0.5)
        first = follow(notes, "notes", "at", attached.state, **SOON)
    finally:
        notes.run(f"XA COMMIT {name}")

    second = follow(notes, "notes", "at", first.state)

    assert (ids(attached), ids(first), ids(second)) == ([1, 2], [], [3, 4])
    assert any("a prepared transaction" in text and "XA RECOVER" in text for text in first.warnings)


def test_without_the_right_to_see_transactions_a_warning_says_so(notes) -> None:
    user = f"u{notes.name[-12:]}"
    notes.run(f"CREATE USER {user} IDENTIFIED BY 'x'", f"GRANT SELECT ON {notes.name}.* TO {user}")
    try:
        connection = {"user": user, "credentials": {"password": "x"}}
        found = [follow(notes, "notes", cursor, connection=dict(connection)) for cursor in ("at", "id")]
    finally:
        notes.run(f"DROP USER {user}")

    for each in found:
        assert ids(each) == [1, 2]
        assert any("GRANT PROCESS ON *.* TO" in text for text in each.warnings)


def test_lag_lookback_and_their_limits(notes) -> None:
    notes.run("INSERT INTO notes (at) VALUES (NOW() - INTERVAL 20 SECOND), (NOW() - INTERVAL 2 MINUTE)")
    lagging = follow(notes, "notes", "at", watermark=Watermark(lag=timedelta(minutes=1)))
    again = follow(notes, "notes", "at", lagging.state, watermark=Watermark(lookback=timedelta(minutes=1)))
    numbers = follow(notes, "notes", "id")
    lower = follow(notes, "notes", "id", numbers.state, watermark=Watermark(lookback=1))

    assert (ids(lagging), ids(again)) == ([1, 2, 4], [3, 4])
    assert (ids(lower), lower.state) == ([3, 4], numbers.state)
    with pytest.raises(InvalidConfigError, match="lag is a time"):
        follow(notes, "notes", "id", watermark=Watermark(lag=timedelta(seconds=1)))
    with pytest.raises(InvalidConfigError, match="lookback is a time"):
        follow(notes, "notes", "at", lagging.state, watermark=Watermark(lookback=5))


def uuid7(at: datetime, tail: int) -> str:
    digits = f"{int(at.timestamp() * 1000):012x}"
    return f"{digits[:8]}-{digits[8:]}-7000-8000-{tail:012x}"


def test_uuids_that_begin_with_their_time_are_followed_as_times(notes) -> None:
    old = datetime.now(UTC) - timedelta(minutes=5)
    notes.run(*(f"UPDATE notes SET code = '{uuid7(old, number)}' WHERE id = {number}" for number in (1, 2)))
    with transaction(notes, "INSERT INTO notes (code) VALUES ('0')") as late:
        pass_margin()
        made = datetime.now(UTC)
        notes.run(f"INSERT INTO notes (code) VALUES ('{uuid7(made, 4)}')")
        first = follow(notes, "notes", "code")
        execute(late, f"UPDATE notes SET code = '{uuid7(made, 3)}' WHERE code = '0'")
        late.commit()
    pass_margin()

    second = follow(notes, "notes", "code", first.state)

    assert (ids(first), ids(second)) == ([1, 2], [3, 4])
    notes.run("UPDATE notes SET code = '3f2504e0-4f89-41d3-9a0c-0305e82c3301'")
    with pytest.raises(InvalidConfigError, match="uuids of version 4"):
        follow(notes, "notes", "code")


def test_a_zone_that_the_server_does_not_know_is_refused(notes) -> None:
    found = follow(notes, "notes", "local", options={"time_zone": "+09:00"})

    assert ids(found) == [1, 2]
    with pytest.raises(InvalidConfigError, match="does not know Mars/Base"):
        follow(notes, "notes", "local", options={"time_zone": "Mars/Base"})


def test_a_clock_that_was_set_back_is_told_of(notes) -> None:
    first = follow(notes, "notes", "at")
    state = {**first.state, "cursor": (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%d %H:%M:%S.%fZ")}

    found = follow(notes, "notes", "at", state)

    assert any("the server's clock is before" in text for text in found.warnings)
