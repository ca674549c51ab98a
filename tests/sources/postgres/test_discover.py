"""Discover, check and globs of a Postgres source, through the command line."""

from __future__ import annotations

import json

import duckdb
import psycopg
import pytest
import yaml
from click.testing import CliRunner
from command_line import validate

from dativo_ingest.cli.program import dativo as program
from dativo_ingest.postgres.names import quoted
from dativo_ingest.run.documents_schema import DISCOVER

pytestmark = pytest.mark.each_postgres

NAMES = ['He said "no"', "with space", "select", "Ünïcode 表", "a'b", "[1]*"]


@pytest.fixture
def job(tmp_path, postgres):
    """Write a job from the server into DuckDB; its keywords are those of the job."""

    def write(**keywords):
        text = {
            "version": 1,
            "name": "shop",
            "source": {
                "connector": "postgres",
                "connection": postgres.connection,
                "credentials": {"password": "${env:PG_PASSWORD}"},
            },
            "target": {"connector": "duckdb", "connection": {"path": "lake.duckdb"}, "namespace": "raw"},
            **keywords,
        }
        path = tmp_path / "job.yaml"
        path.write_text(json.dumps(text), encoding="utf-8")
        return path

    return write


@pytest.fixture
def dativo(postgres):
    def run(*arguments):
        return CliRunner().invoke(program, [str(each) for each in arguments], env={"PG_PASSWORD": postgres.password})

    return run


@pytest.fixture
def tables(tmp_path):
    def found():
        with duckdb.connect(str(tmp_path / "lake.duckdb"), read_only=True) as lake:
            names = lake.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'raw'").fetchall()
            return {name: lake.execute(f"SELECT count(*) FROM raw.{quoted(name)}").fetchone()[0] for (name,) in names}

    return found


@pytest.fixture
def shop(database):
    database.run(
        "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, amount numeric(10, 2),"
        " updated_at timestamptz NOT NULL DEFAULT '2026-01-01')",
        "COMMENT ON COLUMN orders.amount IS 'with tax'",
        "INSERT INTO orders (amount) SELECT i FROM generate_series(1, 3) i",
        "CREATE TABLE countries (code char(2) PRIMARY KEY, name text NOT NULL)",
        "INSERT INTO countries VALUES ('de', 'Germany')",
        "CREATE TABLE log (line text)",
        "CREATE VIEW large AS SELECT * FROM orders WHERE amount > 2",
    )
    return database


def test_discover_tells_what_there_is_in_json_and_in_text(shop, job, dativo):
    asked = ("discover", "--config", job(), "--pattern", f"{shop.name}.*")

    document = json.loads(dativo(*asked, "--json").stdout)
    short = dativo(*asked).stdout
    verbose = dativo(*asked, "--verbose").stdout

    validate(document, DISCOVER)
    assert document["source"]["connector"] == "postgres"
    assert document["metadata"]["database"] == "lake"
    found = {item["name"]: item for item in document["objects"]}
    assert list(found) == [f"{shop.name}.{name}" for name in ("countries", "large", "log", "orders")]
    orders = found[f"{shop.name}.orders"]
    assert (orders["type"], orders["primary_key"], orders["cursor"]) == ("table", ["id"], "updated_at")
    assert orders["columns"][1] == {
        "name": "amount",
        "type": "numeric(10,2)",
        "arrow_type": "decimal128(10, 2)",
        "nullable": True,
        "fidelity": "exact",
    }
    assert "found 4 objects" in short
    assert "amount: numeric(10,2)" in short
    assert "Cursor candidates: updated_at, id" in verbose


def test_assets_propose_keys_and_cursors_and_run(shop, job, dativo, tmp_path, tables):
    assets = tmp_path / "assets"
    written = dativo("discover", "--config", job(), "--pattern", f"{shop.name}.*", "--write-assets", assets)
    made = yaml.safe_load((assets / "job.yaml").read_text())
    first = dativo("run", "--config", assets / "job.yaml", "--progress", "none", "--report", "-")
    shop.run("UPDATE orders SET amount = 7, updated_at = '2026-02-01' WHERE id = 1")
    second = dativo("run", "--config", assets / "job.yaml", "--progress", "none", "--report", "-")

    assert written.exit_code == 0, written.output
    assert made["streams"][f"{shop.name}.orders"] == {
        "mode": "incremental",
        "cursor": "updated_at",
        "primary_key": ["id"],
        "contract": f"{shop.name}.orders.odcs.yaml",
    }
    assert made["streams"][f"{shop.name}.countries"]["primary_key"] == ["code"]
    assert made["streams"][f"{shop.name}.log"] == {"contract": f"{shop.name}.log.odcs.yaml"}
    assert made["source"]["credentials"] == {"password": "${env:PG_PASSWORD}"}
    contract = yaml.safe_load((assets / f"{shop.name}.orders.odcs.yaml").read_text())
    columns = {each["name"]: each for each in contract["schema"][0]["properties"]}
    assert (columns["id"]["primaryKey"], columns["id"]["required"]) == (True, True)
    assert columns["amount"]["description"] == "with tax"
    assert first.exit_code == 0, first.output
    assert second.exit_code == 0, second.output
    assert tables() == {"orders": 3, "countries": 1, "log": 0, "large": 2}
    rows = {stream["name"]: stream["rows"] for stream in json.loads(second.stdout)["streams"]}
    assert rows[f"{shop.name}.orders"]["updated"] == 1


