"""Every format read from a bucket of a real S3 service: the same bytes, and errors that name the object."""

from __future__ import annotations

import gzip
import io
import json
import uuid

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import ipc

from dativo_ingest.sources import parquet
from dativo_ingest.sources.arrow import ArrowReader
from dativo_ingest.sources.json import JsonLinesReader, JsonReader
from dativo_ingest.sources.parquet import ParquetReader
from dativo_plugin_sdk import DataFormatError, Rows, SourceConfig, StreamSpec

ROWS = [{"id": number, "name": f"naïve {number}"} for number in range(5000)]
TABLE = pa.Table.from_pylist(ROWS)
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def as_parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(TABLE, sink, row_group_size=1000)
    return sink.getvalue()


def as_arrow(new=ipc.new_file) -> bytes:
    sink = io.BytesIO()
    with new(sink, TABLE.schema) as writer:
        writer.write_table(TABLE, 1000)
    return sink.getvalue()


FORMATS = [
    pytest.param(JsonLinesReader, "a.jsonl", LINES, id="jsonl"),
    pytest.param(JsonLinesReader, "a.jsonl.gz", gzip.compress(LINES), id="packed jsonl"),
    pytest.param(JsonReader, "a.json", json.dumps(ROWS).encode(), id="json"),
    pytest.param(ParquetReader, "a.parquet", as_parquet(), id="parquet"),
    pytest.param(ArrowReader, "a.arrow", as_arrow(), id="arrow file"),
    pytest.param(ArrowReader, "a.arrow", as_arrow(ipc.new_stream), id="arrow stream"),
]


def read(s3, reader_class, name: str) -> list[dict]:
    reader = reader_class(
        SourceConfig(
            type="files",
            connection={"path": f"s3://{s3.bucket}/{name}", "endpoint": s3.endpoint, "region": s3.region},
            credentials=s3.credentials,
        )
    )
    stream = StreamSpec("stream", schema=TABLE.schema, batch_bytes=64 * 2**10, parallelism=2)
    messages = [message for part in reader.partitions(stream, None) for message in reader.read(stream, part, None)]
    reader.close()
    return [row for message in messages if isinstance(message, Rows) for row in message.batch.to_pylist()]


@pytest.mark.parametrize(("reader_class", "name", "content"), FORMATS)
def test_an_object_is_read_as_a_file_is(s3, reader_class, name, content):
    key = f"formats-{uuid.uuid4().hex}/{name}"
    s3.write(key, content)

    assert read(s3, reader_class, key) == ROWS


@pytest.mark.parametrize(("reader_class", "name", "content"), FORMATS[1:])
def test_an_object_cut_short_is_a_format_error_that_names_it(s3, reader_class, name, content):
    key = f"formats-{uuid.uuid4().hex}/{name}"
    s3.write(key, content[: len(content) * 2 // 3])

    with pytest.raises(DataFormatError, match=key):
        read(s3, reader_class, key)


def test_row_groups_too_large_to_fetch_whole_are_read_too(s3, monkeypatch):
    monkeypatch.setattr(parquet, "_READ_AHEAD_BYTES", 1)
    key = f"formats-{uuid.uuid4().hex}/a.parquet"
    s3.write(key, as_parquet())

    assert read(s3, ParquetReader, key) == ROWS
