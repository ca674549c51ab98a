"""How far incremental runs read: each way in which rows could come in behind what was read already."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from postgres_replica import catch_up, replica

from dativo_ingest.databases import open_transactions
from dativo_ingest.sources.postgres.transaction_ids import written_between
from dativo_ingest.sources.postgres.watermark import moment
from dativo_plugin_sdk import DatabaseLockError, DataError, InvalidConfigError, StreamSpec, Watermark

SOON = {"options": {"writers_timeout_s": 0.3}}
"""For tests in which somebody never ends."""


def ids(found: Any) -> list[int]:
    return sorted(row["id"] for row in found.rows)


def follow(database: Any, table: str, cursor: str, state: Any = None, **spec: Any) -> Any:
    return database.read(table, mode="incremental", cursor=cursor, state=state, **spec)


@contextmanager
def transaction(database: Any, *statements: str, **changes: Any) -> Iterator[psycopg.Connection[Any]]:
    """Open one that has run these statements."""
    changes.setdefault("options", f"-c search_path={database.name},public")
    with database.server.connect(autocommit=False, **changes) as session:
        for statement in statements:
            session.execute(statement)
        yield session


@contextmanager
def in_a_while(session: psycopg.Connection[Any], seconds: float) -> Iterator[None]:
    """Commit from another thread."""
    thread = threading.Timer(seconds, session.commit)
    thread.start()
    yield
    thread.join()


def pass_margin() -> None:
    time.sleep(1.1)


@pytest.fixture
def notes(database) -> Any:
    """Give a table with a cursor of each kind, and two rows that are a day old."""
    database.run(
        "CREATE TABLE notes (id bigserial PRIMARY KEY, at timestamptz DEFAULT now(), key uuid)",
        "INSERT INTO notes (at) SELECT now() - interval '1 day' FROM generate_series(1, 2)",
    )
    return database


# Times


def test_a_transaction_that_has_only_read_may_write_yet_and_counts(notes) -> None:
    with transaction(notes, "SELECT 1") as reader:
        time.sleep(0.05)
        notes.run("INSERT INTO notes DEFAULT VALUES")
        pass_margin()
        first = follow(notes, "notes", "at")
        reader.execute("INSERT INTO notes DEFAULT VALUES")
        reader.commit()
    pass_margin()

    second = follow(notes, "notes", "at", first.state)

    assert (ids(first), ids(second)) == ([1, 2], [3, 4])


def test_sessions_that_only_read_hold_nothing_back(notes) -> None:
    notes.run("INSERT INTO notes DEFAULT VALUES")
    stream = {"mode": "incremental", "cursor": "at"}
    with (
        transaction(notes, "BEGIN", "SELECT pg_advisory_xact_lock_shared(1145132105, 1)"),
        transaction(notes, "SELECT 1", application_name="pg_dump"),
    ):
        pass_margin()
        told = notes.read("notes", **stream)
        with transaction(notes, "SELECT 1", application_name="metabase"):
            named = notes.read("notes", **stream, options={"read_only_applications": ["metabase", "pg_dump"]})

    assert (ids(told), ids(named)) == ([1, 2, 3], [1, 2, 3])


def test_a_run_of_ours_holds_no_other_back(notes) -> None:
    notes.run("INSERT INTO notes DEFAULT VALUES")
    reader = notes.reader()
    stream = StreamSpec(f"{notes.name}.notes", schema=reader.schema(StreamSpec(f"{notes.name}.notes")))
    under_way = reader.read(stream, reader.partitions(stream, None)[0], None)
    next(under_way)
    pass_margin()

    found = follow(notes, "notes", "at")

    under_way.close()
    assert ids(found) == [1, 2, 3]


def test_a_procedure_that_commits_on_its_way_counts_from_its_call(notes) -> None:
    notes.run(
        "CREATE PROCEDURE work() LANGUAGE plpgsql AS $$ BEGIN PERFORM 1; COMMIT; PERFORM pg_sleep(2.5);"
        f" INSERT INTO {notes.name}.notes (at) VALUES (statement_timestamp()); COMMIT; END $$"
    )
    working = threading.Thread(target=notes.run, args=("CALL work()",))
    working.start()
    time.sleep(0.5)
    notes.run("INSERT INTO notes (id) VALUES (9)")
    pass_margin()
    first = follow(notes, "notes", "at")
    working.join()
    pass_margin()

    second = follow(notes, "notes", "at", first.state)

    assert (ids(first), ids(second)) == ([1, 2], [3, 9])


def test_a_prepared_transaction_is_as_old_as_nobody_knows(notes) -> None:
    gid = f"late {notes.name}"
    with transaction(notes, "INSERT INTO notes DEFAULT VALUES") as late:
        time.sleep(0.1)
        notes.run("INSERT INTO notes DEFAULT VALUES")
        pass_margin()
        late.execute(f"PREPARE TRANSACTION '{gid}'")
        first = follow(notes, "notes", "at", **SOON)
        again = follow(notes, "notes", "at", first.state, **SOON)
        notes.run(f"COMMIT PREPARED '{gid}'")

    second = follow(notes, "notes", "at", first.state)

    assert (ids(first), ids(again), ids(second)) == ([], [], [1, 2, 3, 4])
    assert again.state == first.state
    assert any(gid in text and "ROLLBACK PREPARED" in text for text in first.warnings)


def test_a_prepared_transaction_that_wrote_elsewhere_does_not_matter(notes) -> None:
    gid = f"elsewhere {notes.name}"
    notes.run("CREATE TABLE others (id int)")
    with transaction(notes, "INSERT INTO others VALUES (1)") as other:
        other.execute(f"PREPARE TRANSACTION '{gid}'")
    try:
        found = follow(notes, "notes", "at")
    finally:
        notes.run(f"ROLLBACK PREPARED '{gid}'")

    assert (ids(found), found.warnings) == ([1, 2], [])


def test_without_the_right_to_see_when_others_began_their_ends_are_waited_for(notes) -> None:
    user = f"limited_{notes.name}"
    notes.run(
        f"CREATE ROLE {user} LOGIN PASSWORD 'x'",
        f"GRANT USAGE ON SCHEMA {notes.name} TO {user}",
        f"GRANT SELECT ON notes TO {user}",
    )
    limited: dict[str, Any] = {"connection": {"user": user, "credentials": {"password": "x"}}}
    with transaction(notes, "INSERT INTO notes DEFAULT VALUES") as late:
        time.sleep(0.1)
        notes.run("INSERT INTO notes DEFAULT VALUES")
        pass_margin()
        first = follow(notes, "notes", "at", **limited, **SOON)
        with in_a_while(late, 0.3):
            second = follow(notes, "notes", "at", first.state, **limited)

    assert (ids(first), ids(second)) == ([], [1, 2, 3, 4])
    assert any(f"GRANT pg_read_all_stats TO {user}" in text.replace('"', "") for text in first.warnings)
    assert any("the watermark is held back by pid" in text for text in first.warnings)


def test_a_session_that_hides_what_it_does_is_waited_for(notes) -> None:
    with transaction(notes, "SET track_activities = off", "INSERT INTO notes DEFAULT VALUES") as hidden:
        time.sleep(0.1)
        notes.run("INSERT INTO notes DEFAULT VALUES")
        pass_margin()
        first = follow(notes, "notes", "at", **SOON)
        hidden.commit()

    second = follow(notes, "notes", "at", first.state)

    assert (ids(first), ids(second)) == ([], [1, 2, 3, 4])


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
def test_times_without_a_zone_are_those_of_the_zone_that_is_named(database, zone) -> None:
    database.run(
        "CREATE TABLE local (id serial, at timestamp NOT NULL DEFAULT now())",
        f"SET TIME ZONE '{zone}'",
        "INSERT INTO local (at) VALUES (now() - interval '1 minute')",
    )
    options = f"-c search_path={database.name} -c TimeZone={zone}"
    with transaction(database, "INSERT INTO local DEFAULT VALUES", options=options) as late:
        time.sleep(0.1)
        database.run(f"SET TIME ZONE '{zone}'", "INSERT INTO local DEFAULT VALUES")
        pass_margin()
        first = follow(database, "local", "at", options={"time_zone": zone})
        late.commit()

    second = follow(database, "local", "at", first.state, options={"time_zone": zone})

    assert (ids(first), ids(second)) == ([1], [2, 3])


def test_local_times_that_come_twice_are_read_once_both_are_over(database) -> None:
    database.run("CREATE TABLE local (id serial, at timestamp, day date)")
    reader = database.reader()
    streams = reader._streams
    selection = streams._selection(StreamSpec(f"{database.name}.local"))
    at, day = selection.column("at"), selection.column("day")
    back = datetime(2026, 10, 25, 1, 0, tzinfo=UTC)  # 03:00 becomes 02:00 in Rome

    def local(minutes: int, column: Any) -> str:
        return moment(streams._session(), back + timedelta(minutes=minutes), column, "Europe/Rome")

    assert "'2026-10-25 01:30:00'" in local(-30, at)  # 02:30, and 02:00 comes again
    assert "'2026-10-25 02:00:00'" in local(0, at)
    assert "'2026-10-25 02:30:00'" in local(30, at)
    assert "'2026-10-25 00:59:00'" in local(-121, at)
    assert local(30, day).endswith("::date")


def test_values_that_are_rounded_are_final_when_they_are_read(database) -> None:
    kinds = {"a": "timestamptz(0)", "b": "timestamp(0)", "c": "timestamp", "d": "date"}
    columns = ", ".join(f"{name} {kind} NOT NULL DEFAULT now()" for name, kind in kinds.items())
    past = ", ".join(["'2024-01-01'"] * len(kinds))
    database.run(
        f"CREATE TABLE rounded (id serial, {columns})",
        f"INSERT INTO rounded ({', '.join(kinds)}) VALUES ({past})",
    )
    with transaction(database, "INSERT INTO rounded DEFAULT VALUES") as late:
        time.sleep(0.1)
        database.run("INSERT INTO rounded DEFAULT VALUES")
        pass_margin()
        first = {name: follow(database, "rounded", name) for name in kinds}
        late.commit()
    pass_margin()

    second = {name: follow(database, "rounded", name, first[name].state) for name in kinds}

    assert [ids(each) for each in first.values()] == [[1]] * 4
    assert [ids(each) for each in second.values()] == [[2, 3], [2, 3], [2, 3], []]  # today is not over


def test_lag_leaves_more_for_the_next_run(notes) -> None:
    notes.run("INSERT INTO notes (at) VALUES (now() - interval '20 s'), (now() - interval '2 min')")

    found = follow(notes, "notes", "at", watermark=Watermark(lag=timedelta(minutes=1)))

    assert ids(found) == [1, 2, 4]


def test_lookback_reads_again_and_the_state_never_goes_back(notes) -> None:
    notes.run("INSERT INTO notes (at) VALUES (now() - interval '1 hour')")
    first = follow(notes, "notes", "at")
    notes.run("INSERT INTO notes (at) VALUES (now() - interval '90 min'), (now() - interval '4 h')")

    again = follow(notes, "notes", "at", first.state, watermark=Watermark(lookback=timedelta(hours=2)))
    notes.run("DELETE FROM notes WHERE id IN (3, 4)", "INSERT INTO notes (id, at) SELECT 9, now() - interval '100 min'")
    lower = follow(notes, "notes", "at", first.state, watermark=Watermark(lookback=timedelta(hours=2)))

    assert (ids(again), ids(lower)) == ([3, 4], [9])
    assert again.state == lower.state == first.state


@pytest.mark.parametrize(
    ("cursor", "lookback"), [("at", 5), ("id", timedelta(hours=1)), ("name", 5), ("key", 5)], ids=str
)
def test_a_lookback_that_fits_no_cursor_is_refused(notes, cursor, lookback) -> None:
    notes.run(
        "ALTER TABLE notes ADD name text",
        "UPDATE notes SET name = 'a', key = '00000001-0000-7000-8000-000000000000'",
    )
    first = follow(notes, "notes", cursor)

    with pytest.raises(InvalidConfigError, match=r"lookback is a (time|number)"):
        follow(notes, "notes", cursor, first.state, watermark=Watermark(lookback=lookback))


def test_a_clock_that_was_set_back_is_told_of(notes) -> None:
    first = follow(notes, "notes", "at")
    state = {**first.state, "cursor": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}

    found = follow(notes, "notes", "at", state)

    assert any("the server's clock is before" in text for text in found.warnings)


def test_who_holds_a_run_back_for_too_long_is_an_error_that_names_it(notes, monkeypatch) -> None:
    with transaction(notes, "SELECT 1", application_name="billing") as idle:
        time.sleep(0.2)
        pid = idle.info.backend_pid
        with pytest.raises(DatabaseLockError, match=rf"pid {pid} of \w+ \(billing, idle in transaction\)") as caught:
            follow(notes, "notes", "at", watermark=Watermark(max_lag=timedelta(seconds=0.1)))
        quiet = follow(notes, "notes", "at", watermark=Watermark(max_lag=timedelta(hours=1)))
        monkeypatch.setattr(open_transactions, "_WARN_S", 0.1)
        told = follow(notes, "notes", "at")

    assert caught.value.retryable
    assert caught.value.details["application"] == "billing"
    assert caught.value.hint == f"SELECT pg_terminate_backend({pid}) would end it"
    assert quiet.warnings == []
    assert any(f"held back by pid {pid}" in text and "pg_terminate_backend" in text for text in told.warnings)


def test_infinite_values_are_told_of_and_block_nothing(database) -> None:
    database.run(
        "CREATE TABLE odd (id int, at timestamptz, ratio double precision, price numeric)",
        "INSERT INTO odd VALUES (1, '2024-01-01', 1, 1), (2, 'infinity', 'NaN', 'NaN')",
        "INSERT INTO odd VALUES (3, NULL, 'Infinity', 'Infinity')",
    )
    for cursor in ("at", "ratio", "price"):
        first = follow(database, "odd", cursor)
        database.run("INSERT INTO odd VALUES (4, '2024-01-02', 2, 2)")
        second = follow(database, "odd", cursor, first.state)
        database.run("DELETE FROM odd WHERE id = 4")

        assert (ids(first), ids(second)) == ([1], [4]), cursor
        assert any("null or infinite" in text for text in first.warnings), cursor


# Numbers


def test_a_number_that_was_drawn_is_waited_for(notes) -> None:
    with transaction(notes, "SELECT nextval('notes_id_seq')") as late:
        notes.run("INSERT INTO notes DEFAULT VALUES")
        late.execute("INSERT INTO notes (id) VALUES (3)")
        with in_a_while(late, 0.3):
            found = follow(notes, "notes", "id")

    assert ids(found) == [1, 2, 3, 4]
    assert found.warnings == []


def test_what_ends_too_late_to_be_waited_for_is_left_to_the_next_run(notes) -> None:
    with transaction(notes, "SELECT nextval('notes_id_seq')") as first_late:
        notes.run("INSERT INTO notes DEFAULT VALUES")
        first = follow(notes, "notes", "id", **SOON)
        held = follow(notes, "notes", "id", first.state, **SOON)
        with transaction(notes, "INSERT INTO notes DEFAULT VALUES") as second_late:
            notes.run("INSERT INTO notes DEFAULT VALUES")
            first_late.execute("INSERT INTO notes (id) VALUES (3)")
            first_late.commit()
            second = follow(notes, "notes", "id", held.state, **SOON)
            second_late.commit()
    third = follow(notes, "notes", "id", second.state)

    assert (ids(first), ids(held), ids(second), ids(third)) == ([], [], [1, 2, 3, 4], [5, 6])
    assert held.state == first.state
    assert "pending" in second.state
    assert "pending" not in third.state
    assert any("held back by pid" in text for text in first.warnings)


def test_a_number_in_a_prepared_transaction_is_waited_for(notes) -> None:
    gid = f"number {notes.name}"
    with transaction(notes, "SELECT nextval('notes_id_seq')") as late:
        notes.run("INSERT INTO notes DEFAULT VALUES")
        first = follow(notes, "notes", "id", **SOON)
        late.execute("INSERT INTO notes (id) VALUES (3)")
        late.execute(f"PREPARE TRANSACTION '{gid}'")
    second = follow(notes, "notes", "id", first.state, **SOON)
    notes.run(f"COMMIT PREPARED '{gid}'")

    third = follow(notes, "notes", "id", second.state)

    assert (ids(first), ids(second), ids(third)) == ([], [], [1, 2, 3, 4])


def test_readers_and_writers_of_other_tables_hold_no_sequence_back(notes) -> None:
    notes.run("CREATE TABLE others (id serial)")
    with transaction(notes, "SELECT count(*) FROM notes", "INSERT INTO others DEFAULT VALUES"):
        found = follow(notes, "notes", "id", watermark=Watermark(max_lag=timedelta(0)))

    assert ids(found) == [1, 2]


def test_numbers_that_no_sequence_gives_wait_for_all_that_is_open(database) -> None:
    database.run("CREATE TABLE plain (id int PRIMARY KEY)", "INSERT INTO plain VALUES (1), (3)")
    with transaction(database, "SELECT 1") as late:
        first = follow(database, "plain", "id", **SOON)
        late.execute("INSERT INTO plain VALUES (2)")
        with in_a_while(late, 0.2):
            second = follow(database, "plain", "id", first.state)

    assert (ids(first), ids(second)) == ([], [1, 2, 3])
    assert any("no sequence fills id" in text for text in first.warnings)


@pytest.mark.parametrize(
    ("made", "expected"), [("CACHE 20", "CACHE 20"), ("INCREMENT 50", "INCREMENT 50"), ("CYCLE", "does not only go up")]
)
def test_sequences_that_hand_numbers_out_ahead_are_told_of(database, made, expected) -> None:
    database.run(
        f"CREATE SEQUENCE numbers {made}",
        "CREATE TABLE drawn (id bigint DEFAULT nextval('numbers'))",
        "INSERT INTO drawn DEFAULT VALUES",
    )

    found = follow(database, "drawn", "id")

    assert ids(found) == [1]
    assert any(expected in text and "follow xmin" in text for text in found.warnings)


def test_the_sequences_of_partitions_count(database) -> None:
    database.run(
        "CREATE SEQUENCE own",
        "CREATE TABLE split (id bigint GENERATED BY DEFAULT AS IDENTITY, at date) PARTITION BY RANGE (at)",
        "CREATE TABLE part PARTITION OF split (id DEFAULT nextval('own')) FOR VALUES FROM ('2024-01-01') TO (MAXVALUE)",
        "INSERT INTO part (at) VALUES ('2024-01-01')",
    )
    with transaction(database, "SELECT nextval('own')"):
        database.run("INSERT INTO part (at) VALUES ('2024-01-01')")
        found = follow(database, "split", "id", **SOON)

    assert ids(found) == []


def test_lag_is_no_number(notes) -> None:
    with pytest.raises(InvalidConfigError, match="lag is a time, and the cursor id is none"):
        follow(notes, "notes", "id", watermark=Watermark(lag=timedelta(seconds=1)))


def test_lookback_may_be_a_number(notes) -> None:
    notes.run("INSERT INTO notes SELECT FROM generate_series(1, 5)")
    first = follow(notes, "notes", "id")

    again = follow(notes, "notes", "id", first.state, watermark=Watermark(lookback=3))

    assert ids(again) == [5, 6, 7]
    assert again.state == first.state


# Uuids


def uuid7(at: datetime, tail: int = 0) -> str:
    milliseconds = int(at.timestamp() * 1000)
    digits = f"{milliseconds:012x}"
    return f"{digits[:8]}-{digits[8:]}-7000-8000-{tail:012x}"


def test_uuids_that_begin_with_their_time_are_followed_as_times(notes) -> None:
    now = datetime.now(UTC)
    notes.run(f"UPDATE notes SET key = '{uuid7(now - timedelta(minutes=5), 1)}' WHERE id = 1")
    notes.run(f"UPDATE notes SET key = '{uuid7(now - timedelta(minutes=4), 2)}' WHERE id = 2")
    with transaction(notes, "SELECT 1") as late:
        pass_margin()
        made = datetime.now(UTC)
        notes.run(f"INSERT INTO notes (key) VALUES ('{uuid7(made, 3)}')")
        first = follow(notes, "notes", "key")
        late.execute(f"INSERT INTO notes (key) VALUES ('{uuid7(made, 1)}')")
        late.commit()
    pass_margin()
    second = follow(notes, "notes", "key", first.state)
    lagging = follow(notes, "notes", "key", watermark=Watermark(lag=timedelta(minutes=4, seconds=30)))
    again = follow(notes, "notes", "key", first.state, watermark=Watermark(lookback=timedelta(minutes=2)))

    assert (ids(first), ids(second), ids(lagging), ids(again)) == ([1, 2], [3, 4], [1], [1, 2, 3, 4])


def test_random_uuids_are_no_cursor(notes) -> None:
    notes.run("UPDATE notes SET key = gen_random_uuid()")

    with pytest.raises(InvalidConfigError, match="uuids of version 4"):
        follow(notes, "notes", "key")


# Transaction ids


def test_row_versions_are_read_once_in_whatever_order_they_commit(notes) -> None:
    with transaction(notes, "INSERT INTO notes DEFAULT VALUES") as late, transaction(notes, "SELECT 1"):
        notes.run("INSERT INTO notes DEFAULT VALUES", "UPDATE notes SET at = at WHERE id = 1")
        first = follow(notes, "notes", "xmin", parallelism=2)
        late.commit()
        second = follow(notes, "notes", "xmin", first.state)
    notes.run("UPDATE notes SET at = at WHERE id = 2", "DELETE FROM notes WHERE id = 1")
    third = follow(notes, "notes", "xmin", second.state)
    fourth = follow(notes, "notes", "xmin", third.state)

    assert (ids(first), ids(second), ids(third), ids(fourth)) == ([2], [1, 3, 4], [2], [])
    assert fourth.state == third.state


def test_row_versions_of_partitions_are_followed(database) -> None:
    database.run(
        "CREATE TABLE split (id int) PARTITION BY LIST (id)",
        "CREATE TABLE one PARTITION OF split FOR VALUES IN (1)",
        "CREATE TABLE two PARTITION OF split FOR VALUES IN (2)",
        "INSERT INTO split VALUES (1)",
    )
    first = follow(database, "split", "xmin")
    database.run("INSERT INTO split VALUES (2)")

    assert (ids(first), ids(follow(database, "split", "xmin", first.state))) == ([1], [2])


def test_who_holds_row_versions_back_is_named(notes) -> None:
    with transaction(notes, "INSERT INTO notes DEFAULT VALUES", application_name="billing") as late:
        time.sleep(0.1)
        with pytest.raises(DatabaseLockError, match=rf"pid {late.info.backend_pid} of \w+ \(billing"):
            follow(notes, "notes", "xmin", watermark=Watermark(max_lag=timedelta(seconds=0.05)))


def test_transaction_ids_that_mean_nothing_here_are_refused(notes) -> None:
    first = follow(notes, "notes", "xmin")
    cursor = first.state["cursor"]
    states = {
        "another server": {**cursor, "server": "another"},
        "went back": {**cursor, "xid": cursor["xid"] + 2**20},
        "transactions have passed": {**cursor, "xid": cursor["xid"] - 2**31},
    }

    for expected, changed in states.items():
        with pytest.raises(DataError, match=expected) as caught:
            follow(notes, "notes", "xmin", {**first.state, "cursor": changed})
        assert caught.value.hint == "run with --full-refresh"


def test_row_versions_are_those_of_tables_alone(notes) -> None:
    notes.run("CREATE VIEW seen AS SELECT * FROM notes")

    with pytest.raises(InvalidConfigError, match="a view has no xmin"):
        follow(notes, "seen", "xmin")
    with pytest.raises(InvalidConfigError, match="lookback is for values that commit out of order"):
        follow(notes, "notes", "xmin", watermark=Watermark(lookback=5))
    with pytest.raises(InvalidConfigError, match="--from and --to are values of a column"):
        follow(notes, "notes", "xmin", cursor_from="1")


@pytest.mark.parametrize(
    ("first", "end", "expected"),
    [
        pytest.param(10, 20, [10, 19], id="in one round of the numbers"),
        pytest.param(2**32 - 5, 2**32 + 5, [2**32 - 5, 2**32 - 1, 3, 4], id="around their end"),
        pytest.param(5 * 2**32 + 3, 5 * 2**32 + 11, [3, 4, 10], id="in a later round"),
    ],
)
def test_a_range_of_transaction_ids_goes_around_the_end_of_the_numbers(database, first, end, expected) -> None:
    rows = [0, 1, 2, 3, 4, 10, 19, 20, 2**31, 2**32 - 6, 2**32 - 5, 2**32 - 1]
    values = ", ".join(f"({xid}::text::xid)" for xid in rows)

    found = database.server.ask(
        f"SELECT xmin::text::int8 FROM (VALUES {values}) AS versions (xmin) WHERE {written_between(first, end)}"
    )

    assert sorted(xid for (xid,) in found) == sorted(expected)


# Where rows come from elsewhere


def test_on_a_standby_row_versions_are_safe_and_other_cursors_are_told_of(notes) -> None:
    with replica(notes.server) as standby:
        mirror = replace(notes, server=standby, readers=[])
        with transaction(notes, "INSERT INTO notes DEFAULT VALUES") as late:
            notes.run("INSERT INTO notes DEFAULT VALUES")
            pass_margin()
            notes.run("CREATE TABLE since ()")
            catch_up(notes.server, standby)
            first = {cursor: follow(mirror, "notes", cursor) for cursor in ("xmin", "at", "id")}
            lagging = follow(mirror, "notes", "at", watermark=Watermark(lag=timedelta(hours=1)))
            late.commit()
        catch_up(notes.server, standby)
        second = follow(mirror, "notes", "xmin", first["xmin"].state)
        later = follow(mirror, "notes", "at", lagging.state, watermark=Watermark(lag=timedelta(0)))
        for reader in mirror.readers:
            reader.close()

    assert (ids(first["xmin"]), ids(second)) == ([1, 2], [3, 4])
    assert (ids(lagging), ids(later)) == ([1, 2], [3, 4])
    assert (first["xmin"].warnings, lagging.warnings) == ([], [])
    for cursor in ("at", "id"):
        assert any("a standby does not know" in text for text in first[cursor].warnings)


def test_rows_that_come_from_elsewhere_are_told_of(notes) -> None:
    notes.run("CREATE MATERIALIZED VIEW kept AS SELECT * FROM notes")
    (oid,) = notes.server.ask(f"SELECT '{notes.name}.notes'::regclass::oid::int8")[0]
    notes.run(f"INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate) VALUES (1, {oid}, 'r')")
    try:
        subscribed = follow(notes, "notes", "at")
    finally:
        notes.run(f"DELETE FROM pg_subscription_rel WHERE srrelid = {oid}")

    kept = follow(notes, "kept", "at")

    assert any("filled by a subscription" in text and "follow xmin" in text for text in subscribed.warnings)
    assert any("is a materialized view" in text for text in kept.warnings)


def test_discover_proposes_row_versions_where_no_column_would_do(notes) -> None:
    notes.run("CREATE TABLE plain (id int)", "CREATE VIEW seen AS SELECT * FROM plain")

    found = notes.reader().discover(f"{notes.name}.*").objects

    candidates = {each["name"].split(".")[1]: (each["cursor_candidates"], each["sync_modes"]) for each in found}
    assert candidates["plain"] == (["xmin"], ["full_refresh", "incremental"])
    assert candidates["seen"] == ([], ["full_refresh"])
    assert candidates["notes"][0] == ["id"]


def test_checking_names_what_holds_a_run_back(notes) -> None:
    stream = StreamSpec(f"{notes.name}.notes", "incremental", cursor="xmin")
    gid = f"held {notes.name}"
    with transaction(notes, "INSERT INTO notes DEFAULT VALUES") as late:
        late.execute(f"PREPARE TRANSACTION '{gid}'")
    try:
        steps = {step.step: step.run() for step in notes.reader().check([stream])}
    finally:
        notes.run(f"ROLLBACK PREPARED '{gid}'")

    assert steps["open transactions"].details["warning"]
    assert gid in steps["open transactions"].message
