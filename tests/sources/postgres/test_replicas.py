"""Reading from a replica, and choosing one of several servers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from postgres_replica import catch_up, replica
from postgres_service import Postgres

from dativo_ingest.sources.postgres import PostgresReader, ranges
from dativo_plugin_sdk import ConcurrencyError, Rows, SourceConfig, StateChanged, StreamSpec, Warned


@pytest.fixture(scope="module")
def standby(postgres_18: Postgres) -> Iterator[Postgres]:
    """Start a replica that removes rows as soon as the primary does."""
    with replica(postgres_18, max_standby_streaming_delay="0", hot_standby_feedback="off") as started:
        yield started


@pytest.fixture
def schema(postgres: Postgres) -> Iterator[str]:
    """Make a schema with a table of 12 MB, which the primary has."""
    name = f"replicated_{uuid.uuid4().hex[:12]}"
    postgres.ask(f"CREATE SCHEMA {name}")
    postgres.ask(
        f"CREATE TABLE {name}.long AS SELECT g AS id, repeat('z', 2000) AS filler,"
        " '2024-01-01 00:00:00+00'::timestamptz + g * interval '1 s' AS at FROM generate_series(1, 6000) g"
    )
    yield name
    postgres.ask(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture
def reader(postgres: Postgres, standby: Postgres) -> Iterator[PostgresReader]:
    """Give a reader that may choose between both servers, and prefers the replica."""
    url = (
        f"postgresql://{postgres.user}@{postgres.host}:{postgres.port},{standby.host}:{standby.port}/{postgres.database}"
        "?target_session_attrs=prefer-standby"
    )
    made = PostgresReader(SourceConfig(type="postgres", connection={"url": url}, credentials=postgres.credentials))
    yield made
    made.close()


def read(reader: PostgresReader, stream: StreamSpec, state: Any = None) -> list[Any]:
    return list(reader.read(stream, reader.partitions(stream, state)[0], state))


def ids(found: list[Any]) -> list[int]:
    return sorted(value for each in found if isinstance(each, Rows) for value in each.batch["id"].to_pylist())


def test_a_replica_is_read_side_by_side_as_one_image(postgres, standby, schema, reader, monkeypatch) -> None:
    monkeypatch.setattr(ranges, "_LEAST_BYTES", 2**20)
    catch_up(postgres, standby)

    found = read(reader, StreamSpec(f"{schema}.long", parallelism=2))

    assert ids(found) == list(range(1, 6001))
    assert len(found) > 2
    assert reader._streams._session().info.port == standby.port


def test_all_sessions_stay_with_the_server_that_answered_first(postgres, standby, schema, monkeypatch) -> None:
    monkeypatch.setattr(ranges, "_LEAST_BYTES", 2**20)
    catch_up(postgres, standby)
    connection = {
        **postgres.connection,
        "port": None,
        "host": f"{postgres.host},{standby.host}",
        "parameters": {"port": f"{postgres.port},{standby.port}", "load_balance_hosts": "random"},
    }
    for _ in range(3):
        reader = PostgresReader(
            SourceConfig(type="postgres", connection=connection, credentials=dict(postgres.credentials))
        )
        with closing(reader):
            assert len(ids(read(reader, StreamSpec(f"{schema}.long", parallelism=2)))) == 6000


def test_an_incremental_run_on_a_replica_says_what_it_cannot_know(postgres, standby, schema, reader) -> None:
    stream = StreamSpec(f"{schema}.long", mode="incremental", cursor="at")
    catch_up(postgres, standby)
    first = read(reader, stream)
    (state,) = [each.state for each in first if isinstance(each, StateChanged)]
    postgres.ask(f"INSERT INTO {schema}.long VALUES (6001, 'new', '2024-02-01')")
    catch_up(postgres, standby)

    second = read(reader, stream, state)

    assert (ids(first)[-1], ids(second)) == (6000, [6001])
    assert any(isinstance(each, Warned) and "standby" in each.message for each in first)


def test_a_replica_that_removes_rows_which_are_read_is_told_with_what_helps(postgres, standby, schema, reader) -> None:
    catch_up(postgres, standby)
    stream = StreamSpec(f"{schema}.long", batch_bytes=2**18)
    with closing(reader.read(stream, reader.partitions(stream, None)[0], None)) as found:
        next(found)
        postgres.ask(f"DELETE FROM {schema}.long")
        postgres.ask(f"VACUUM {schema}.long")

        with pytest.raises(ConcurrencyError, match="conflict with recovery") as caught:
            list(found)

    assert caught.value.retryable
    assert "hot_standby_feedback" in caught.value.hint


def test_a_check_says_that_the_server_is_a_replica(reader) -> None:
    found = {check.step: check.run() for check in reader.check([])}

    assert found["database"].details["replica"] is True
