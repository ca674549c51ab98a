"""How soon a thread that waits for the interpreter gets it.

Threads that read, parse and write spend their time in libraries, which need no interpreter, and come back for moments.
To wait for one of the others as long as Python lets it, 5 ms, would be longer than most of their work takes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_INTERVAL_S = 0.0005


@contextmanager
def quick_switching() -> Iterator[None]:
    """Let threads take turns soon, to the end of the block."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(min(before_s, _INTERVAL_S))
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)
