"""Work in threads whose results come in order, with a bound on what is under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

from dativo_ingest.sources.csv_blocks import Block
from dativo_ingest.sources.csv_parse import Parsed

Item = TypeVar("Item")


def in_order(
    work: Callable[[Block], Parsed], blocks: Iterator[Block], *, threads: int, window_bytes: int
) -> Iterator[Parsed]:
    """Yield ``work(block)`` for each block, in their order.

    Args:
        work: May run in ``threads`` threads at once.
        blocks: Taken as room comes free, in the calling thread.
        threads: How many blocks to work on at a time; with one, or a single block, the calling thread does it.
        window_bytes: About how many bytes of blocks may be under way; one block always may.
    """
    first = list(islice(blocks, 2))
    if threads == 1 or len(first) < 2:  # noqa: PLR2004  one block needs no pool
        for block in chain(first, blocks):
            yield work(block)
        return
    waiting: deque[tuple[Future[Parsed], int]] = deque()
    under_way_bytes = 0
    pool = ThreadPoolExecutor(threads, thread_name_prefix="csv")
    try:
        for block in chain(first, blocks):
            waiting.append((pool.submit(work, block), len(block.data)))
            under_way_bytes += len(block.data)
            while len(waiting) > 1 and (under_way_bytes >= window_bytes or len(waiting) > threads + 1):
                done, size_bytes = waiting.popleft()
                under_way_bytes -= size_bytes
                yield done.result()
        while waiting:
            yield waiting.popleft()[0].result()
    finally:
        pool.shutdown(cancel_futures=True)
