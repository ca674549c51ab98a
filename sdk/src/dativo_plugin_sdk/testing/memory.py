"""How much memory something takes at most, as the kernel counts it."""

from __future__ import annotations

import gc
from pathlib import Path

from dativo_plugin_sdk.testing.gaps import NotApplicableError

_PROCESS = Path("/proc/self")


def begin_peak() -> None:
    """Let the kernel count this process's peak from now on.

    Raises:
        NotApplicableError: It cannot: this is no Linux.
    """
    gc.collect()
    try:
        (_PROCESS / "clear_refs").write_text("5")  # proc(5): resets the peak resident set size
    except OSError as error:
        raise NotApplicableError(f"the peak of memory is only known on Linux: {error}") from error


def peak_bytes() -> int:
    """Give the most memory that this process has had since `begin_peak`."""
    for line in (_PROCESS / "status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise NotApplicableError("the kernel does not tell the peak of memory")