def test_assets_keep_names_of_any_kind_and_tables_of_two_schemas_apart(database, job, dativo, tmp_path, tables):
    for number, name in enumerate(NAMES):
        database.run(
            f"CREATE TABLE {quoted(name)} ({quoted(name)} int)", f"INSERT INTO {quoted(name)} VALUES ({number})"
        )
    database.run(f"CREATE SCHEMA {database.name}_b", f"CREATE TABLE {database.name}_b.select AS SELECT 1 AS one")
    assets = tmp_path / "assets"

    try:
        dativo("discover", "--config", job(), "--pattern", f"{database.name}*", "--write-assets", assets)
        ran = dativo("run", "--config", assets / "job.yaml", "--progress", "none", "--report", "-")
    finally:
        database.run(f"DROP SCHEMA {database.name}_b CASCADE")

    assert ran.exit_code == 0, ran.output
    assert {stream["rows"]["written"] for stream in json.loads(ran.stdout)["streams"]} == {1}
    assert set(tables()) == {*NAMES, f"{database.name}_select", f"{database.name}_b_select"} - {"select"}


def test_assets_under_incremental_defaults_say_which_streams_cannot(shop, job, dativo, tmp_path):
    assets = tmp_path / "assets"

    dativo(
        "discover", "--config", job(defaults={"mode": "incremental"}), "--pattern", f"{shop.name}.*",
        "--write-assets", assets,
    )  # fmt: skip
    ran = dativo("run", "--config", assets / "job.yaml", "--progress", "none")

    streams = yaml.safe_load((assets / "job.yaml").read_text())["streams"]
    assert "mode" not in streams[f"{shop.name}.orders"]
    assert streams[f"{shop.name}.log"]["mode"] == "full_refresh"
    assert ran.exit_code == 0, ran.output


def test_a_glob_of_a_job_picks_tables_once_and_only_those_it_matches(database, job, dativo, tables):
    database.run(
        "CREATE TABLE audit_a AS SELECT 1 AS id",
        "CREATE TABLE audit_b AS SELECT 1 AS id",
        "CREATE TABLE audit_parted (id int) PARTITION BY LIST (id)",
        "CREATE TABLE audit_parted_1 PARTITION OF audit_parted DEFAULT",
        "INSERT INTO audit_parted VALUES (1), (2)",
        "CREATE TABLE other AS SELECT 1 AS id",
    )
    config = job(streams={f"{database.name}.audit_*": {"mode": "full_refresh", "write": "overwrite"}})

    ran = dativo("run", "--config", config, "--progress", "none")
    nothing = dativo("run", "--config", job(streams={f"{database.name}.nix_*": {}}), "--progress", "none")

    assert ran.exit_code == 0, ran.output
    assert tables() == {"audit_a": 1, "audit_b": 1, "audit_parted": 2}
    assert nothing.exit_code == 66


def test_check_tells_each_step_and_its_exit_code_the_kind_of_trouble(shop, job, dativo, postgres):
    streams = {f"{shop.name}.orders": {"mode": "incremental", "cursor": "updated_at", "primary_key": ["id"]}}
    well = dativo("check", "--config", job(streams=streams), "--only", "source", "--json")

    def code(**connection):
        source = {
            "connector": "postgres",
            "connection": {**postgres.connection, **connection},
            "credentials": {"password": "${env:PG_PASSWORD}"},
        }
        return dativo("check", "--config", job(streams=streams, source=source), "--only", "source").exit_code

    assert well.exit_code == 0, well.output
    assert [step["step"] for step in json.loads(well.stdout)["checks"]] == [
        "configuration",
        "dns",
        "tcp",
        "tls",
        "authentication",
        "database",
        f"permission {shop.name}.orders",
        f"read {shop.name}.orders",
        "open transactions",
    ]
    assert (code(user="nobody_here"), code(database="nowhere"), code(sslmode="require")) == (77, 69, 78)
    assert (code(host="no.such.host.invalid"), code(port=1)) == (75, 75)
    assert code(hots="x") == 78


def test_assets_of_many_tables_take_as_few_queries_as_those_of_one(database, job, dativo, tmp_path, monkeypatch):
    statements = []
    asked = psycopg.Cursor.execute

    def execute(self, query, *rest, **more):
        statements.append(query)
        return asked(self, query, *rest, **more)

    monkeypatch.setattr(psycopg.Cursor, "execute", execute)
    counts = []
    for count in (1, 30):
        database.run(*(f"CREATE TABLE t{count}_{each} (a int PRIMARY KEY, b jsonb)" for each in range(count)))
        statements.clear()
        asset = tmp_path / f"assets{count}"
        done = dativo("discover", "--config", job(), "--pattern", f"{database.name}.*", "--write-assets", asset)
        assert done.exit_code == 0, done.output
        counts.append(len(statements))

    assert len(list((tmp_path / "assets30").glob("*.odcs.yaml"))) == 31
    assert counts[0] == counts[1] < 40
