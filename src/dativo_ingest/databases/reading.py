"""The rows of a stream on their way to the target, while the image of the database that they are of is held open."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Protocol

import pyarrow as pa

from dativo_ingest.databases.read_ahead import Limit, ReadAhead
from dativo_ingest.databases.stopwatch import Stopwatch
from dativo_plugin_sdk import Rows, TimeoutError

_MIB = 2**20


class ImageOptions(Protocol):
    """How long an image may be held open, and what waits where the target is slow."""

    @property
    def max_snapshot_age_s(self) -> float:
        """Give the most seconds; 0 is for ever."""

    @property
    def spill_after_s(self) -> float:
        """Say after how many seconds rows begin to wait on local disk."""

    @property
    def spill_mb(self) -> int:
        """Say how many MiB may wait there; 0 is none."""


def rows_of_image(
    batches: Generator[pa.RecordBatch, None, None],
    title: str,
    options: ImageOptions,
    *,
    stop: threading.Event,
    sever: Callable[[], None],
) -> Generator[Rows, None, list[str]]:
    """Give the rows, ahead of a slow target, for as long as the image may be held open.

    Args:
        batches: What is read.
        title: What it is called.
        options: What the job says of the image.
        stop: Set where the rows are not all taken; ``batches`` looks at it.
        sever: Ends what the server is being asked, from another thread.

    Returns:
        What the report must say.

    Raises:
        TimeoutError: The image got too old.
    """
    target = Stopwatch()

    def too_old() -> TimeoutError:
        return _too_old(title, options.max_snapshot_age_s, target.total_s)

    ahead = ReadAhead(
        batches,
        stop=stop,
        after_s=options.spill_after_s if options.spill_mb else None,
        disk_bytes=options.spill_mb * _MIB,
        limit=Limit(options.max_snapshot_age_s, sever, too_old) if options.max_snapshot_age_s else None,
    )
    with closing(ahead.items()) as found:
        for batch in found:
            with target.running():
                yield Rows(batch, source=title, source_bytes=0)
    if not ahead.stored_bytes:
        return ahead.warnings
    waited = f"{ahead.stored_bytes / _MIB:,.0f} MiB waited on local disk"
    return [
        *ahead.warnings,
        f"the target was slower than {title}: {waited}, so that the image that was read did not have to be kept",
    ]


def _too_old(title: str, max_s: float, waited_s: float) -> TimeoutError:
    return TimeoutError(
        f"{title}: the image of the database that is read is {max_s:,.0f} s old and was let go of;"
        f" {waited_s:,.0f} s of them went by waiting for the target",
        details={"max_snapshot_age_s": max_s, "waited_for_target_s": round(waited_s, 1)},
        hint="raise source.options.max_snapshot_age_s where the server can bear old row versions for so long;"
        + (
            " a larger spill_mb lets rows wait on local disk instead"
            if waited_s > max_s / 2
            else " limits.parallelism reads faster"
        ),
    )
