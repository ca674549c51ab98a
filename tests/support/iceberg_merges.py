"""Rows and runs that merge, as several tests of the Iceberg target use them."""

import datetime as dt
from typing import Any

import pyarrow as pa
from iceberg_lake import Gone, Lake

from dativo_plugin_sdk.tables import Receipt

SCHEMA = pa.schema([("id", pa.int64()), ("region", pa.string()), ("at", pa.timestamp("us")), ("text", pa.string())])


def rows(*ids: int, text: str = "new", region: str = "eu", day: int = 1) -> pa.RecordBatch:
    """Rows of one region and day."""
    count = len(ids)
    at = [dt.datetime(2026, 1, day, tzinfo=dt.UTC)] * count
    return pa.record_batch([ids, [region] * count, at, [f"{text} {each}" for each in ids]], schema=SCHEMA)


def gone(*ids: int) -> Gone:
    """The keys of rows to delete."""
    return Gone(pa.record_batch({"id": pa.array(ids, pa.int64())}))


def merge(lake: Lake, *batches: pa.RecordBatch | Gone, key: tuple[str, ...] = ("id",), **settings: Any) -> Receipt:
    if all(isinstance(each, Gone) for each in batches):
        settings.setdefault("schema", SCHEMA)
    return lake.load(*batches, write="merge", primary_key=key, **settings)
