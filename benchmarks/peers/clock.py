"""Measures a part of a process: CPU seconds of all its threads, wall seconds, and by how much its memory grew."""

from __future__ import annotations

import contextlib
import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path

_STATUS = Path("/proc/self/status")


class Clock:
    """What was measured; ``peak_mb`` is above what the process had resident when the clock started, in MiB."""

    cpu_s: float
    wall_s: float
    peak_mb: float

    def show(self, **others: float) -> None:
        """Print it as the last line, for `bench.py` to read."""
        print(json.dumps({"cpu_s": self.cpu_s, "wall_s": self.wall_s, "peak_mb": self.peak_mb, **others}))


@contextlib.contextmanager
def clock() -> Iterator[Clock]:
    """Measure what is done inside."""
    measured = Clock()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5): the peak begins anew
    before_mb, before_s, started_s = _status_mb("VmRSS"), _cpu_s(), time.perf_counter()
    yield measured
    measured.wall_s = time.perf_counter() - started_s
    measured.cpu_s = _cpu_s() - before_s
    measured.peak_mb = max(0.0, _status_mb("VmHWM") - before_mb)


def _cpu_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _status_mb(key: str) -> float:
    line = next(line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) / 1024
