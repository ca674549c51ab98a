"""Python's collector of cycles rests while a run starts, and then leaves alone what starting made.

Imports make some hundred thousand objects that stay until the process ends. To look at them again and again takes a
seventh of the CPU time of a small run.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_rests = threading.Event()


@contextmanager
def resting() -> Iterator[None]:
    """Let the collector rest until `wake` is called, or to the end of the block; one that is off is left alone."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    _rests.set()
    try:
        yield
    finally:
        _rests.clear()
        gc.enable()
        gc.unfreeze()  # libraries look at the end whether all that they made has gone


def wake() -> None:
    """Let the collector look at what is made from now on, if it rests."""
    if _rests.is_set():
        _rests.clear()
        gc.freeze()
        gc.enable()
