from collections.abc import Iterable

import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from dativo_ingest.steps.batch_bytes import Merger, split


def batch_of(texts: list[str]) -> pa.RecordBatch:
    return pa.record_batch({"text": pa.array(texts, pa.string())})


def test_parts_take_at_most_the_bytes_asked_for():
    batch = batch_of(["x" * 1000] * 100)

    parts = list(split(batch, 10_000))

    assert all(part.nbytes <= 10_000 for part in parts)
    assert pa.concat_batches(parts).equals(batch)


def test_a_part_shares_the_batchs_memory():
    batch = pa.record_batch({"n": pa.array(range(1000), pa.int64())})

    first, second = split(batch, 4000)

    whole = batch["n"].buffers()[1].address
    assert (first["n"].buffers()[1].address, second["n"].offset) == (whole, 500)


def test_a_single_row_larger_than_that_stays_whole():
    parts = list(split(batch_of(["x" * 5_000_000, "y"]), 1000))

    assert [part.num_rows for part in parts] == [1, 1]


def test_a_slice_counts_what_it_shows_and_not_what_it_shares():
    small = batch_of(["x" * 1000] * 1000).slice(10, 2)

    assert list(split(small, 10_000)) == [small]


def test_nothing_comes_from_nothing():
    assert list(split(batch_of([]), 10)) == []
    assert Merger(10).flush() is None
    assert Merger(10).push(batch_of([])) is None


def test_small_batches_are_put_together_until_the_target():
    merger = Merger(1000)

    given_back = [merger.push(batch_of(["x" * 196])) for _ in range(6)]

    assert [None if batch is None else batch.num_rows for batch in given_back] == [None, None, None, None, 5, None]
    assert merger.waiting_bytes > 0
    assert merger.flush().num_rows == 1
    assert merger.waiting_bytes == 0


def test_a_large_batch_passes_without_a_copy():
    batch = batch_of(["x" * 900])

    assert Merger(1000).push(batch) is batch


def resized(batches: Iterable[pa.RecordBatch], target_bytes: int) -> list[pa.RecordBatch]:
    """Split what is too large and merge what is too small, as the pipeline does."""
    merger = Merger(target_bytes)
    merged = [merger.push(part) for batch in batches for part in split(batch, target_bytes)]
    return [batch for batch in [*merged, merger.flush()] if batch is not None]


@given(st.lists(st.lists(st.text(max_size=50), max_size=20), max_size=20), st.integers(1, 2000))
def test_rows_and_their_order_stay(lists, target):
    batches = [batch_of(texts) for texts in lists]

    sized = resized(batches, target)

    assert [row for batch in sized for row in batch["text"].to_pylist()] == [row for texts in lists for row in texts]
    assert all(batch.num_rows for batch in sized)


@pytest.mark.parametrize("target", [1, 10**9])
def test_a_thousand_columns_are_split_and_merged(target):
    batch = pa.record_batch({f"c{index}": [1, 2, 3] for index in range(1000)})

    assert pa.Table.from_batches(resized([batch, batch], target)).num_rows == 6
