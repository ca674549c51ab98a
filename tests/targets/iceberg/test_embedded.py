"""The embedded catalog is pyiceberg's SQL catalog to everyone else, and several processes may use it at once."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from iceberg_lake import NUMBERS, REJECTED, Lake, numbers
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import (
    NamespaceAlreadyExistsError,
    NamespaceNotEmptyError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)

from dativo_ingest.targets.iceberg.embedded import EmbeddedCatalog
from dativo_plugin_sdk import DatabaseLockError, InvalidConfigError


@pytest.fixture
def catalog(tmp_path: Path) -> EmbeddedCatalog:
    return EmbeddedCatalog("default", tmp_path / "w")


def test_pyicebergs_sql_catalog_writes_what_dativo_made_and_the_other_way_round(lake: Lake) -> None:
    lake.load(numbers(1))
    with lake.catalog() as other:
        other.load_table("raw.t").append(pa.Table.from_batches([numbers(2)]))
        other.create_namespace("theirs")
        other.create_table("theirs.t", NUMBERS)

    lake.load(numbers(3))
    lake.namespace = "theirs"
    lake.load(numbers(4))

    assert lake.values() == [4]
    lake.namespace = "raw"
    assert lake.values() == [1, 2, 3]


def test_a_catalog_file_made_by_pyiceberg_is_used(lake: Lake) -> None:
    lake.folder.mkdir()
    with lake.catalog() as other:
        other.create_namespace("raw")

    lake.load(numbers(1))

    assert lake.values() == [1]


def test_catalogs_of_several_names_share_the_file_and_not_their_tables(lake: Lake) -> None:
    lake.load(numbers(1))
    other = Lake(lake.folder, {"warehouse": str(lake.folder), "catalog": "other"})

    with other.run(None) as run:
        assert run.before.generation == 0


def test_it_finds_and_forgets_tables_and_namespaces(catalog: EmbeddedCatalog) -> None:
    catalog.create_namespace("a.b")
    catalog.create_table("a.b.t", NUMBERS)

    assert catalog.namespace_exists("a")
    assert catalog.list_namespaces() == [("a",)]
    assert catalog.list_namespaces("a") == [("a", "b")]
    assert catalog.list_tables("a.b") == [("a", "b", "t")]
    assert catalog.load_namespace_properties("a.b") == {"exists": "true"}
    assert catalog.list_views("a") == []
    assert not catalog.view_exists("a.b.v")
    with pytest.raises(TableAlreadyExistsError):
        catalog.create_table("a.b.t", NUMBERS)
    with pytest.raises(NamespaceAlreadyExistsError):
        catalog.create_namespace("a.b")
    with pytest.raises(NamespaceNotEmptyError):
        catalog.drop_namespace("a.b")
    catalog.drop_table("a.b.t")
    with pytest.raises(NoSuchTableError):
        catalog.drop_table("a.b.t")
    with pytest.raises(NoSuchTableError):
        catalog.load_table("a.b.t")
    catalog.drop_namespace("a.b")
    assert not catalog.namespace_exists("a")
    with pytest.raises(NoSuchNamespaceError):
        catalog.list_tables("a")
    with pytest.raises(NoSuchNamespaceError):
        catalog.create_table("a.t", NUMBERS)
    with pytest.raises(NoSuchNamespaceError):
        catalog.load_namespace_properties("a")
    catalog.close()


def test_a_property_of_a_namespace_says_where_its_tables_lie(catalog: EmbeddedCatalog, tmp_path: Path) -> None:
    catalog.create_namespace("a", {"location": f"file://{tmp_path}/elsewhere"})

    table = catalog.create_table("a.t", NUMBERS)

    assert table.location() == f"file://{tmp_path}/elsewhere/t"
    catalog.close()


@pytest.mark.parametrize(
    "call",
    [
        lambda catalog: catalog.rename_table("a", "b"),
        lambda catalog: catalog.register_table("a.t", "x"),
        lambda catalog: catalog.update_namespace_properties("a"),
        lambda catalog: catalog.load_view("a.v"),
        lambda catalog: catalog.drop_view("a.v"),
        lambda catalog: catalog.register_view("a.v", "x"),
    ],
    ids=["rename_table", "register_table", "update_namespace_properties", "load_view", "drop_view", "register_view"],
)
def test_what_it_does_not_do_it_says(catalog: EmbeddedCatalog, call: object) -> None:
    with pytest.raises(NotImplementedError, match="SqlCatalog"):
        call(catalog)  # type: ignore[operator]
    catalog.close()


def test_a_catalog_in_the_older_layout_is_refused_with_the_way_out(lake: Lake) -> None:
    lake.folder.mkdir()
    with sqlite3.connect(lake.folder / "catalog.db") as connection:
        connection.execute("CREATE TABLE iceberg_tables (catalog_name TEXT, table_namespace TEXT, table_name TEXT)")
        connection.execute("CREATE TABLE iceberg_namespace_properties (catalog_name TEXT, namespace TEXT)")
    connection.close()

    with pytest.raises(InvalidConfigError, match="older layout") as error, lake.run(None):
        pass

    assert "ALTER TABLE" in str(error.value.hint)


def test_a_catalog_that_somebody_holds_is_a_lock_error(lake: Lake) -> None:
    lake.load(numbers(1))
    lake.connection["properties"] = {"dativo.lock-timeout-s": "0.1"}
    holder = sqlite3.connect(lake.folder / "catalog.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")

    with lake.run(NUMBERS) as run:
        run.table.write(numbers(2))
        with pytest.raises(DatabaseLockError) as error:
            run.commit()
        run.table.abort()
    holder.execute("ROLLBACK")
    holder.close()

    assert error.value.retryable
    assert lake.values() == [1]
    assert len(lake.data_files()) == 1


def test_a_lost_swap_leaves_no_metadata_file(catalog: EmbeddedCatalog, tmp_path: Path) -> None:
    catalog.create_namespace("a")
    first = catalog.create_table("a.t", NUMBERS)
    second = catalog.load_table("a.t")
    first.append(pa.Table.from_batches([numbers(1)]))

    second.append(pa.Table.from_batches([numbers(2)]))

    assert catalog.load_table("a.t").scan().to_arrow().num_rows == 2
    assert len(list(tmp_path.rglob("*.metadata.json"))) == 3
    catalog.close()


LEAN = """
import sys
import dativo_ingest.targets.iceberg
assert "pyiceberg" not in sys.modules
from pathlib import Path
import pyarrow as pa
from dativo_plugin_sdk import TargetConfig
from dativo_plugin_sdk.tables import CommitRequest, TableSpec
config = TargetConfig(type="iceberg", connection={"warehouse": sys.argv[1]})
writer = dativo_ingest.targets.iceberg.IcebergWriter(config)
table = writer.table(TableSpec("t", "raw", "job", "t", "run"))
batch = pa.record_batch({"id": [1]})
table.load_state()
table.open(batch.schema)
table.write(batch)
table.commit(CommitRequest("c", 0, None, "2026-11-22T00:00:00+00:00"))
print([name for name in ("sqlalchemy", "requests", "fsspec", "boto3", "duckdb") if name in sys.modules])
"""


def test_a_small_job_loads_no_library_that_it_does_not_need(lake: Lake) -> None:
    done = subprocess.run([sys.executable, "-c", LEAN, str(lake.folder)], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
    assert lake.values() == [1]


WRITER = """
import sys
from pathlib import Path
from iceberg_lake import Lake, REJECTED, numbers
lake = Lake(Path(sys.argv[1]))
number = int(sys.argv[2])
for each in range(3):
    lake.load(numbers(number * 10 + each), stream=f"s{number}", rejected=REJECTED)
