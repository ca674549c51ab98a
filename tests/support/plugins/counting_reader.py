"""A reader plugin that counts: from its state up to the number in a file, with a bad row for each hundred."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dativo_plugin_sdk import BaseReader, DiscoveryResult

_PAGE = 20
_A_BAD_ONE = 100


class CountingReader(BaseReader):
    """Reads rows by pages; a state after each."""

    def discover(self) -> DiscoveryResult:
        """Offer one stream."""
        columns = [{"name": "id", "type": "integer", "nullable": False}, {"name": "label", "type": "string"}]
        return DiscoveryResult([{"name": "events", "type": "endpoint", "columns": columns}])

    def extract(self, state_manager: Any = None) -> Iterator[list[dict[str, Any]]]:
        """Yield pages."""
        start = state_manager.get("at", 0)
        end = int(Path(self.source_config.connection["path"]).read_text())
        for first in range(start, end, _PAGE):
            time.sleep(self.source_config.options.get("pause_s", 0))
            yield [row(number) for number in range(first, min(first + _PAGE, end))]
            state_manager.set("at", min(first + _PAGE, end))


def row(number: int) -> dict[str, Any]:
    """Make a row, of which some have an id that is none."""
    return {"id": f"none {number}" if number % _A_BAD_ONE == 0 else number, "label": f"row {number}"}
