"""The limits that a manifest may set, a policy may cap, and a grant has: their names, defaults and spelling."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from dativo_ingest.job.durations import duration_text
from dativo_ingest.job.sizes import size_text
from dativo_ingest.sandbox.manifest import Deadlines, Resources


@dataclass(frozen=True)
class Limit:
    """A number that a plugin may not go beyond.

    Attributes:
        section: Where manifests and policies have it: ``resources`` or ``deadlines``.
        name: What they call it there.
        default: What holds where nobody says anything; bytes, seconds or a count.
        text: Writes it as they do.
    """

    section: str
    name: str
    default: float
    text: Callable[[float], str]

    @property
    def key(self) -> str:
        """Its whole name: ``resources.memory``."""
        return f"{self.section}.{self.name}"


def _size(value: float) -> str:
    return size_text(int(value))


def _count(value: float) -> str:
    return f"{value:g}"


LIMITS: Final = {
    limit.key: limit
    for limit in (
        Limit("resources", "memory", 2**30, _size),
        Limit("resources", "cpu", 1.0, _count),
        Limit("resources", "pids", 128, _count),
        Limit("resources", "wall", 24 * 3600.0, duration_text),
        Limit("resources", "tmp", 2**28, _size),
        Limit("resources", "log", 16 * 2**20, _size),
        Limit("resources", "upload", 2**30, _size),
        Limit("resources", "download", 2**40, _size),
        Limit("resources", "connections", 64, _count),
        Limit("deadlines", "start", 60.0, duration_text),
        Limit("deadlines", "check", 120.0, duration_text),
        Limit("deadlines", "discover", 600.0, duration_text),
        Limit("deadlines", "idle", 900.0, duration_text),
    )
}
"""Every limit by its whole name."""


def limits_of(resources: Resources, deadlines: Deadlines) -> Iterator[tuple[Limit, float]]:
    """Give the limits that a manifest or a policy sets, as bytes, seconds and counts."""
    sections = {"resources": resources, "deadlines": deadlines}
    for limit in LIMITS.values():
        value = getattr(sections[limit.section], limit.name)
        if value is not None:
            yield limit, value.total_seconds() if isinstance(value, timedelta) else value
