"""Transactions of others that hold incremental runs back: rows that they may still commit belong before those read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from dativo_plugin_sdk import DatabaseLockError

_WARN_S = 300.0
_NAMED = 3
"""How many transactions a warning lists."""


@dataclass(frozen=True)
class OpenTransaction:
    """One that is open, or prepared and neither committed nor rolled back."""

    id: str
    """Its own, as long as it is open."""
    who: str
    """For messages: ``pid 12 of app (worker, idle in transaction)``."""
    age_s: float | None = None
    """None where nobody says."""
    way_out: str = ""
    """What ends it."""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Say who it is, and since when."""
        return self.who if self.age_s is None else f"{self.who}, open for {_shown(self.age_s)}"


def told_of(
    stream: str, holding: Iterable[OpenTransaction], max_lag: timedelta | None, *, waited: bool = False
) -> list[str]:
    """Say who holds a stream back.

    Args:
        stream: Its name.
        holding: The transactions.
        max_lag: How old one may become.
        waited: Whether nothing new could be read before they end, so that even young ones are worth a warning.

    Raises:
        DatabaseLockError: One is older than ``max_lag``.
    """
    known = sorted(holding, key=lambda each: each.age_s or 0.0, reverse=True)
    if max_lag is not None:
        for each in known:
            if each.age_s is not None and each.age_s > max_lag.total_seconds():
                raise DatabaseLockError(
                    f"stream {stream}: {each.title}, holds the watermark back: rows that are newer cannot be read;"
                    f" max_watermark_lag allows {_shown(max_lag.total_seconds())}",
                    details={"stream": stream, "age_s": round(each.age_s), **each.details},
                    hint=each.way_out or None,
                )
    old = [each for each in known if waited or (each.age_s or 0.0) > _WARN_S]
    if not old:
        return []
    more = f" and {len(old) - _NAMED} more" if len(old) > _NAMED else ""
    way_out = f"; {old[0].way_out}" if old[0].way_out else ""
    named = ", ".join(each.title for each in old[:_NAMED])
    return [f"the watermark is held back by {named}{more}: rows that are newer wait for the next run{way_out}"]


def _shown(seconds: float) -> str:
    if seconds < 120:  # noqa: PLR2004  two minutes
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"  # noqa: PLR2004  two hours
