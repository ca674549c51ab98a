"""How far a cursor is settled: no open transaction can still bring rows that belong before what is read.

What can be known at once is a value and who may still commit rows up to it: the transactions that were open when it was
the highest. Once they have ended the value is safe, whatever began later. So a run waits for them a little, and where
one takes longer leaves value and names to the next run, which finds that they have ended meanwhile: a run then
reads up to where an earlier one would have liked to.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from dativo_ingest.databases.cursor_state import Pending

_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.5

StillOpen: TypeAlias = Callable[[frozenset[str]], frozenset[str]]
"""Of these transactions, those that have not ended; one that goes on under another id is given by that."""


@dataclass(frozen=True)
class Settled:
    """What a run may read, and what the next one must know."""

    bound: Any
    """The value up to which everything is there for good; None where that is not known of any."""
    pending: Pending | None
    """Up to where it will be once certain transactions have ended; None where nothing is left to wait for."""


@dataclass(frozen=True)
class Waiting:
    """How a run waits for transactions.

    Attributes:
        still_open: Asks the database.
        pause: Waits so many seconds, and says whether the run was told to stop.
        timeout_s: How long to wait for transactions to end.
    """

    still_open: StillOpen
    pause: Callable[[float], bool]
    timeout_s: float

    def for_end_of(self, waits: frozenset[str]) -> frozenset[str]:
        """Give those that have not ended within the time."""
        deadline_s = time.monotonic() + self.timeout_s
        pause_s = _FIRST_PAUSE_S
        while waits:
            waits = self.still_open(waits)
            if not waits or time.monotonic() + pause_s > deadline_s or self.pause(pause_s):
                break
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return waits


def settle(candidate: Any, waits: frozenset[str], pending: Pending | None, waiting: Waiting) -> Settled:
    """Find how far to read.

    Args:
        candidate: The value to read up to.
        waits: The transactions that may still commit rows up to it, asked for after the value was known.
        pending: What the last run left.
        waiting: How to wait.
    """
    waits = waiting.for_end_of(waits)
    if not waits:
        return Settled(candidate, None)
    if pending is None:
        return Settled(None, Pending(candidate, waits))
    left = waiting.still_open(pending.waits)
    if not left:
        return Settled(pending.value, Pending(candidate, waits))
    return Settled(None, pending if left <= pending.waits else Pending(pending.value, left))
