"""Sources that say what became of each row: merged with deletes, marked, or kept as a log, on every target."""

import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from workshop import Workshop

from dativo_ingest.cli.program import dativo

CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: orders
version: 1.0.0
status: active
schema:
- name: orders
  properties:
  - {name: id, logicalType: integer, required: true}
  - {name: text, logicalType: string, required: true}
"""
MERGE = {"mode": "incremental", "primary_key": "id", "write": "merge"}
FIRST = "_dativo_op,id,text\nc,1,one\nc,2,two\nc,3,three\nr,4,four\nd,4,\n"
SECOND = "_dativo_op,id,text\nu,1,ONE\nd,2,\nd,9,\nd,3,\nc,3,again\n"
BOTH = {1: "ONE", 3: "again"}
CURRENT = """
    WITH truncated AS (
        SELECT _dativo_run_id AS run, _dativo_seq AS seq
        FROM orders WHERE _dativo_op = 't' ORDER BY run DESC, seq DESC LIMIT 1
    )
    SELECT orders.id, orders.text
    FROM orders LEFT JOIN truncated ON true
    WHERE run IS NULL OR _dativo_run_id > run OR (_dativo_run_id = run AND _dativo_seq > seq)
    QUALIFY row_number() OVER (PARTITION BY id ORDER BY _dativo_run_id DESC, _dativo_seq DESC) = 1 AND _dativo_op <> 'd'
