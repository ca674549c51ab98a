"""Runs a command and measures it: CPU seconds, wall seconds, peak memory of its largest process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

_SETTLE_S = 0.2  # for a server to end the sessions that were left


@dataclass(frozen=True)
class Measured:
    """One run of one command; ``cpu_s`` counts its children, ``peak_mb`` is MiB resident.

    ``others`` is what else the command said of itself.
    """

    cpu_s: float
    wall_s: float
    peak_mb: float
    output: str
    others: Mapping[str, float] = field(default_factory=dict)


def measure(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    server_cpu_s: Callable[[], float] | None = None,
) -> Measured:
    """Run a command to its end.

    Args:
        command: The program and its arguments.
        cwd: Where to run it.
        env: Variables beside those of this process.
        server_cpu_s: Tells what a server that the command asks has taken so far; what it takes meanwhile is added.

    Raises:
        SystemExit: It failed; its output is shown.
    """
    server_before_s = server_cpu_s() if server_cpu_s else 0.0
    started_s = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None  # noqa: S101  it is a pipe
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - started_s
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} failed with {process.returncode}:\n{output}")
    client_s, peak_mb = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
    if server_cpu_s is None:
        return Measured(client_s, wall_s, peak_mb, output)
    time.sleep(_SETTLE_S)
    server_s = server_cpu_s() - server_before_s
    return Measured(client_s + server_s, wall_s, peak_mb, output, {"client CPU s": client_s, "server CPU s": server_s})


def as_told(measured: Measured) -> Measured:
    """Take what the command's last line says of its work alone, instead of what the whole process took."""
    told = json.loads(measured.output.splitlines()[-1])
    return Measured(told.pop("cpu_s"), told.pop("wall_s"), told.pop("peak_mb"), measured.output, told)


def with_rate(measured: Measured, rows: int) -> Measured:
    """Tell how many rows a second a run carried, too."""
    return replace(measured, others={**measured.others, "rows/s": rows / measured.wall_s})


def best(runs: Sequence[Measured]) -> Measured:
    """Give the run with the fewest CPU seconds: what a busy neighbour adds is never negative."""
    return min(runs, key=lambda run: run.cpu_s)


def median(runs: Sequence[Measured]) -> Measured:
    """Give the run in the middle by CPU seconds."""
    return sorted(runs, key=lambda run: run.cpu_s)[len(runs) // 2]
