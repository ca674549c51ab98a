from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
from iceberg_lake import NUMBERS, REJECTED, Lake, Run, before_a_commit, numbers
from postgres_service import Postgres
from postgres_tunnel import tunnel
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from sqlalchemy.engine import URL

from dativo_ingest.targets.iceberg.postgres import PostgresCatalog, address
from dativo_plugin_sdk import DativoError, FencedError, InvalidConfigError


@dataclass
class PostgresLake(Lake):
    """A warehouse folder whose catalog is a Postgres database, read with pyiceberg's own SQL catalog."""

    url: URL | None = None

    @contextmanager
    def catalog(self) -> Iterator[Catalog]:
        assert self.url is not None
        uri = self.url.render_as_string(hide_password=False)
        catalog = SqlCatalog("default", uri=uri, warehouse=f"file://{self.folder}")
        try:
            yield catalog
        finally:
            catalog.close()


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    name = f"catalog_{uuid.uuid4().hex}"
    postgres.ask(f"CREATE DATABASE {name}")
    yield name
    postgres.ask(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def lake(postgres: Postgres, database: str, tmp_path: Path) -> PostgresLake:
    return PostgresLake(
        folder=tmp_path / "warehouse",
        connection=connection_to(postgres.port, postgres, database, tmp_path),
        credentials=postgres.credentials,
        url=URL.create(
            "postgresql+psycopg", postgres.user, postgres.password, postgres.host, postgres.port, database=database
        ),
    )


def connection_to(port: int, postgres: Postgres, database: str, folder: Path) -> dict[str, str]:
    uri = f"postgresql://{postgres.user}@127.0.0.1:{port}/{database}"
    return {"uri": uri, "warehouse": str(folder / "warehouse")}


def test_rows_rejected_rows_and_state_land_in_one_commit(lake):
    receipt = lake.load(numbers(1, 2), rejected=REJECTED, state={"at": 2})

    assert (receipt.inserted, receipt.generation) == (2, 1)
    assert lake.values() == [1, 2]
    assert lake.rows("t__quarantine").num_rows == 1
    with lake.run(None) as run:
        assert run.before.state == {"at": 2}


def test_runs_append_overwrite_and_merge(lake):
    lake.load(numbers(1, 2, 3))
    lake.load(numbers(4))
    merged = lake.load(numbers(2, 5), write="merge", primary_key=("id",))

    assert (merged.inserted, merged.updated, merged.generation) == (1, 1, 3)
    assert lake.values() == [1, 2, 3, 4, 5]
    lake.load(numbers(9), write="overwrite")
    assert lake.values() == [9]


def test_a_namespace_may_have_several_levels(lake):
    lake.namespace = "raw.shop"

    lake.load(numbers(1))

    assert lake.values() == [1]


def test_of_two_runs_on_one_generation_the_second_is_fenced(lake):
    lake.load(numbers(1))
    with lake.run(NUMBERS) as first, lake.run(NUMBERS) as second:
        for run, number in ((first, 2), (second, 3)):
            run.table.write(numbers(number))
        first.commit({"at": 2})

        with pytest.raises(FencedError):
            second.commit({"at": 3})

    assert lake.values() == [1, 2]


def test_a_run_that_lands_at_the_last_moment_fences_the_other(lake, monkeypatch):
    lake.load(numbers(1))
    with lake.run(NUMBERS) as late, lake.run(NUMBERS) as early:
        late.table.write(numbers(2))
        early.table.write(numbers(3))
        before_a_commit(monkeypatch, SqlCatalog, lambda: early.commit({"at": 3}))

        with pytest.raises(FencedError):
            late.commit({"at": 2})

    assert lake.values() == [1, 3]


def test_a_commit_of_another_engine_is_rebased_over(lake, monkeypatch):
    lake.load(numbers(1))

    def append() -> None:
        with lake.table() as table:
            table.append(pa.Table.from_batches([numbers(7)]))

    with lake.run(NUMBERS) as run:
        run.table.write(numbers(2))
        before_a_commit(monkeypatch, PostgresCatalog, append)
        run.commit({"at": 2})

    assert lake.values() == [1, 2, 7]


def outcome_of(run: Run) -> str:
    try:
        run.commit({"at": 2})
    except DativoError as error:
        return error.error_code
    return "landed"


@pytest.mark.parametrize(("cut", "landed"), [("answer", True), ("question", False)])
def test_a_commit_without_an_answer_is_looked_up(lake, postgres, database, tmp_path, cut, landed):  # noqa: PLR0917
    lake.load(numbers(1))
    direct = lake.connection
    with tunnel(postgres.port, cut=cut, after=b"UPDATE iceberg_tables") as port:
        lake.connection = connection_to(port, postgres, database, tmp_path)
        with lake.run(NUMBERS) as run:
            run.table.write(numbers(2))
            outcome = outcome_of(run)
    lake.connection = direct

    assert outcome == ("landed" if landed else "COMMIT_STATE_UNKNOWN")
    with lake.run(None) as run:
        assert run.before.generation == (2 if landed else 1)
    assert lake.values() == ([1, 2] if landed else [1])


def test_runs_killed_at_random_moments_and_pairs_started_together_land_each_row_once(lake):
    script = Path(__file__).with_name("crashing_postgres_runs.py")
    settings = json.dumps({"connection": lake.connection, "credentials": lake.credentials})

    done = subprocess.run([sys.executable, script, settings], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    goal, wrong = json.loads(done.stdout)
    assert wrong == []
    assert sorted(lake.rows()["goal"].to_pylist()) == sorted(list(range(1, goal + 1)) * 100)


def test_checking_makes_nothing_and_tells_what_will_be_made(lake, postgres, database):
    found = lake.walk()

    assert all(not isinstance(result, DativoError) for result in found.values())
    assert "will be created by the first run" in found["catalog"].message
    with postgres.connect(dbname=database) as session:
        assert session.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'iceberg%'").fetchall() == [(0,)]
    lake.load(numbers(1))
    assert "answers: 1 namespace" in lake.walk()["catalog"].message


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"port": 1}, "NETWORK_ERROR", id="nobody listens"),
        pytest.param({"user": "nobody_here"}, "INVALID_CREDENTIALS", id="user"),
        pytest.param({"database": "nowhere"}, "RESOURCE_NOT_FOUND", id="database"),
    ],
)
def test_a_database_that_does_not_let_in_is_told_without_the_password(lake, postgres, change, code):
    parts = {"user": postgres.user, "port": postgres.port, "database": lake.url.database, **change}
    lake.connection["uri"] = f"postgresql://{parts['user']}@127.0.0.1:{parts['port']}/{parts['database']}"

    error = lake.walk()["catalog"]

    assert isinstance(error, DativoError)
    assert error.error_code == code
    assert "target.connection.uri" in str(error.hint)
    assert postgres.password not in str(error.to_dict())


@pytest.mark.parametrize(
    "uri",
    [
        "postgres://u@h:5432/d",
        "postgresql://u@h:5432/d",
        "postgresql+psycopg2://u@h:5432/d",
        "postgresql+psycopg://u@h:5432/d?application_name=dativo",
    ],
)
def test_an_address_needs_no_driver_s_name(uri):
    found = address(uri, "p@ss")

    assert found.startswith("postgresql+psycopg://u:p%40ss@h:5432/d?")
    assert "connect_timeout=10" in found


def test_an_address_that_cannot_be_read_is_not_repeated():
    with pytest.raises(InvalidConfigError) as caught:
        address("postgresql://u:secret@h:port/d", None)

    assert "secret" not in str(caught.value.to_dict())
