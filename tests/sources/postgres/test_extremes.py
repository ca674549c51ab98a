"""Tables that are as wide, as long, as large or as oddly named as Postgres lets them be, through whole runs."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from workshop import Workshop

NAMES = (
    'Quo"ted',
    "with space",
    " lead",
    "trail ",
    "ünïcode €😀",
    "select",
    "UPPER",
    "n" * 63,
    "é" * 31,
    "a.b",
    "100%",
    "%s",
    "{braces}",
    "single'q",
    "$1",
    "--c",
    "con:x",
    "*",
    "[x]",
    "q?x=1&y#z",
)
FOLDERS = ("new\nline", "tab\tname", "back\\slash")
WIDE = 1600  # Postgres' maximum
KINDS = ("int", "bool", "date", "int2", "float4")
VALUES = ("g", "g % 2 = 0", "date '2024-01-01' + g % 100", "g % 100", "g * 0.5")


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@pytest.fixture
def job(database, tmp_path):
    """Write a job that carries tables of the test's schema to a target."""

    def write(target: str, *tables: str, in_process: bool = True, **settings: Any) -> Workshop:
        source = {
            "connector": "postgres",
            "connection": database.server.connection,
            "credentials": database.server.credentials,
        }
        streams = {f"{database.name}.{name}": {"write": "overwrite", "table": name} for name in tables}
        settings = {"limits": {"memory_mb": 256}, **settings}
        return Workshop(tmp_path, target=target, in_process=in_process).job(source, streams, **settings)

    return write


