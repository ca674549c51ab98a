"""What a benchmark consists of: contenders for one piece of work, and what they are held to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Case:
    """One contender: its name and what runs it, given a fresh folder."""

    name: str
    command: Callable[[Path], Sequence[str | Path]]
    verify: Callable[[Path], None] | None = None
    """Looks at what the run left in the folder and raises where it is not what it should be."""
    rows: int | None = None
    """How many rows it carries, where their rate is to be told."""


@dataclass(frozen=True)
class Benchmark:
    """Contenders for one piece of work; ratios are to ``floor``."""

    title: str
    floor: str | tuple[str, ...]
    """A case, or several of which the best counts, for CPU and wall time each."""
    by: str
    limits: dict[str, float]
    cases: Callable[..., list[Case]]
    """Given the scale, and what is served."""
    inside: bool = False
    """Whether a case prints what its work alone took; otherwise the whole process counts."""
    limits_of_wall: dict[str, float] = field(default_factory=dict)
    """Limits of wall time, where ``limits`` are of CPU seconds."""
    limits_of_peak_mb: dict[str, float] = field(default_factory=dict)
    """Limits of peak memory, in MiB."""
    limits_above_floor_s: dict[str, float] = field(default_factory=dict)
    """How many seconds of wall time a case may take beyond its floor."""
    at_least: dict[str, dict[str, float]] = field(default_factory=dict)
    """What a case must reach of what it tells beside time and memory, such as ``rows/s``."""
    floors: dict[str, str | tuple[str, ...]] = field(default_factory=dict)
    """Cases whose ratios are to another one than ``floor``."""
    serve: Callable[[float], AbstractContextManager[Any]] | None = None
    """Starts the server that all cases read; its CPU time counts as theirs."""
