"""Keys that the source has no more, of any type and any number."""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings, strategies as st

from dativo_ingest.targets.absent_keys import AbsentKeys
from dativo_plugin_sdk import KeyComparison

SCHEMA = pa.schema([("a", pa.large_string()), ("b", pa.int64())])
keys = st.lists(st.tuples(st.text("ab\0é", max_size=2), st.integers(-2, 2)), max_size=12)
MILLION = """
    import resource
    from collections.abc import Iterator

    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from dativo_ingest.targets.absent_keys import AbsentKeys

    SCHEMA = pa.schema([("key", pa.large_string())])


    def batches(count: int, but: int) -> Iterator[pa.RecordBatch]:
        for start in range(0, count, 20_000):
            numbers = np.arange(start, start + 20_000)
            texts = pc.cast(pa.array(numbers[numbers % but != 0]), pa.string())
            texts = pc.binary_join_element_wise("f" * 200, texts, "-")
            yield pa.RecordBatch.from_arrays([pc.cast(texts, pa.large_string())], schema=SCHEMA)


    next(batches(20_000, 3))
    made = AbsentKeys(SCHEMA, run_id="run", memory_bytes=64 * 2**20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = made.compare(batches(1_000_000, 3), batches(1_000_000, 7))
    gone = sum(batch.num_rows for batch in made.batches())
    made.close()
    print(found.source_keys, found.table_rows, found.absent, gone)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def compare(schema: pa.Schema, source: list[Any], table: list[Any]) -> tuple[KeyComparison, list[Any]]:
    def batches(rows: list[Any]) -> Iterator[pa.RecordBatch]:
        for start in range(0, len(rows), 5):
            found = [dict(zip(schema.names, row, strict=True)) for row in rows[start : start + 5]]
            yield pa.RecordBatch.from_pylist(found, schema)

    made = AbsentKeys(schema, run_id="run", memory_bytes=2**20)
    try:
        found = made.compare(batches(source), batches(table))
        absent = [tuple(row.values()) for batch in made.batches() for row in batch.to_pylist()] if found.absent else []
        return found, absent
    finally:
        made.close()


@settings(max_examples=30)
@given(source=keys, table=keys)
def test_absent_is_what_the_table_has_and_the_source_has_not(source: list[Any], table: list[Any]) -> None:
    found, absent = compare(SCHEMA, source, table)

    assert sorted(absent) == sorted(each for each in table if each not in source)
    assert (found.table_rows, found.absent) == (len(table), len(absent))
    assert found.source_keys == (len(source) if table else 0)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        pytest.param(pa.bool_(), [True, False], id="boolean"),
        pytest.param(pa.uint64(), [2**64 - 1, 0], id="unsigned"),
        pytest.param(pa.decimal128(38, 10), ["1.5", "-9999999999999999999999999999.0000000001"], id="decimal"),
        pytest.param(pa.timestamp("us", "UTC"), [-(2**62), 2**62], id="moment"),
        pytest.param(pa.timestamp("ns", "UTC"), [1, 2], id="nanoseconds"),
        pytest.param(pa.date32(), [-700_000, 2_000_000], id="day"),
        pytest.param(pa.time64("us"), [0, 86_399_999_999], id="time of day"),
        pytest.param(pa.large_binary(), [b"\xff\0", b"\xff"], id="bytes"),
        pytest.param(pa.uuid(), [b"\0" * 16, b"\xff" * 16], id="uuid"),
        pytest.param(pa.large_string(), ["a\0b", "a"], id="text"),
    ],
)
def test_a_key_of_any_type_comes_back_as_it_was(kind: Any, values: list[Any]) -> None:
    storage = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    made = pa.array(values, storage) if not pa.types.is_decimal(kind) else pa.array(values).cast(kind)
    column = pa.ExtensionArray.from_storage(kind, made) if isinstance(kind, pa.BaseExtensionType) else made
    schema = pa.schema([("key", kind)])
    both = pa.RecordBatch.from_arrays([column], schema=schema)
    compared = AbsentKeys(schema, run_id="run", memory_bytes=2**20)

    found = compared.compare(iter([both.slice(1)]), iter([both]))
    absent = list(compared.batches())
    compared.close()

    assert found.absent == 1
    assert absent == [both.slice(0, 1)]


def test_rows_without_a_key_are_left_out() -> None:
    found, absent = compare(SCHEMA, [("a", 1)], [("a", 1), (None, 1), ("a", None), ("b", 1)])

    assert (found.table_rows, absent) == (2, [("b", 1)])


def test_a_million_keys_of_two_hundred_bytes_take_little_memory() -> None:
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(MILLION)], capture_output=True, text=True, check=True)

    counts, used_mb = done.stdout.splitlines()
    assert counts == "666666 857142 285714 285714"
    assert int(used_mb) < 200, "the keys of both sides are 300 MB"
