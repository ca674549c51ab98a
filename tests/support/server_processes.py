"""Servers that tests start: they refuse to run as root, so nobody runs them, and they end with the test process."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_NOBODY = 65534
_PR_SET_PDEATHSIG = 1


@contextmanager
def server_folder(name: str) -> Iterator[Path]:
    """Give a new folder that whoever runs the server can read; it is gone afterwards.

    pytest's own folders are closed to nobody, and the home of a root user may be.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"dativo-{name}-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def start(
    command: Sequence[str],
    folder: Path,
    output: Any,
    *,
    end_by: signal.Signals,
    stdin: Any = subprocess.DEVNULL,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program as nobody where this is root; it gets the signal when this process ends, however that ends."""
    libc = ctypes.CDLL(None)
    user: dict[str, Any] = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if is_root() else {}
    return subprocess.Popen(
        list(command),
        cwd=folder,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C", **(environment or {})},
        stdin=stdin,
        stdout=output,
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, end_by),  # noqa: PLW1509  one function of the C library
        **user,
    )


def give_away(*paths: Path) -> None:
    """Give files and folders to whoever runs the server."""
    if is_root():
        for path in paths:
            os.chown(path, _NOBODY, _NOBODY)


def is_root() -> bool:
    """Say whether root runs the tests."""
    return os.geteuid() == 0


def free_port() -> int:
    """Find a port of loopback that nobody has."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
