from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from dativo_ingest.targets.duckdb import DuckDBWriter
from dativo_plugin_sdk import CommitRequest, DataValidationError, InvalidConfigError, TableSpec, TargetConfig

SCHEMA = pa.schema({"k": pa.int64(), "l": pa.string(), "v": pa.int64(), "t": pa.list_(pa.string())})
ROW = st.fixed_dictionaries(
    {
        "k": st.integers(0, 3),
        "l": st.sampled_from(["", "a", "A", "ü"]),
        "v": st.none() | st.integers(-(2**63), 2**63 - 1),
        "t": st.none()
        | st.lists(st.none() | st.text(st.characters(exclude_categories=("Cs",)), max_size=2), max_size=2),
    }
)
RUNS = st.lists(st.lists(st.lists(ROW, max_size=8), max_size=3), min_size=1, max_size=3)


def spec_of(number: int, key: tuple[str, ...]) -> TableSpec:
    return TableSpec(
        name="t",
        namespace=None,
        job="j",
        stream="s",
        run_id=f"run-{number}",
        write="merge",
        primary_key=key,
        buffer_bytes=100,
    )


@settings(max_examples=25)
@given(RUNS, st.sampled_from([("k",), ("l", "k")]))
def test_merging_is_what_a_dict_does(runs, key):
    model: dict[tuple, dict] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.duckdb")
        writer = DuckDBWriter(TargetConfig(type="duckdb", connection={"path": str(path)}))
        for number, batches in enumerate(runs):
            before = dict(model)
            table = writer.table(spec_of(number, key))
            table.open(SCHEMA)
            for rows in batches:
                table.write(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))
                model |= {tuple(row[name] for name in key): row for row in rows}
            touched = {tuple(row[name] for name in key) for row in itertools.chain(*batches)}

            receipt = table.commit(CommitRequest(f"c{number}", number, None, "2026-01-01T00:00:00Z"))

            assert receipt.updated == len(touched & before.keys())
            assert receipt.inserted == len(touched - before.keys())
        writer.close()
        with duckdb.connect(str(path), read_only=True) as connection:
            found = connection.execute("SELECT k, l, v, t FROM t").fetchall()

    assert sorted(map(repr, found)) == sorted(repr(tuple(row[name] for name in SCHEMA.names)) for row in model.values())


def test_merging_into_a_wider_table_leaves_the_other_columns_alone(load, ask):
    load(pa.record_batch({"id": [1, 2], "name": ["a", "b"], "note": ["x", "y"]}))

    receipt, changes = load(
        pa.record_batch({"id": [2, 3], "name": ["B", "C"], "price": [0.5, None]}),
        generation=1,
        write="merge",
        primary_key=("id",),
    )

    assert (receipt.inserted, receipt.updated) == (1, 1)
    assert changes == ["added price DOUBLE"]
    assert ask("FROM raw.orders ORDER BY id") == [(1, "a", "x", None), (2, "B", "y", 0.5), (3, "C", None, None)]


def test_merging_rows_of_nothing_but_a_key_adds_the_missing_ones(load, ask):
    load(pa.record_batch({"id": [1]}))

    receipt, _ = load(pa.record_batch({"id": [1, 2, 2]}), generation=1, write="merge", primary_key=("id",))

    assert (receipt.inserted, receipt.updated) == (1, 1)
    assert ask("FROM raw.orders ORDER BY id") == [(1,), (2,)]


def test_a_row_without_key_cannot_be_merged(table):
    made = table(write="merge", primary_key=("id",))
    made.open(pa.schema({"id": pa.int64()}))

    with pytest.raises(DataValidationError, match="primary_key id is null in 1 of 2 rows"):
        made.write(pa.record_batch({"id": [1, None]}))


def test_a_merge_needs_a_key_that_is_a_column(table):
    with pytest.raises(InvalidConfigError, match="needs primary_key"):
        table(write="merge")
    with pytest.raises(InvalidConfigError, match="primary_key uid is no column; there are: id"):
        table(write="merge", primary_key=("uid",)).open(pa.schema({"id": pa.int64()}))


def test_columns_named_like_the_writers_own_are_merged_too(load, ask):
    batch = pa.record_batch({"_dativo_seq": [1, 1], "new": ["a", "b"], "old": [1, 2]})

    load(batch, write="merge", primary_key=("_dativo_seq",))

    assert ask("FROM raw.orders") == [(1, "b", 2)]
