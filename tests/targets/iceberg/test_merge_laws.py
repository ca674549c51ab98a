"""Whatever runs merge, in whatever layout and whatever others do to the files: the table holds the last row per key."""

import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import given, settings, strategies as st
from iceberg_cares import compact
from iceberg_lake import Gone, Lake

SCHEMA = pa.schema([("tenant", pa.string()), ("id", pa.int64()), ("region", pa.string()), ("value", pa.int64())])
LAYOUTS = [
    [],
    ["bucket(2, id)"],
    ["region"],
    ["truncate(3, id)"],
    ["tenant", "bucket(2, id)"],
    ["region", "truncate(1, tenant)"],
]
Row = tuple[str, int, str, int]

rows = st.tuples(st.sampled_from(["a", "b"]), st.integers(-6, 6), st.sampled_from(["eu", "us"]), st.integers(0, 99))
batches = st.one_of(st.lists(rows, max_size=12), st.sets(rows.map(lambda row: row[:2]), max_size=6))
"""Rows to write, or the keys of rows to delete."""
runs = st.lists(
    st.one_of(st.lists(batches, max_size=3), st.sampled_from(["rewrite", "delete", "compact"])), min_size=2, max_size=5
)


@settings(max_examples=15, deadline=None)
@given(runs=runs, layout=st.sampled_from(LAYOUTS), key=st.sampled_from([("tenant", "id"), ("id",)]), sort=st.booleans())
def test_runs_of_merges_leave_what_a_dict_would_hold(
    runs: list[Any], layout: list[str], key: tuple[str, ...], sort: bool
) -> None:
    options: dict[str, Any] = {"partition_by": layout, "sort_by": ["value desc"] if sort else []}
    model: dict[tuple[Any, ...], Row] = {}
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Path(folder) / "warehouse")
        lake.load(schema=SCHEMA, write="merge", primary_key=key, options=options)
        for run in runs:
            if isinstance(run, str):
                _foreign(lake, run, model)
                continue
            before = set(model)
            touched: set[tuple[Any, ...]] = set()
            for batch in run:
                for row in batch:
                    named = dict(zip(SCHEMA.names, row, strict=False))
                    found = tuple(named[name] for name in key)
                    touched.add(found)
                    if isinstance(batch, set):
                        model.pop(found, None)
                    else:
                        model[found] = row
            receipt = lake.load(
                *(_keys(batch, key) if isinstance(batch, set) else _batch(batch) for batch in run),
                schema=SCHEMA,
                write="merge",
                primary_key=key,
                options=options,
                buffer_bytes=2_000,
            )

            written = touched & set(model)
            assert (receipt.inserted, receipt.updated) == (len(written - before), len(written & before))
            assert receipt.deleted == len((touched & before) - written)
            found_rows = [tuple(each.values()) for each in lake.rows().select(SCHEMA.names).to_pylist()]
            assert sorted(found_rows) == sorted(model.values())


def _batch(batch: list[Row]) -> pa.RecordBatch:
    columns = list(zip(*batch, strict=True)) if batch else [[]] * len(SCHEMA)
    return pa.record_batch(
        [pa.array(list(each), field.type) for each, field in zip(columns, SCHEMA, strict=True)], SCHEMA
    )


def _keys(keys: set[tuple[str, int]], key: tuple[str, ...]) -> Gone:
    named = [{"tenant": tenant, "id": number} for tenant, number in sorted(keys)]
    distinct = {tuple(each[name] for name in key): each for each in named}
    fields = pa.schema([SCHEMA.field(name) for name in key])
    return Gone(pa.RecordBatch.from_pylist([{name: each[name] for name in key} for each in distinct.values()], fields))


def _foreign(lake: Lake, what: str, model: dict[tuple[Any, ...], Row]) -> None:
    """Let another program rewrite the table or delete from it, or the table be compacted."""
    if what == "compact":
        compact(lake, min_input_files=2)
    gone = {found for found, row in model.items() if row[1] == 2}
    with lake.table() as table:
        if what == "rewrite" and model:
            table.overwrite(table.scan().to_arrow())
        elif what == "delete" and gone:
            table.delete("id = 2")
            for found in gone:
                del model[found]
