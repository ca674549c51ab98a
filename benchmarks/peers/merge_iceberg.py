"""Merges 10,000 updates and 500 inserts of random keys into an Iceberg table, by Dativo's target or by pyiceberg.

``make`` writes the table and the changes; ``dativo`` and ``upsert`` merge them, check the result, and print what the
merge alone took, without the start of the process.
"""

import json
import resource
import sys
import time
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog

import dativo_ingest.targets.iceberg.table  # noqa: F401  imported before the clock starts
from dativo_ingest.targets.iceberg import IcebergWriter
from dativo_plugin_sdk import TargetConfig
from dativo_plugin_sdk.tables import CommitRequest, Receipt, TableSpec

UPDATES, INSERTS, BATCH = 10_000, 500, 100_000


def rows(ids: pa.Array, version: int) -> pa.Table:
    """Make rows of ten columns for some keys."""
    count = len(ids)
    numbers = {f"n{index}": pc.add(ids, pa.scalar(index + version, pa.int64())) for index in range(5)}
    texts = {
        f"t{index}": pc.binary_join_element_wise(f"value {index}", ids.cast(pa.string()), " ") for index in range(3)
    }
    return pa.table({"id": ids, **numbers, **texts, "version": pa.repeat(pa.scalar(version, pa.int64()), count)})


def load(folder: Path, data: pa.Table, write: str, partition_by: list[str]) -> Receipt:
    """Carry rows in one run of Dativo's target."""
    target = IcebergWriter(
        TargetConfig(type="iceberg", connection={"warehouse": str(folder)}, credentials={}, options={})
    )
    spec = TableSpec(
        name="t",
        namespace="raw",
        job="bench",
        stream="t",
        run_id=str(uuid.uuid4()),
        write=write,
        primary_key=("id",),
        options={"partition_by": partition_by},
    )
    table = target.table(spec)
    before = table.load_state()
    table.open(data.schema)
    for batch in data.to_batches(max_chunksize=BATCH):
        table.write(batch)
    receipt = table.commit(CommitRequest(str(uuid.uuid4()), before.generation, None, "2026-01-01T00:00:00+00:00"))
    target.close()
    return receipt


def make(folder: Path, count: int, partition_by: list[str]) -> None:
    """Write the table, and beside it the changes: keys from all over it, in no order."""
    every = pa.arange(0, count)
    step = count // UPDATES
    updates = pc.multiply(pa.arange(0, UPDATES), pa.scalar(step, pa.int64()))
    ids = pa.concat_arrays([updates, pa.arange(count, count + INSERTS)])
    shuffled = ids.take(pc.sort_indices(pc.bit_wise_xor(ids, pa.scalar(0x5A5A5, pa.int64()))))
    load(folder, rows(every, 0), "append", partition_by)
    pq.write_table(rows(shuffled, 1), folder / "changes.parquet")


def main() -> None:
    """Do what the command line says."""
    what, folder = sys.argv[1], Path(sys.argv[2])
    if what == "make":
        make(folder, int(sys.argv[3]), sys.argv[4:])
        return
    changes = pq.read_table(folder / "changes.parquet")
    started_s, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    if what == "dativo":
        receipt = load(folder, changes, "merge", [])
        counts = (receipt.inserted, receipt.updated)
    else:
        catalog = SqlCatalog("default", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
        result = catalog.load_table("raw.t").upsert(changes, join_cols=["id"])
        counts = (result.rows_inserted, result.rows_updated)
    after = resource.getrusage(resource.RUSAGE_SELF)
    if counts != (INSERTS, UPDATES):
        sys.exit(f"inserted and updated {counts}")
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(json.dumps({"cpu_s": cpu_s, "wall_s": time.perf_counter() - started_s}))


if __name__ == "__main__":
    main()
