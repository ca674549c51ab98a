"""A plugin of ten rows, so that a job of it is all start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dativo_plugin_sdk import BaseReader


class TenRows(BaseReader):
    """Yields them as dicts."""

    def extract(self, state_manager: Any = None) -> Iterator[list[dict[str, Any]]]:  # noqa: ARG002
        """Yield one page."""
        yield [{"id": at} for at in range(10)]
