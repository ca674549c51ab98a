"""A reader and a writer that do what a test's job tells them in ``source.options``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dativo_plugin_sdk import BaseReader, BaseWriter, ConnectionTestResult, DiscoveryResult, errors

COLUMNS = [{"name": "id", "type": "integer"}, {"name": "note", "type": "string"}]


class Reader(BaseReader):
    """Yields ``rows`` rows; ``raises: {class, message, ...}`` fails after ``rows_before`` of them."""

    __version__ = "3.1.0"

    def check_connection(self) -> ConnectionTestResult:
        """Answer what ``check`` says."""
        answer = self.source_config.options.get("check")
        if answer is not None:
            return ConnectionTestResult(**answer)
        self._raise()
        return ConnectionTestResult(success=True, message="API accessible", details={"api_version": "v1"})

    def discover(self) -> DiscoveryResult:
        """Offer two tables."""
        self._raise()
        return DiscoveryResult(
            objects=[
                {"name": "orders", "type": "table", "columns": COLUMNS},
                {"name": "customers", "type": "table", "columns": COLUMNS[:1]},
            ],
            metadata={"database": "production"},
        )

    def extract(self, state_manager: Any = None) -> Iterator[list[dict[str, Any]]]:
        """Yield rows in batches of 2."""
        options = self.source_config.options
        rows = [{"id": number, "note": f"row {number}"} for number in range(options.get("rows", 3))]
        for start in range(0, len(rows), 2):
            time.sleep(options.get("pause_s", 0))
            yield rows[start : start + 2]
        self._raise()

    def _raise(self) -> None:
        raises = self.source_config.options.get("raises")
        if raises is None or raises.get("only", self.source_config.objects[0]) != self.source_config.objects[0]:
            return
        error_class = getattr(errors, raises["class"], RuntimeError)
        raise error_class(raises.get("message", "as the job says"))


class Silent(BaseReader):
    """Has nothing but what it must have."""

    def extract(self, state_manager: Any = None) -> Iterator[list[dict[str, Any]]]:
        """Yield one row."""
        yield [{"id": 1}]


class Writer(BaseWriter):
    """Writes JSON lines."""

    def check_connection(self) -> ConnectionTestResult:
        """Succeed."""
        return ConnectionTestResult(success=True, message="folder is writable")

    def write_batch(self, records: Any, file_counter: int) -> list[dict[str, Any]]:
        """Write one file a batch."""
        folder = Path(self.output_base) / self.asset_definition.name
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{file_counter:05}.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return [{"path": str(path), "size_bytes": path.stat().st_size}]
