"""What every Dativo writer promises, checked on this one: ``dativo plugin test json_file_writer.py``, or pytest."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from json_file_writer import JSONFileWriter

from dativo_plugin_sdk.testing import Gap, WriterCase, WriterSuite

NO_LOGIN = "a folder of this machine is written without credentials"


class TestJSONFileWriter(WriterSuite):
    """A folder, read as JSON lines."""

    plugin = JSONFileWriter
    gaps = (
        Gap("bad_credentials", "not_applicable", NO_LOGIN),
        Gap("secrets", "not_applicable", NO_LOGIN),
        Gap("bad_host", "not_applicable", "a folder has no host"),
        Gap("types[float32]", "not_supported", "JSON has no NaN and no infinity"),
        Gap("types[float64]", "not_supported", "JSON has no NaN and no infinity"),
    )

    @pytest.fixture
    def writer_case(self, tmp_path: Path) -> WriterCase:
        """Read the files that are visible."""

        def read(name: str) -> list[dict[str, Any]]:
            files = sorted(tmp_path.glob(f"{name}/run-*/*.jsonl"))
            rows = [json.loads(line) for file in files for line in file.read_bytes().splitlines()]
            return [{**row, "bytes": _bytes(row["bytes"])} if "bytes" in row else row for row in rows]

        return WriterCase(read=read, connection={"path": str(tmp_path)})


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
