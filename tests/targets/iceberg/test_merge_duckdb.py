"""A second engine reads merged tables row by row as they are: DuckDB with its own Iceberg extension."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from iceberg_cares import compact
from iceberg_lake import Lake
from iceberg_merges import SCHEMA, gone, merge, rows

UV = Path(__file__).parents[3] / ".tools" / "bin" / "uv"
PACKAGES = ["duckdb==1.5.5", "duckdb-extension-iceberg==1.5.5", "duckdb-extension-avro==1.5.5"]
PROGRAM = r"""
import json, sys
from pathlib import Path
import duckdb, duckdb_extension_avro, duckdb_extension_iceberg

database = duckdb.connect()
database.execute("SET enable_progress_bar = false")
for module, name in ((duckdb_extension_avro, "avro"), (duckdb_extension_iceberg, "iceberg")):
    (found,) = Path(module.__file__).parent.rglob(f"{name}.duckdb_extension")
    database.execute(f"LOAD '{found}'")
query = f"SELECT t.id, t.region, epoch_us(t.\"at\"), t.text FROM iceberg_scan('{sys.argv[1]}') t ORDER BY t.id"
print(json.dumps(database.execute(query).fetchall()))
"""

Read = Callable[[Lake], list[list[Any]]]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """Reads a lake's table by DuckDB, in an environment of its own: its release is another than that of the target."""
    folder = tmp_path_factory.mktemp("duckdb") / "env"
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    subprocess.run([UV, "pip", "install", "--quiet", "--python", folder / "bin" / "python", *PACKAGES], check=True)

    def ask(lake: Lake) -> list[list[Any]]:
        with lake.table() as table:
            place = table.metadata_location.removeprefix("file://")
        answer = subprocess.run(
            [folder / "bin" / "python", "-c", PROGRAM, place], check=True, stdout=subprocess.PIPE
        ).stdout
        found: list[list[Any]] = json.loads(answer)
        return found

    return ask


def by_pyiceberg(lake: Lake) -> list[list[Any]]:
    found = lake.rows().select(SCHEMA.names).sort_by("id")
    columns = [found["id"], found["region"], found["at"].cast("int64"), found["text"]]
    return [list(row) for row in zip(*(column.to_pylist() for column in columns), strict=True)]


@pytest.mark.parametrize("layout", [[], ["bucket(4, id)"], ["day(at)"], ["region", "truncate(10, id)"]], ids=str)
def test_both_engines_read_the_same_rows_after_merges_of_every_kind(lake: Lake, read: Read, layout: list[str]) -> None:
    options = {"partition_by": layout, "sort_by": ["id desc"]}
    merge(lake, rows(*range(200), text="first"), options=options)
    merge(lake, rows(3, 5, 200, text="deletes"), options=options)
    merge(lake, rows(3, 7, text="moves", region="us", day=2), options=options)
    merge(lake, rows(*range(50, 150), text="rewrites"), options=options)
    merge(lake, rows(3, 60, 60, 201, text="again"), rows(201, text="last"), options=options)

    found = read(lake)

    text = {each: f"first {each}" for each in range(200)}
    text |= {each: f"rewrites {each}" for each in range(50, 150)}
    text |= {5: "deletes 5", 200: "deletes 200", 7: "moves 7", 3: "again 3", 60: "again 60", 201: "last 201"}
    assert {row[0]: row[3] for row in found} == text
    assert len(found) == len(text)
    assert found == by_pyiceberg(lake)
    assert compact(lake, min_input_files=2).delete_files_removed > 0
    assert read(lake) == found


@pytest.mark.parametrize("layout", [[], ["bucket(4, id)"], ["region", "truncate(10, id)"]], ids=str)
def test_both_engines_read_the_same_rows_after_deletes_of_every_kind(lake: Lake, read: Read, layout: list[str]) -> None:
    options = {"partition_by": layout, "sort_by": ["id desc"]}
    merge(lake, rows(*range(200), text="first"), options=options)
    merge(lake, gone(3, 5, 900), options=options)
    merge(lake, rows(3, text="back"), gone(7), rows(300, 301, text="short"), gone(300), options=options)
    merge(lake, gone(*range(50, 150)), rows(60, text="kept"), options=options)
    merge(lake, gone(*range(150, 200), 3), options=options)

    found = read(lake)

    left = set(range(50)) - {3, 5, 7}
    text = {each: f"first {each}" for each in left} | {60: "kept 60", 301: "short 301"}
    assert {row[0]: row[3] for row in found} == text
    assert len(found) == len(text)
    assert found == by_pyiceberg(lake)
