"""A Parquet footer whose bounds of dates and moments are plain numbers, as Iceberg keeps them.

pyiceberg asks pyarrow for them as Python's dates, which are none before the year 1 and after 9999.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq


@dataclass(frozen=True)
class _Seen:
    """Something of the footer, with some of its attributes replaced."""

    _plain: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)


class PlainBounds(_Seen):
    """A footer, as far as `data_file_statistics_from_parquet_metadata` looks at it."""

    def __init__(self, metadata: pq.FileMetaData) -> None:
        super().__init__(metadata)

    def row_group(self, number: int) -> Any:
        """Give a row group with plain bounds."""
        return _RowGroup(self._plain.row_group(number))


class _RowGroup(_Seen):
    def column(self, number: int) -> Any:
        return _Column(self._plain.column(number))


class _Column(_Seen):
    @property
    def statistics(self) -> Any:
        found = self._plain.statistics
        is_moment = found is not None and found.logical_type.type in {"DATE", "TIMESTAMP"}
        return _Statistics(found) if is_moment else found


class _Statistics(_Seen):
    @property
    def min(self) -> Any:
        return self._plain.min_raw

    @property
    def max(self) -> Any:
        return self._plain.max_raw
