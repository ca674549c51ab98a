"""Reads a whole table that was merged into twenty times, before and after its compaction, and one freshly written.

``prepare FOLDER COUNT [PARTITION]`` makes both, and tells what the merges and the compaction took. ``read FOLDER CASE
ENGINE`` reads one of them by ``pyiceberg``, or by ``duckdb`` with its own Iceberg extension, and prints what that took.
"""

from __future__ import annotations

import json
import sys
import uuid
from pathlib import Path

import pyarrow as pa
from clock import clock

MERGES = 20
BATCH_ROWS = 100_000


def prepare(folder: Path, count: int, partition: str | None) -> None:
    """Make the tables."""
    from merge import changes, rows  # noqa: PLC0415  another environment reads
    from target import catalog, iceberg, load  # noqa: PLC0415

    from dativo_plugin_sdk import Compaction, TableSpec  # noqa: PLC0415

    merged, fresh = folder / "merged", folder / "fresh"
    data = rows(pa.arange(0, count), 0)
    options = {"partition_by": [partition] if partition else []}
    load(iceberg(merged), data.to_batches(BATCH_ROWS), data.schema, options=options)
    del data
    print("| step | CPU s | wall s | MB more at its peak |\n|---|---|---|---|")
    for number in range(1, MERGES + 1):
        changed = changes(count, number)
        with clock() as measured:
            load(iceberg(merged), changed.to_batches(BATCH_ROWS), changed.schema, write="merge")
        if number in {1, 2, 5, 10, 15, 20}:
            _tell(f"merge {number}", measured)
    places = {"merged": catalog(merged).load_table("raw.t").metadata_location}
    target = iceberg(merged)
    spec = TableSpec(name="t", namespace="raw", job="bench", stream="t", run_id=str(uuid.uuid4()), options=options)
    (care,) = target.care(spec)
    with clock() as measured:
        done = care.compact(Compaction(), dry_run=False)
    target.close()
    _tell("compaction", measured)
    print(f"\n{done}")
    table = catalog(merged).load_table("raw.t")
    places["compacted"] = table.metadata_location
    reader = table.scan().to_arrow_batch_reader()
    load(iceberg(fresh), reader, reader.schema, options=options)
    places["fresh"] = catalog(fresh).load_table("raw.t").metadata_location
    (folder / "places.json").write_text(json.dumps(places), encoding="utf-8")


def _tell(step: str, measured: object) -> None:
    print(f"| {step} | {measured.cpu_s:.2f} | {measured.wall_s:.2f} | {measured.peak_mb:.0f} |", flush=True)


def read(folder: Path, case: str, engine: str) -> None:
    """Read all rows in batches, and forget them."""
    place = json.loads((folder / "places.json").read_text(encoding="utf-8"))[case]
    if engine == "duckdb":
        import duckdb  # noqa: PLC0415  of this case alone
        import duckdb_extension_avro  # noqa: PLC0415
        import duckdb_extension_iceberg  # noqa: PLC0415

        database = duckdb.connect()
        for module, name in ((duckdb_extension_avro, "avro"), (duckdb_extension_iceberg, "iceberg")):
            (found,) = Path(module.__file__).parent.rglob(f"{name}.duckdb_extension")
            database.execute(f"LOAD '{found}'")
        with clock() as measured:
            query = database.sql(f"SELECT * FROM iceberg_scan('{place.removeprefix('file://')}')")  # noqa: S608  our own
            count = sum(batch.num_rows for batch in query.to_arrow_reader(BATCH_ROWS))
    else:
        from pyiceberg.table import StaticTable  # noqa: PLC0415  of this case alone

        with clock() as measured:
            count = sum(batch.num_rows for batch in StaticTable.from_metadata(place).scan().to_arrow_batch_reader())
    measured.show(rows=count)


if __name__ == "__main__":
    what, where, *others = sys.argv[1:]
    if what == "prepare":
        prepare(Path(where), int(others[0]), others[1] if len(others) > 1 else None)
    else:
        read(Path(where), *others)
