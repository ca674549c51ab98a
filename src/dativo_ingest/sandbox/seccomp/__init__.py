"""Which system calls a plugin may make: one profile for every back end, and what the kernel takes of it.

The files are written by deploy/seccomp/make_profile.py, which says why a call is in them; they are read as what they
were when they were written, or not at all.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from dativo_ingest.sandbox.controls import Finding, unavailable
from dativo_ingest.sandbox.seccomp.digests import SHA256
from dativo_plugin_sdk.errors import SandboxError

PROFILE: Final = "plugin-v1"
"""The name of what is enforced, for reports."""

_FOLDER = Path(__file__).parent


def profile() -> bytes:
    """Give the profile as container engines take it: JSON of the OCI's runtime specification, ``linux.seccomp``.

    Raises:
        SandboxError: It is missing, or is not what it should be.
    """
    return _verified(f"{PROFILE}.json")


def profile_path() -> Path:
    """Give where `profile` is, for an engine that reads it by itself."""
    return _FOLDER / f"{PROFILE}.json"


def program(machine: str | None = None) -> bytes:
    """Give the profile as the kernel takes it: instructions of ``seccomp(2)``.

    Args:
        machine: As ``uname -m`` calls it; this one, if None.

    Raises:
        SandboxError: It is missing, or is not what it should be, or there is none for such a machine.
    """
    machine = machine or os.uname().machine
    if f"{PROFILE}.{machine}.bpf" not in SHA256:
        raise _not_had(
            f"there is no list of allowed system calls for {machine}",
            remedy="use a machine of x86_64 or aarch64, or the container back end with a runtime of its own kernel",
        )
    return _verified(f"{PROFILE}.{machine}.bpf")


def _verified(name: str) -> bytes:
    path = _FOLDER / name
    remedy = "install dativo-ingest again"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _not_had(f"{path}: {error.strerror}", remedy=remedy) from error
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise _not_had(f"{path} is not as it was installed", remedy=remedy)
    return content


def _not_had(why: str, *, remedy: str) -> SandboxError:
    finding = Finding("system_calls", "absent", why, remedy)
    return unavailable(f"the system calls of plugins cannot be limited: {why}", hint=remedy, controls=(finding,))