"""


def test_processes_that_start_at_once_create_one_catalog_and_land_all_their_rows(lake: Lake) -> None:
    support = Path(__file__).parents[2] / "support"
    code = f"import sys; sys.path.insert(0, {str(support)!r})\n{WRITER}"
    # Each creates the same table; who comes second is told to run again, and does.
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(lake.folder), str(number)], stderr=subprocess.PIPE)
        for number in range(3)
    ]
    said = [process.communicate()[1].decode() for process in started]
    again = [number for number, process in enumerate(started) if process.returncode]

    assert all("while this run wrote, somebody else created it" in said[number] for number in again), said
    for number in again:
        for each in range(3):
            lake.load(numbers(number * 10 + each), stream=f"s{number}", rejected=REJECTED)
    assert lake.values() == [0, 1, 2, 10, 11, 12, 20, 21, 22]
    assert lake.rows("t__quarantine").num_rows == 9


def test_an_sql_catalog_at_an_address_is_used_as_it_is(tmp_path: Path) -> None:
    connection = {"uri": f"sqlite:///{tmp_path}/any.db", "warehouse": f"file://{tmp_path}/w", "catalog": "lake"}
    lake = Lake(tmp_path, connection, namespace="raw.deep")

    lake.load(numbers(1), rejected=REJECTED)
    lake.load(numbers(2))

    catalog = SqlCatalog("lake", uri=connection["uri"], warehouse=connection["warehouse"])
    assert sorted(catalog.load_table("raw.deep.t").scan().to_arrow()["id"].to_pylist()) == [1, 2]
    assert catalog.load_table("raw.deep.t__quarantine").scan().to_arrow().num_rows == 1
    catalog.close()
