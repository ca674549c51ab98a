"""Reading of whole files through a reader, as the engine does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from dativo_plugin_sdk import Rejected, Rows, SourceConfig, State, StateChanged, StreamReader, StreamSpec, Warned


@dataclass
class Reading:
    """What a reader yielded, put together."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    lines: list[int | None] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    batches: list[pa.RecordBatch] = field(default_factory=list)
    source_bytes: int = 0
    state: State | None = None
    schema: pa.Schema | None = None


ReadFiles = Callable[..., Reading]


@pytest.fixture
def read_files() -> ReadFiles:
    """Read a path with a reader class: ``read_files(Reader, path, schema=None, state=None, mode=…, **options)``."""
    return _read


def _read(
    reader_class: type[StreamReader],
    path: Path | str,
    schema: pa.Schema | None = None,
    *,
    state: State | None = None,
    mode: str = "full_refresh",
    batch_bytes: int = 2**20,
    parallelism: int = 1,
    **options: Any,
) -> Reading:
    reader = reader_class(SourceConfig(type="files", connection={"path": str(path)}, options=options))
    asked = StreamSpec("stream", mode=mode, batch_bytes=batch_bytes, parallelism=parallelism)  # type: ignore[arg-type]  # one of the modes
    if schema is None:
        schema = reader.schema(asked)
    spec = StreamSpec("stream", mode=mode, schema=schema, batch_bytes=batch_bytes, parallelism=parallelism)  # type: ignore[arg-type]  # one of the modes
    reading = Reading(schema=schema)
    for partition in reader.partitions(spec, state):
        for message in reader.read(spec, partition, state):
            if isinstance(message, Rows):
                reading.rows += message.batch.to_pylist()
                reading.lines += _lines(message)
                reading.batches.append(message.batch)
                reading.source_bytes += message.source_bytes
            elif isinstance(message, Rejected):
                reading.rejected += message.batch.to_pylist()
            elif isinstance(message, Warned):
                reading.warnings.append(message.message)
            elif isinstance(message, StateChanged):
                reading.state = message.state
    reader.close()
    return reading


def _lines(rows: Rows) -> list[int | None]:
    if rows.lines is not None:
        return rows.lines.to_pylist()
    if rows.first_line is not None:
        return list(range(rows.first_line, rows.first_line + rows.batch.num_rows))
    return [None] * rows.batch.num_rows