def watched(workshop: Workshop) -> tuple[int, list[int]]:
    """Run a job in a process of its own; give its exit code and how much memory it had in MB, moment by moment."""
    process = subprocess.Popen(
        workshop.command("run", "--progress", "none"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    seen = []
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii", errors="replace")
        resident = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
        seen += [int(kilobytes) // 1024 for kilobytes in resident]
        time.sleep(0.02)
    return process.returncode, seen


@pytest.mark.parametrize("target", ["iceberg", "parquet", "duckdb", "delta"])
def test_names_of_any_kind_land_as_they_are(database, job, target) -> None:
    names = NAMES if target == "delta" else (*NAMES, *FOLDERS)
    for number, name in enumerate(names):
        database.run(
            f"CREATE TABLE {quoted(name)} ({quoted(name)} int, {quoted(name[:20] + '_2')} text)",
            f"INSERT INTO {quoted(name)} VALUES ({number}, '')",
        )
    workshop = job(target, *names)

    ran = workshop.run()

    assert ran.code == 0, ran.said
    landed = {name: workshop.table(name).to_pylist() for name in names}
    assert landed == {name: [{name: number, name[:20] + "_2": ""}] for number, name in enumerate(names)}


@pytest.mark.parametrize("target", ["delta", "parquet"])
@pytest.mark.parametrize("name", ["a/b", ".."])
def test_a_name_that_no_folder_can_have_needs_another_for_its_table(database, job, target, name) -> None:
    database.run(f"CREATE TABLE {quoted(name)} AS SELECT 1 AS id")

    ran = job(target, name).run()

    assert ran.code == 78
    assert "table: gives the table another name" in ran.said


@pytest.mark.parametrize(("target", "code"), [("iceberg", 78), ("delta", 78), ("duckdb", 78), ("parquet", 0)])
def test_columns_that_differ_in_case_alone_are_refused_where_they_would_be_one(database, job, target, code) -> None:
    database.run("CREATE TABLE cased AS SELECT 1 AS id, 'a' AS \"Name\", 'b' AS name")

    ran = job(target, "cased").run()

    assert ran.code == code, ran.said
    assert code == 0 or ("'Name' and 'name'" in ran.said and "name only one of them" in ran.said)


def test_tables_without_rows_without_a_key_and_without_columns(database, job) -> None:
    database.run(
        "CREATE TABLE empty (id int PRIMARY KEY, name text)",
        "CREATE TABLE keyless (a text)",
        "INSERT INTO keyless VALUES ('x'), ('x'), (NULL)",
        "CREATE TABLE nothing ()",
        "INSERT INTO nothing DEFAULT VALUES",
    )
    workshop = job("duckdb", "empty", "keyless", "nothing")
    config = json.loads(workshop.config.read_text(encoding="utf-8"))
    by_glob = {**config, "streams": {f"{database.name}.*": {"write": "overwrite"}}}

    named = workshop.run()
    workshop.config.write_text(json.dumps(by_glob), encoding="utf-8")
    picked = workshop.run()

    assert (named.code, picked.code) == (3, 0), named.said + picked.said
    assert "it has no columns, so there is nothing to read" in named.said
    assert workshop.table("keyless").column("a").to_pylist() == ["x", "x", None]
    assert workshop.table("empty").num_rows == 0
    assert workshop.table("empty").column_names == ["id", "name"]


def test_as_many_columns_as_postgres_has_are_read_and_reported(database, job) -> None:
    columns = ", ".join(f"c{number} {KINDS[number % 5]}" for number in range(WIDE))
    values = ", ".join(VALUES[number % 5] for number in range(WIDE))
    database.run(
        f"CREATE TABLE wide ({columns})", f"INSERT INTO wide SELECT {values} FROM generate_series(1, 300) AS g"
    )
    workshop = job("iceberg", "wide")

    ran = workshop.run()

    assert ran.code == 0, ran.said
    landed = workshop.table("wide")
    assert (landed.num_rows, landed.num_columns) == (300, WIDE)
    assert [pc.sum(landed.column(name).cast("float64")).as_py() for name in ("c0", "c1", "c3", "c1599")] == [
        45150,
        150,
        14850,
        22575,
    ]
    (stream,) = ran.report["streams"]
    assert len(stream["columns"]) == WIDE
    assert stream["columns"][1599] == {
        "name": "c1599",
        "source_type": "real",
        "arrow_type": "float",
        "fidelity": "exact",
        "lost": {},
    }


@pytest.mark.newest_postgres
def test_cells_of_fifty_megabytes_are_read_in_bounded_memory(database, job, tmp_path) -> None:
    cell_mb, cells = 50, 4
    text = f"repeat('ab\"é\\\\ ', {cell_mb * 2**20 // 9})"
    database.run(
        "CREATE TABLE large (id int, document jsonb, more bytea)",
        f"INSERT INTO large SELECT g, jsonb_build_object('k', g, 'text', {text}),"
        f" decode(repeat('00ff', {2**20}), 'hex') FROM generate_series(1, {cells}) AS g",
    )
    workshop = job("parquet", "large", in_process=False)

    code, seen = watched(workshop)

    assert code == 0
    assert max(seen) < 1000  # however many such cells there are
    answered = "SELECT id, length(document::text), md5(document::text), md5(more) FROM large ORDER BY id"
    with database.server.connect(options=f"-c search_path={database.name}") as session:
        expected = session.execute(answered).fetchall()
    files = [str(file) for file in (tmp_path / "lake/raw/large").rglob("*.parquet")]
    found = duckdb.execute(
        f"SELECT id, length(document), md5(document), md5(more) FROM read_parquet({files}) ORDER BY id"
    ).fetchall()
    assert found == expected
    assert all(length > cell_mb * 2**20 * 0.9 for _, length, *_ in found)


@pytest.mark.newest_postgres
def test_memory_stays_flat_however_many_rows_there_are(database, job, tmp_path) -> None:
    many, few = 6_000_000, 2_000_000
    database.run(
        *(f"CREATE VIEW v{rows} AS SELECT generate_series(1, {rows}) AS id, 7::int2 AS small" for rows in (many, few))
    )
    peaks = {}

    for rows in (few, many):
        code, seen = watched(job("parquet", f"v{rows}", in_process=False, limits={"memory_mb": 64}))
        assert code == 0
        peaks[rows] = max(seen)

    assert peaks[many] <= peaks[few] + 16
    files = list((tmp_path / f"lake/raw/v{many}").rglob("*.parquet"))
    assert sum(pq.ParquetFile(file).metadata.num_rows for file in files) == many
