"""Appends rows of ten columns to a table, by Dativo's target or a peer, or writes them as one Parquet file.

``make FILE COUNT ORDER`` writes the rows as an Arrow file, their days in ``random`` or in ``day`` order; ``copy`` makes
a Parquet file of it. The other commands (``CASE FILE FOLDER [day]``) take the rows into memory, then start the clock.
Everybody compresses with zstd of level 1.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from clock import clock
from pyiceberg.transforms import DayTransform
from target import catalog, iceberg, load

BATCH_ROWS = 100_000
DAYS = 90
_DAY_US = 86_400_000_000
_FIRST_US = 1_735_689_600_000_000  # 2025-01-01
_STATUSES = pa.array(["new", "paid", "packed", "shipped", "returned"])
_PLACES = pa.array(["berlin", "paris", "rome", "madrid", "vienna", "prague", "warsaw", "athens", "lisbon", "dublin"])


def _batch(random: np.random.Generator, start: int, rows: int, times: np.ndarray) -> pa.RecordBatch:
    def some(of: pa.Array) -> pa.Array:
        return of.take(pa.array(random.integers(0, len(of), rows)))

    def text(*parts: object) -> pa.Array:
        return pc.binary_join_element_wise(*parts, " ")

    customers = pa.array(random.integers(0, 500_000, rows))
    numbers = pa.array(random.integers(0, 10_000_000, rows)).cast(pa.string())
    return pa.record_batch(
        {
            "id": pa.array(np.arange(start, start + rows)),
            "ts": pa.array(times + _FIRST_US).cast(pa.timestamp("us", tz="UTC")),
            "customer": customers,
            "quantity": pa.array(random.integers(1, 100, rows).astype(np.int32)),
            "amount": pa.array(random.random(rows) * 10_000).cast(pa.decimal128(12, 2)),
            "score": pa.array(random.random(rows)),
            "status": some(_STATUSES),
            "place": some(_PLACES),
            "contact": text("customer no.", customers.cast(pa.string())),
            "note": text("order no.", numbers, "to", some(_PLACES)),
        }
    )


def make(path: Path, count: int, order: str) -> None:
    """Write rows of about 100 bytes each, the same on every machine."""
    random = np.random.default_rng(7)
    with pa.OSFile(str(path), "wb") as file:
        writer = None
        for start in range(0, count, BATCH_ROWS):
            rows = min(BATCH_ROWS, count - start)
            times = random.integers(0, DAYS * _DAY_US, rows)
            if order == "day":
                times = np.arange(start, start + rows) * (DAYS * _DAY_US // count)
            batch = _batch(random, start, rows, times)
            writer = writer or pa.ipc.new_file(file, batch.schema)
            writer.write_batch(batch)
        if writer is not None:
            writer.close()


def _dativo(rows: pa.Table, folder: Path, partition: str | None) -> None:
    options = {"partition_by": [f"{partition}(ts)"] if partition else []}
    load(iceberg(folder), rows.to_batches(), rows.schema, options=options)


def _pyarrow(rows: pa.Table, folder: Path, _partition: str | None) -> None:
    pq.write_table(rows, folder / "out.parquet", compression="zstd", compression_level=1)


def _pyiceberg(rows: pa.Table, folder: Path, partition: str | None) -> None:
    tables = catalog(folder)
    tables.create_namespace("raw")
    properties = {"write.parquet.compression-codec": "zstd", "write.parquet.compression-level": "1"}
    table = tables.create_table("raw.t", rows.schema, properties=properties)
    if partition:
        with table.update_spec() as update:
            update.add_field("ts", DayTransform(), "ts_day")
    table.append(rows)


def _deltalake(rows: pa.Table, folder: Path, partition: str | None) -> None:
    from deltalake import WriterProperties, write_deltalake  # noqa: PLC0415  of this case alone

    if partition:  # Delta has no transforms: such a column is a part of its rows
        rows = rows.append_column("day", pc.cast(rows["ts"], pa.date32()))
    properties = WriterProperties(compression="ZSTD", compression_level=1)
    write_deltalake(folder / "t", rows, partition_by=["day"] if partition else None, writer_properties=properties)


CASES: dict[str, Callable[[pa.Table, Path, str | None], None]] = {
    "dativo": _dativo,
    "pyarrow": _pyarrow,
    "pyiceberg": _pyiceberg,
    "deltalake": _deltalake,
}


def main() -> None:
    """Do what the command line says."""
    if sys.argv[1] == "make":
        make(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
        return
    case, source, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    with pa.OSFile(str(source)) as file, pa.ipc.open_file(file) as reader:
        rows = reader.read_all()
    if case == "copy":
        pq.write_table(rows, folder, compression="zstd", compression_level=1)
        return
    with clock() as measured:
        CASES[case](rows, folder, sys.argv[4] if len(sys.argv) > 4 else None)
    files = [path for path in folder.rglob("*.parquet") if "metadata" not in path.parts]
    measured.show(files=len(files), written_mb=sum(path.stat().st_size for path in files) / 2**20)


if __name__ == "__main__":
    main()
