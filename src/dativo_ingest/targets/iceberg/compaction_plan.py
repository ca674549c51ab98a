"""Which data files to write anew, and which of them together: decided from manifests alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyiceberg.manifest import FileFormat

if TYPE_CHECKING:
    from collections.abc import Hashable

    from dativo_ingest.targets.iceberg.live_files import LiveFile, LiveFiles
    from dativo_plugin_sdk import Compaction

SMALL_BELOW = 0.75
"""The part of its target size below which a file counts as small."""


@dataclass(frozen=True)
class Bin:
    """Data files whose rows become one file, or, where the partitioning was changed, one in each partition."""

    files: Sequence[LiveFile]
    same_partition: bool


def is_small(file: LiveFile, target_bytes: int) -> bool:
    """Say whether a file is well below the size that it should have."""
    return file.file.file_size_in_bytes < SMALL_BELOW * target_bytes


def plan_bins(live: LiveFiles, spec_id: int, asked: Compaction, target_bytes: int) -> list[Bin]:
    """Put the files that are worth it into bins of about the target size, the files of a bin being next in age.

    Files of an older partitioning go together, whatever partition they were in: the current one tells them apart anew.

    Args:
        live: What the table consists of.
        spec_id: The table's partitioning.
        asked: What makes a file worth it.
        target_bytes: The size of a file.
    """
    groups: dict[Hashable, list[LiveFile]] = {}
    for file in live.files.values():
        if file.file.file_format != FileFormat.PARQUET:
            continue
        if is_small(file, target_bytes) or _loses_rows(file, asked):
            place = (file.file.partition,) if file.file.spec_id == spec_id else None
            groups.setdefault(place, []).append(file)
    return [
        Bin(files, same_partition=place is not None)
        for place, group in groups.items()
        for files in _packed(group, target_bytes)
        if len(files) >= max(2, asked.min_input_files) or any(_loses_rows(file, asked) for file in files)
    ]


def useless_deletes(live: LiveFiles, rewritten: frozenset[str]) -> frozenset[str]:
    """Give the files of deletes that no data file needs once some data files are written anew."""
    needed = {each.file_path for path, file in live.files.items() if path not in rewritten for each in file.deletes}
    return frozenset(live.deletes) - needed


def _loses_rows(file: LiveFile, asked: Compaction) -> bool:
    deletes = len(file.deletes)
    return deletes > 0 and (
        deletes >= asked.min_delete_files or file.deleted_rows >= asked.min_deleted_ratio * file.file.record_count
    )


def _packed(files: Sequence[LiveFile], target_bytes: int) -> list[list[LiveFile]]:
    """Fill one bin after the other in the order of age: rows that came together stay together."""
    bins: list[list[LiveFile]] = []
    room = 0
    for file in sorted(files, key=lambda each: (each.sequence_number, each.file.file_path)):
        if not bins or file.live_bytes > room:
            bins.append([])
            room = target_bytes
        bins[-1].append(file)
        room -= file.live_bytes
    return bins
