"""Columns whose values repeat have dictionaries, others do without."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dativo_ingest.targets.parquet_encoding import Dictionaries

ROWS = 10_000
EACH = range(ROWS)
COUNTED = {
    "int": pa.array(EACH, pa.int64()),
    "uint8": pa.array([each % 100 for each in EACH], pa.uint8()),
    "float": pa.array(EACH, pa.float32()),
    "decimal": pa.array([Decimal(each) for each in EACH], pa.decimal128(12, 2)),
    "date": pa.array(EACH, pa.date32()),
    "time": pa.array(EACH, pa.time64("us")),
    "moment": pa.array(EACH, pa.timestamp("us", tz="UTC")),
    "text": pa.array([str(each) for each in EACH]),
    "large": pa.array([str(each) for each in EACH], pa.large_string()),
    "bytes": pa.array([each.to_bytes(4) for each in EACH]),
    "fixed": pa.array([each.to_bytes(4) for each in EACH], pa.binary(4)),
    "uuid": pa.array([each.to_bytes(16) for each in EACH], pa.uuid()),
    "a.b": pa.array([f"{each // 2} or so" for each in EACH]),
}
LEFT_ALONE = {
    "flag": pa.array([True] * ROWS),
    "nothing": pa.nulls(ROWS),
    "pair": pa.array([{"x": each, "y": [each]} for each in EACH]),
    "list": pa.array([[each] for each in EACH]),
    "large_list": pa.array([[each] for each in EACH], pa.large_list(pa.int32())),
    "map": pa.array([[("key", each)] for each in EACH], pa.map_(pa.string(), pa.int64())),
}
REPEATED = {"same": pa.repeat(pa.scalar("same"), ROWS), "some": pa.array([each % 1000 for each in EACH])}


def with_dictionaries(table: pa.Table) -> set[str]:
    file = io.BytesIO()
    pq.write_table(table, file, use_dictionary=Dictionaries().paths(table))
    group = pq.ParquetFile(file).metadata.row_group(0)
    columns = [group.column(index) for index in range(group.num_columns)]
    return {column.path_in_schema for column in columns if column.has_dictionary_page}


@pytest.mark.parametrize("name", [name for name in COUNTED if name not in {"uint8", "a.b"}])
def test_a_column_of_distinct_values_has_no_dictionary(name: str) -> None:
    assert with_dictionaries(pa.table({name: COUNTED[name]})) == set()


def test_columns_of_values_that_repeat_have_dictionaries() -> None:
    table = pa.table({**REPEATED, "uint8": COUNTED["uint8"], "a.b": COUNTED["a.b"]})

    assert with_dictionaries(table) == {"same", "some", "uint8", "a.b"}


def test_columns_inside_of_others_keep_theirs() -> None:
    expected = {
        "nothing",
        "pair.x",
        "pair.y.list.element",
        "list.list.element",
        "large_list.list.element",
        "map.key_value.key",
        "map.key_value.value",
    }

    assert with_dictionaries(pa.table(LEFT_ALONE)) == expected


def test_nulls_are_no_values_that_repeat() -> None:
    holes: list[Any] = [each if each % 10 == 0 else None for each in EACH]

    assert with_dictionaries(pa.table({"holes": pa.array(holes, pa.int64())})) == set()


def test_a_few_rows_say_nothing_and_many_decide_for_the_files_after_them() -> None:
    dictionaries = Dictionaries()
    table = pa.table({"int": COUNTED["int"], "same": REPEATED["same"]})
    other = pa.table({"int": REPEATED["same"], "same": COUNTED["int"]})

    found = [dictionaries.paths(each) for each in (table.slice(0, 1000), table, other)]

    assert found == [["int", "same"], ["same"], ["same"]]
