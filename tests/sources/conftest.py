"""Reading of whole files through a reader, as the engine does it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from file_reading import Reading, config, read_stream

from dativo_plugin_sdk import State, StreamReader

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
    reader = reader_class(config(path, **options))
    reading = read_stream(reader, state, schema, mode=mode, batch_bytes=batch_bytes, parallelism=parallelism)
    reader.close()
    return reading
