"""What discover finds in a database's catalog."""

from __future__ import annotations

import uuid
from contextlib import contextmanager

import pyarrow as pa
import pytest
from postgres_service import Postgres

from dativo_ingest.postgres.connection import parse_access
from dativo_ingest.postgres.failures import Failures
from dativo_ingest.postgres.sessions import connect
from dativo_ingest.sources.postgres.discovery import discover, find, stream_names
from dativo_plugin_sdk import DataNotFoundError, DataValidationError, InsufficientPermissionsError

pytestmark = pytest.mark.each_postgres

READER = "catalog_reader"


@contextmanager
def session_of(postgres: Postgres, user: str | None = None, **parameters):
    connection = {**postgres.connection, **({"user": user} if user else {}), "parameters": parameters}
    credentials = {"password": "secret"} if user else postgres.credentials
    made = connect(parse_access(connection, credentials, end="source").parameters(), Failures("source"))
    with made:
        yield made


@pytest.fixture
def schema(postgres):
    name = f"shop_{uuid.uuid4().hex[:10]}"
    postgres.ask(f"CREATE SCHEMA {name}")
    yield name
    postgres.ask(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture
def make(postgres, schema):
    """Run statements in the schema of the test."""

    def run(*statements: str) -> None:
        with postgres.connect(options=f"-c search_path={schema}") as session:
            for statement in statements:
                session.execute(statement)

    return run


@pytest.fixture
def reader(postgres):
    """Make a user who has been granted nothing."""
    if not postgres.ask(f"SELECT FROM pg_roles WHERE rolname = '{READER}'"):
        postgres.ask(f"CREATE ROLE {READER} LOGIN PASSWORD 'secret'")
    return READER


@pytest.fixture
def look(postgres, schema):
    """Discover the schema of the test; give objects by their names in it, and the warnings."""

    def run(user=None, pattern=None):
        with session_of(postgres, user) as session:
            result = discover(session, f"{schema}.*" if pattern is None else pattern)
        return {item["name"].removeprefix(f"{schema}."): item for item in result.objects}, result.warnings

    return run


def test_every_kind_of_relation_is_found_and_a_partition_is_part_of_its_table(make, look):
    make(
        "CREATE TABLE plain (id int)",
        "CREATE VIEW seen AS SELECT * FROM plain",
        "CREATE MATERIALIZED VIEW kept AS SELECT * FROM plain",
        "CREATE TABLE parted (id int, at date) PARTITION BY RANGE (at)",
        "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
        "CREATE TABLE parted_2 PARTITION OF parted DEFAULT PARTITION BY LIST (id)",
        "CREATE TABLE parted_2_1 PARTITION OF parted_2 DEFAULT",
        "CREATE TEMPORARY TABLE gone (id int)",
        "CREATE FOREIGN DATA WRAPPER nothing",
        "CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing",
        "CREATE FOREIGN TABLE far (id int) SERVER nowhere",
    )

    try:
        found, warnings = look()
    finally:
        make("DROP FOREIGN DATA WRAPPER nothing CASCADE")

    assert {name: item["type"] for name, item in found.items()} == {
        "plain": "table",
        "seen": "view",
        "kept": "materialized view",
        "parted": "partitioned table",
        "far": "foreign table",
    }
    assert warnings == []


def test_columns_have_their_native_and_their_arrow_type(make, look):
    make(
        "CREATE DOMAIN price AS numeric(10, 2) NOT NULL",
        "CREATE TYPE mood AS ENUM ('sad', 'ok')",
        "CREATE TABLE zoo (id bigint NOT NULL, amount price, share numeric, tags text[], mood mood, at timestamptz,"
        " gone int, payload jsonb)",
        "ALTER TABLE zoo DROP COLUMN gone",
    )

    columns = look()[0]["zoo"]["columns"]

    shown = {column["name"]: (column["type"], column["arrow_type"], column["fidelity"]) for column in columns}
    assert shown["id"] == ("bigint", "int64", "exact")
    assert shown["amount"][1:] == ("decimal128(10, 2)", "exact")
    assert shown["share"] == ("numeric", "string", "text")
    assert shown["at"] == ("timestamp with time zone", "timestamp[us, tz=UTC]", "exact")
    assert shown["mood"][1:] == ("string", "text")
    assert shown["tags"][0] == "text[]"
    assert [column["name"] for column in columns if not column["nullable"]] == ["id"]
    assert "gone" not in shown


def test_names_keep_their_spelling(make, look, postgres, schema):
    odd = ['He said "no"', "with space", "select", "Ünïcode 表", "dot.ted", "semi;colon--", "$1", "a'b"]
    for name in odd:
        quoted = '"' + name.replace('"', '""') + '"'
        make(f"CREATE TABLE {quoted} ({quoted} int)")

    found, _ = look()

    assert {name: item["columns"][0]["name"] for name, item in found.items()} == {name: name for name in odd}
    with session_of(postgres) as session:
        for name in odd:
            assert find(session, f"{schema}.{name}").name == name


@pytest.mark.parametrize(
    ("definition", "key"),
    [
        pytest.param("id int PRIMARY KEY, code text NOT NULL UNIQUE", ["id"], id="primary"),
        pytest.param("a int, b int, PRIMARY KEY (b, a)", ["b", "a"], id="in the key's order"),
        pytest.param("a int NOT NULL, b int NOT NULL, c int NOT NULL UNIQUE, UNIQUE (a, b)", ["c"], id="smallest"),
        pytest.param("id int UNIQUE", [], id="may be null"),
        pytest.param("id int NOT NULL, EXCLUDE (id WITH =)", [], id="exclusion"),
        pytest.param("id int", [], id="none"),
    ],
)
def test_the_key_is_the_primary_one_or_unique_and_never_null(make, look, definition, key):
    make(f"CREATE TABLE keyed ({definition})")

    assert look()[0]["keyed"]["primary_key"] == key


@pytest.mark.newest_postgres
def test_partial_and_expression_indexes_and_unchecked_constraints_are_no_keys(make, look):
    make(
        "CREATE TABLE partial (id int NOT NULL, gone bool)",
        "CREATE UNIQUE INDEX ON partial (id) WHERE NOT gone",
        "CREATE TABLE computed (id text NOT NULL)",
        "CREATE UNIQUE INDEX ON computed (lower(id))",
        "CREATE TABLE included (id int NOT NULL, more int NOT NULL)",
        "CREATE UNIQUE INDEX ON included (id) INCLUDE (more)",
        "CREATE TABLE unchecked (id int UNIQUE)",
        "INSERT INTO unchecked VALUES (NULL)",
        "ALTER TABLE unchecked ADD CONSTRAINT there NOT NULL id NOT VALID",
    )

    found, _ = look()

    assert {name: item["primary_key"] for name, item in found.items()} == {
        "partial": [],
        "computed": [],
        "included": ["id"],
        "unchecked": [],
    }
    assert found["unchecked"]["columns"][0]["nullable"] is True


@pytest.mark.newest_postgres
def test_cursors_are_times_of_change_then_what_rises_then_times_of_creation(make, look):
    make(
        "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, created_at timestamptz NOT NULL,"
        " updated_at timestamptz NOT NULL, shipped_at timestamptz, n int NOT NULL)",
        "CREATE TABLE events (id serial PRIMARY KEY, key uuid NOT NULL DEFAULT uuidv7(), other uuid DEFAULT uuidv4(),"
        " last_modified timestamp)",
        "CREATE VIEW seen AS SELECT * FROM orders",
        "CREATE TABLE bare (a text)",
    )

    found, _ = look()

    assert found["orders"]["cursor_candidates"] == ["updated_at", "id", "created_at"]
    assert found["orders"]["cursor"] == "updated_at"
    assert found["events"]["cursor_candidates"] == ["last_modified", "id", "key"]
    assert found["events"]["cursor"] is None
    assert found["seen"]["cursor_candidates"] == ["updated_at", "created_at"]
    assert found["seen"]["cursor"] is None
    assert found["bare"]["cursor_candidates"] == ["xmin"]
    assert found["bare"]["sync_modes"] == ["full_refresh", "incremental"]


def test_rows_and_bytes_are_estimated_also_before_the_first_analyze(make, look):
    make(
        "CREATE TABLE analyzed AS SELECT i, repeat('x', 100) FROM generate_series(1, 1000) i",
        "ANALYZE analyzed",
        "CREATE TABLE fresh AS SELECT i, repeat('x', 100) FROM generate_series(1, 1000) i",
        "CREATE TABLE parted (id int) PARTITION BY LIST (id)",
        "CREATE TABLE part_1 PARTITION OF parted FOR VALUES IN (1)",
        "CREATE TABLE part_2 PARTITION OF parted FOR VALUES IN (2)",
        "INSERT INTO parted SELECT 1 + i % 2 FROM generate_series(1, 100) i",
        "ANALYZE parted",
        "CREATE VIEW seen AS SELECT * FROM analyzed",
    )

    found, _ = look()

    assert found["analyzed"]["estimated_rows"] == 1000
    assert found["parted"]["estimated_rows"] == 100
    assert found["parted"]["size_bytes"] == 2 * 8192
    assert found["fresh"]["size_bytes"] >= 1000 * 100
    assert found["analyzed"]["size_bytes"] == pytest.approx(found["fresh"]["size_bytes"], rel=0.5)
    assert (found["seen"]["estimated_rows"], found["seen"]["size_bytes"]) == (None, None)


def test_a_table_that_is_locked_holds_nobody_up(make, look, postgres, schema):
    make("CREATE TABLE held (id uuid DEFAULT gen_random_uuid() NOT NULL)")

    with postgres.connect(autocommit=False) as other:
        other.execute(f"LOCK TABLE {schema}.held IN ACCESS EXCLUSIVE MODE")
        found, warnings = look()
        other.rollback()

    assert (found["held"]["size_bytes"], warnings) == (None, [])


def test_what_the_user_may_not_read_is_left_out_with_the_reason(make, look, reader, schema):
    make(
        "CREATE TABLE open (id int, secret text)", "CREATE TABLE closed (id int)", "CREATE TABLE partly (a int, b int)"
    )

    without_schema, told = look(reader)
    make(f"GRANT USAGE ON SCHEMA {schema} TO {reader}", f"GRANT SELECT ON open TO {reader}")
    make(f"GRANT SELECT (b) ON partly TO {reader}")
    found, warnings = look(reader)

    assert without_schema == {}
    assert told == [
        (
            f"schema {schema} is left out, with closed, open, partly: {reader} may not use it;"
            f' GRANT USAGE ON SCHEMA "{schema}" TO "{reader}"'
        )
    ]
    assert list(found) == ["open", "partly"]
    assert [column["name"] for column in found["partly"]["columns"]] == ["b"]
    assert warnings == [
        (
            f"in schema {schema}, closed left out: {reader} may not read it;"
            f' GRANT SELECT ON "{schema}"."closed" TO "{reader}"'
        ),
        f"{schema}.partly: {reader} may not read the columns a; they are left out",
    ]


def test_rows_that_a_policy_hides_are_told(make, look, reader, schema):
    make(
        "CREATE TABLE mine (id int)",
        "ALTER TABLE mine ENABLE ROW LEVEL SECURITY",
        f"GRANT USAGE ON SCHEMA {schema} TO {reader}",
        f"GRANT SELECT ON mine TO {reader}",
    )

    assert "row-level security" in look(reader)[1][0]
    assert look()[1] == []


def test_a_materialized_view_without_data_is_left_out(make, look):
    make("CREATE MATERIALIZED VIEW empty AS SELECT 1 AS one WITH NO DATA")

    found, warnings = look()

    assert found == {}
    assert "no data yet" in warnings[0]


def test_the_systems_own_are_left_out(postgres):
    with session_of(postgres) as session:
        found = stream_names(session)

    assert not [name for name in found if name.startswith(("pg_", "information_schema"))]


def test_a_pattern_is_a_glob_over_schema_and_table(make, look, schema):
    make("CREATE TABLE audit_1 (id int)", "CREATE TABLE audit_2 (id int)", "CREATE TABLE other (id int)")

    found, _ = look(pattern=f"{schema}.audit_*")
    nothing, warnings = look(pattern="audit_nothing")

    assert list(found) == ["audit_1", "audit_2"]
    assert nothing == {}
    assert "names are schema.table" in warnings[0]


def test_a_stream_is_found_by_its_name(make, postgres, schema):
    make(
        "CREATE TABLE orders (id int PRIMARY KEY, at timestamptz)",
        "COMMENT ON COLUMN orders.at IS 'when it was placed'",
        "CREATE TABLE parted (id int) PARTITION BY LIST (id)",
        "CREATE TABLE part_1 PARTITION OF parted DEFAULT",
    )

    with session_of(postgres) as session:
        found = find(session, f"{schema}.orders")
        part = find(session, f"{schema}.part_1")
    with session_of(postgres, options=f"-c search_path={schema}") as session:
        by_path = find(session, "orders")

    assert (found.title, found.key) == (f"{schema}.orders", ("id",))
    assert by_path == type(found)(**{**vars(found), "is_visible": True})
    assert part.kind == "table"
    assert found.arrow_schema.field("id").nullable is False
    assert found.arrow_schema.field("at").type == pa.timestamp("us", tz="UTC")
    metadata = found.arrow_schema.field("at").metadata
    assert (metadata[b"dativo.source_type"], metadata[b"doc"]) == (b"timestamp with time zone", b"when it was placed")


def test_a_stream_that_is_not_there_is_told_with_what_is(make, postgres, schema):
    make("CREATE TABLE orders (id int)")

    with session_of(postgres) as session:
        with pytest.raises(DataNotFoundError) as misspelt:
            find(session, f"{schema}.order")
        with pytest.raises(DataNotFoundError) as without_schema:
            find(session, "orders")

    assert f"did you mean {schema}.orders?" in str(misspelt.value.hint)
    assert f"{schema}.orders" in str(without_schema.value.hint)


def test_a_name_that_means_two_is_refused(make, postgres, schema):
    make(f'CREATE SCHEMA "{schema}.a"', f'CREATE TABLE "{schema}.a".b (id int)', 'CREATE TABLE "a.b" (id int)')

    try:
        with session_of(postgres) as session, pytest.raises(DataValidationError, match="the name means"):
            find(session, f"{schema}.a.b")
    finally:
        make(f'DROP SCHEMA "{schema}.a" CASCADE')


def test_a_stream_that_may_not_be_read_says_which_grant_is_missing(make, postgres, schema, reader):
    make("CREATE TABLE closed (id int)")

    with session_of(postgres, reader) as session:
        with pytest.raises(InsufficientPermissionsError) as usage:
            find(session, f"{schema}.closed")
        make(f"GRANT USAGE ON SCHEMA {schema} TO {reader}")
        with pytest.raises(InsufficientPermissionsError) as select:
            find(session, f"{schema}.closed")

    assert "GRANT USAGE ON SCHEMA" in str(usage.value.hint)
    assert "GRANT SELECT ON" in str(select.value.hint)


@pytest.mark.newest_postgres
def test_three_thousand_tables_take_a_handful_of_queries(make, postgres, schema):
    work = "FOR i IN 1..3000 LOOP EXECUTE format({}, i); IF i % 500 = 0 THEN COMMIT; END IF; END LOOP"
    columns = "(id bigint, name text, amount numeric(10,2), at timestamptz)"
    asked = []

    make("DO $$ BEGIN " + work.format(f"'CREATE TABLE {schema}.t_%s {columns}'") + "; END $$")
    try:
        with session_of(postgres) as session:
            execute = session.execute
            session.execute = lambda *arguments: asked.append(arguments) or execute(*arguments)
            result = discover(session, f"{schema}.*")
    finally:
        make("DO $$ BEGIN " + work.format(f"'DROP TABLE {schema}.t_%s'") + "; END $$")

    assert len(result.objects) == 3000
    assert sum(len(item["columns"]) for item in result.objects) == 12_000
    assert len(asked) < 20