"""


@pytest.fixture(params=["iceberg", "delta", "duckdb"])
def merging(request: pytest.FixtureRequest, tmp_path: Path) -> Workshop:
    """A folder with a job, once for each target that merges."""
    return Workshop(tmp_path, target=request.param, in_process=True)


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path, target="duckdb", in_process=True)


def csv_job(shop: Workshop, stream: dict[str, Any], **settings: Any) -> Workshop:
    source = {"connector": "csv", "connection": {"path": str(shop.folder / "*.csv")}}
    return shop.job(source, {"orders": stream}, **settings)


def load(shop: Workshop, name: str, text: str, *arguments: str, code: int = 0) -> Any:
    (shop.folder / name).write_text(text)
    ran = shop.run(*arguments)
    assert ran.code == code, ran.said
    return ran


def texts(shop: Workshop, table: str = "orders") -> dict[int, str]:
    return {row["id"]: row["text"] for row in shop.table(table).to_pylist()}


def test_deleted_rows_go_and_the_report_counts_them(merging: Workshop) -> None:
    csv_job(merging, MERGE)

    first = load(merging, "1.csv", FIRST)
    second = load(merging, "2.csv", SECOND)

    assert texts(merging) == BOTH
    assert sorted(merging.table("orders").column_names) == ["id", "text"]
    kinds = ("read", "written", "inserted", "updated", "deleted", "quarantined", "skipped")
    assert [first.rows[kind] for kind in kinds] == [5, 5, 3, 0, 0, 0, 0]
    assert [second.rows[kind] for kind in kinds] == [5, 5, 0, 2, 1, 0, 0]


@pytest.mark.parametrize("connector", ["json", "jsonl", "parquet", "arrow"])
def test_the_column_is_found_beside_a_contract_that_does_not_name_it(shop: Workshop, connector: str) -> None:
    rows = [{"_dativo_op": "c", "id": 1, "text": "one"}, {"_dativo_op": "c", "id": 2, "text": "two"}]
    gone = [{"_dativo_op": "d", "id": 1}]
    (shop.folder / "orders.odcs.yaml").write_text(CONTRACT)
    stream = {**MERGE, "contract": "orders.odcs.yaml", "extra_columns": "fail"}
    shop.job({"connector": connector, "connection": {"path": str(shop.folder / f"?.{connector}")}}, {"orders": stream})

    for name, content in (("1", rows), ("2", gone)):
        _write(shop.folder / f"{name}.{connector}", content)
        ran = shop.run()
        assert ran.code == 0, ran.said

    assert texts(shop) == {2: "two"}
    assert (ran.rows["deleted"], ran.rows["quarantined"]) == (1, 0)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    match path.suffix:
        case ".json":
            path.write_text(json.dumps(rows))
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        case _:
            table = pa.Table.from_pylist(rows)
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
                file.write_table(table)


def test_a_column_of_another_name_is_not_data_either(shop: Workshop) -> None:
    csv_job(shop, {**MERGE, "op_column": "op"})

    load(shop, "1.csv", "op,id,text\nr,1,one\nc,2,two\nd,1,one\n")

    assert shop.table("orders").to_pylist() == [{"id": 2, "text": "two"}]


def test_rows_without_a_known_op_are_quarantined(merging: Workshop) -> None:
    csv_job(merging, MERGE)

    ran = load(merging, "1.csv", "_dativo_op,id,text\nc,1,one\nD,2,two\n,3,three\nd,,four\n")

    assert texts(merging) == {1: "one"}
    found = [(row["column"], row["rule"], row["line"]) for row in merging.table("orders__quarantine").to_pylist()]
    assert sorted(found) == [("_dativo_op", "op", 3), ("_dativo_op", "op", 4), ("id", "required", 5)]
    assert [ran.rows[kind] for kind in ("read", "written", "quarantined")] == [4, 1, 3]


def test_files_without_ops_are_merged_as_rows_beside_files_with_them(merging: Workshop) -> None:
    csv_job(merging, MERGE)

    load(merging, "1.csv", "id,text\n1,one\n2,two\n")
    load(merging, "2.csv", SECOND)
    load(merging, "3.csv", "id,text\n1,plain\n")

    assert texts(merging) == {1: "plain", 3: "again"}


def test_plain_rows_and_changes_of_one_run_keep_their_order(shop: Workshop) -> None:
    (shop.folder / "1.csv").write_text("id,text\n1,one\n2,two\n")
    (shop.folder / "2.csv").write_text("_dativo_op,id,text\nd,1,\nu,2,TWO\n")
    csv_job(shop, MERGE)

    load(shop, "3.csv", "id,text\n3,three\n")

    assert texts(shop) == {2: "TWO", 3: "three"}


def test_soft_deletes_keep_the_row_and_mark_it_until_it_comes_back(merging: Workshop) -> None:
    (merging.folder / "orders.odcs.yaml").write_text(CONTRACT)
    csv_job(merging, {**MERGE, "deletes": "soft", "contract": "orders.odcs.yaml"})

    load(merging, "1.csv", FIRST)
    ran = load(merging, "2.csv", "_dativo_op,id,text\nd,1,\nd,2,bye\nc,4,back\n")

    found = {row["id"]: (row["text"], row["_dativo_deleted"]) for row in merging.table("orders").to_pylist()}
    assert found == {1: (None, True), 2: ("bye", True), 3: ("three", False), 4: ("back", False)}
    assert (ran.rows["updated"], ran.rows["deleted"]) == (3, 0)


def test_soft_deletes_mark_rows_of_a_source_without_ops_as_there(shop: Workshop) -> None:
    csv_job(shop, {**MERGE, "deletes": "soft"})

    load(shop, "1.csv", "id,text\n1,one\n")
    load(shop, "2.csv", "id,text\n2,two\n", "--full-refresh")

    assert [(row["id"], row["_dativo_deleted"]) for row in shop.table("orders").to_pylist()] == [(1, False), (2, False)]


LOADS = [
    FIRST,
    SECOND,
    "_dativo_op,id,text\nd,1,\nc,5,five\nu,5,FIVE\nc,6,six\n",
    "_dativo_op,id,text\nc,7,seven\nd,6,\nd,7,\nc,6,six again\n",
]


def test_the_current_rows_of_a_changelog_are_those_of_a_merge(each_target: Workshop, tmp_path_factory: Any) -> None:
    each_target.in_process = True
    merged = Workshop(tmp_path_factory.mktemp("merged"), target="duckdb", in_process=True)
    csv_job(each_target, {"mode": "incremental", "primary_key": "id", "changelog": True})
    csv_job(merged, MERGE)

    for number, text in enumerate(LOADS):
        ran = load(each_target, f"{number}.csv", text)
        load(merged, f"{number}.csv", text)

        orders = each_target.table("orders")
        with duckdb.connect() as database:
            database.register("orders", orders)
            found = dict(database.execute(CURRENT).fetchall())
        assert found == texts(merged)
        assert ran.report["streams"][0]["write"] == "append"
    assert orders.num_rows == sum(text.count("\n") - 1 for text in LOADS)
    assert set(orders.column_names) - {"id", "text"} == {
        "_dativo_op",
        "_dativo_run_id",
        "_dativo_seq",
        "_dativo_loaded_at",
    }


def test_rows_before_a_truncate_are_not_current(shop: Workshop) -> None:
    csv_job(shop, {"mode": "incremental", "primary_key": "id", "changelog": True})
    load(shop, "1.csv", FIRST)

    load(shop, "2.csv", "_dativo_op,id,text\nu,1,ONE\nt,,\nc,2,new\n")

    with duckdb.connect() as database:
        database.register("orders", shop.table("orders"))
        assert database.execute(CURRENT).fetchall() == [(2, "new")]


@pytest.mark.parametrize(
    ("mode", "arguments", "op"),
    [("incremental", [], "u"), ("full_refresh", [], "r"), ("incremental", ["--full-refresh"], "r")],
)
def test_a_changelog_of_a_source_without_ops_says_how_rows_were_read(
    shop: Workshop, mode: str, arguments: list[str], op: str
) -> None:
    csv_job(shop, {"mode": mode, "changelog": True})

    load(shop, "1.csv", "id,text\n1,one\n2,two\n", *arguments)

    rows = shop.table("orders").to_pylist()
    assert [(row["id"], row["_dativo_op"], row["_dativo_seq"]) for row in rows] == [(1, op, 1), (2, op, 2)]


def test_a_truncate_cannot_be_merged(merging: Workshop) -> None:
    csv_job(merging, MERGE)
    load(merging, "1.csv", FIRST)

    ran = load(merging, "2.csv", "_dativo_op,id,text\nt,,\nc,1,new\n", code=65)

    assert "1 row(s) with op t say that the source's table was emptied" in ran.said
    assert texts(merging) == {1: "one", 2: "two", 3: "three"}


def test_a_full_refresh_does_not_replace_a_table_by_changes(merging: Workshop) -> None:
    csv_job(merging, MERGE)
    load(merging, "1.csv", FIRST)

    ran = load(merging, "2.csv", SECOND, "--full-refresh", code=65)

    assert "a full refresh cannot replace the table by them" in ran.said
    assert texts(merging) == {1: "one", 2: "two", 3: "three"}


def test_a_column_of_ops_that_is_named_must_be_there(shop: Workshop) -> None:
    (shop.folder / "orders.odcs.yaml").write_text(CONTRACT)

    for contract in ({}, {"contract": "orders.odcs.yaml"}):
        csv_job(shop, {**MERGE, "op_column": "op", **contract})
        ran = load(shop, "1.csv", "id,text\n1,one\n", code=65)
        assert "the rows have no column op, which op_column names; there are: id, text" in ran.said


def test_a_dry_run_and_a_preview_tell_what_would_be_deleted_and_write_nothing(shop: Workshop) -> None:
    csv_job(shop, MERGE)

    dry = load(shop, "1.csv", FIRST, "--dry-run")
    shown = json.loads(CliRunner().invoke(dativo, ["preview", "--config", str(shop.config), "--json"]).stdout)

    assert (dry.rows["read"], dry.rows["written"]) == (5, 5)
    (stream,) = shown["streams"]
    assert [row["id"] for row in stream["rows"]] == [1, 2, 3]
    assert stream["deleted"] == [{"id": 4}]
    assert not shop.place.exists()


def test_a_limit_takes_the_first_changes_and_leaves_the_state(shop: Workshop) -> None:
    csv_job(shop, MERGE)

    load(shop, "1.csv", FIRST, "--limit", "4")
    limited = texts(shop)
    load(shop, "1.csv", FIRST)

    assert limited == {1: "one", 2: "two", 3: "three", 4: "four"}
    assert texts(shop) == {1: "one", 2: "two", 3: "three"}


def test_streams_that_share_a_table_delete_from_it_by_key(merging: Workshop) -> None:
    streams = {
        name: {**MERGE, "table": "orders", "path": str(merging.folder / f"{name}*.csv")} for name in ("eu", "us")
    }
    merging.job({"connector": "csv"}, streams)
    (merging.folder / "eu1.csv").write_text("_dativo_op,id,text\nc,1,one\nc,2,two\n")
    load(merging, "us1.csv", "_dativo_op,id,text\nc,11,one\nd,1,\n")

    load(merging, "us2.csv", "_dativo_op,id,text\nd,11,\nc,12,twelve\n")

    assert texts(merging) == {2: "two", 12: "twelve"}
