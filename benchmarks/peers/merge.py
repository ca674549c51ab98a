"""Merges 10,000 updates and 500 inserts of random keys into a table, by Dativo's targets, pyiceberg or deltalake.

``merge.py make FOLDER COUNT KEY FORMAT [PARTITION]`` writes the table and the changes. ``merge.py CASE FOLDER KEY
[PARTITION]`` merges them, checks the counts, and prints what the merge alone took, without the start of the process.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from clock import clock
from target import catalog, delta, duckdb, iceberg, load

UPDATES, INSERTS, BATCH_ROWS, BUCKETS = 10_000, 500, 100_000, 16
KEYS = {"id": ["id"], "pair": ["shop", "number"], "text": ["name"]}


def rows(ids: pa.Array, version: int, key: str = "id") -> pa.Table:
    """Make rows of ten columns or so for some numbers; ``key`` says in which columns the number is."""
    keys: dict[str, Any] = {"id": ids}
    if key == "pair":
        shops = pc.divide(ids, pa.scalar(5000, pa.int64()))
        keys = {"shop": shops, "number": pc.subtract(ids, pc.multiply(shops, pa.scalar(5000, pa.int64())))}
    elif key == "text":
        keys = {"name": pc.binary_join_element_wise("customer", ids.cast(pa.string()), "-")}
    numbers = {f"n{index}": pc.add(ids, pa.scalar(index + version, pa.int64())) for index in range(5)}
    texts = {
        f"t{index}": pc.binary_join_element_wise(f"value {index}", ids.cast(pa.string()), " ") for index in range(3)
    }
    return pa.table({**keys, **numbers, **texts, "version": pa.repeat(pa.scalar(version, pa.int64()), len(ids))})


def changes(count: int, number: int, key: str = "id") -> pa.Table:
    """Make the rows of one merge into a table of ``count`` rows: keys from all over it, in no order."""
    inserted = count + (number - 1) * INSERTS
    updates = pc.add(pc.multiply(pa.arange(0, UPDATES), count // UPDATES), number * 7 % (count // UPDATES))
    ids = pa.concat_arrays([updates, pa.arange(inserted, inserted + INSERTS)])
    return rows(ids.take(pc.sort_indices(pc.bit_wise_xor(ids, pa.scalar(0x5A5A5, pa.int64())))), number, key)


def _with_bucket(data: pa.Table) -> pa.Table:
    """Add the column that stands for a bucket where there are no transforms."""
    return data.append_column("bucket", pc.bit_wise_and(data["id"], pa.scalar(BUCKETS - 1, pa.int64())))


def make(folder: Path, count: int, key: str, kind: str, partition: str | None) -> None:
    """Write the table, and beside it the changes."""
    data, changed = rows(pa.arange(0, count), 0, key), changes(count, 1, key)
    if kind == "delta":
        from deltalake import WriterProperties, write_deltalake  # noqa: PLC0415  of this case alone

        if partition:
            data, changed = _with_bucket(data), _with_bucket(changed)
        compression = WriterProperties(compression="ZSTD", compression_level=1)
        by = ["bucket"] if partition else None
        write_deltalake(folder / "raw" / "t", data, partition_by=by, writer_properties=compression)
    else:
        target = duckdb(folder) if kind == "duckdb" else iceberg(folder)
        options = {"partition_by": [partition]} if partition else {}
        load(target, data.to_batches(BATCH_ROWS), data.schema, primary_key=tuple(KEYS[key]), options=options)
    pq.write_table(changed, folder / "changes.parquet")


def _by(target: Callable[[Path], Any]) -> Callable[[Path, pa.Table, str], tuple[int | None, int | None]]:
    def merge(folder: Path, changed: pa.Table, key: str) -> tuple[int | None, int | None]:
        batches = changed.to_batches(BATCH_ROWS)
        receipt = load(target(folder), batches, changed.schema, write="merge", primary_key=tuple(KEYS[key]))
        return receipt.inserted, receipt.updated

    return merge


def _pyiceberg(folder: Path, changed: pa.Table, key: str) -> tuple[int, int]:
    result = catalog(folder).load_table("raw.t").upsert(changed, join_cols=KEYS[key])
    return result.rows_inserted, result.rows_updated


def _deltalake(folder: Path, changed: pa.Table, key: str) -> tuple[int, int]:
    from deltalake import DeltaTable, WriterProperties  # noqa: PLC0415  of this case alone

    by = [*KEYS[key], "bucket"] if "bucket" in changed.column_names else KEYS[key]
    found = (
        DeltaTable(folder / "raw" / "t")
        .merge(
            changed,
            " AND ".join(f"old.{name} = new.{name}" for name in by),
            source_alias="new",
            target_alias="old",
            writer_properties=WriterProperties(compression="ZSTD", compression_level=1),
        )
        .when_matched_update_all()
        .when_not_matched_insert_all()
        .execute()
    )
    return found["num_target_rows_inserted"], found["num_target_rows_updated"]


CASES: dict[str, Callable[[Path, pa.Table, str], tuple[int | None, int | None]]] = {
    "dativo": _by(iceberg),
    "dativo-delta": _by(delta),
    "dativo-duckdb": _by(duckdb),
    "upsert": _pyiceberg,
    "deltalake": _deltalake,
}


def main() -> None:
    """Do what the command line says."""
    what, folder, *others = sys.argv[1:]
    if what == "make":
        count, key, kind, *partition = others
        make(Path(folder), int(count), key, kind, partition[0] if partition else None)
        return
    changed = pq.read_table(Path(folder) / "changes.parquet")
    if what in {"deltalake", "dativo-delta"}:
        import deltalake  # noqa: F401, PLC0415  before the clock starts
    with clock() as measured:
        counts = CASES[what](Path(folder), changed, others[0])
    if counts != (INSERTS, UPDATES):
        sys.exit(f"inserted and updated {counts}")
    measured.show()


if __name__ == "__main__":
    main()
