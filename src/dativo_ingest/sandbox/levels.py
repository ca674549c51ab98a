"""How far a plugin is kept from the machine: four levels, in order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias, get_args

from dativo_ingest.job.model import Isolation

__all__ = ["ISOLATIONS", "Backend", "Isolation", "Mode", "is_at_least", "weakest"]

Backend: TypeAlias = Literal["none", "process", "container"]
Mode: TypeAlias = Literal["self_hosted", "cloud"]

ISOLATIONS: Final[tuple[Isolation, ...]] = get_args(Isolation)
"""From the least to the most: no sandbox; namespaces and filters; those of a container engine; a kernel of its own."""


def is_at_least(found: Isolation, wanted: Isolation) -> bool:
    """Say whether a level is as much as another one, or more."""
    return ISOLATIONS.index(found) >= ISOLATIONS.index(wanted)


def weakest(levels: Iterable[Isolation]) -> Isolation | None:
    """Give the least of some levels; None of none."""
    return min(levels, key=ISOLATIONS.index, default=None)
