"""What this machine has of a sandbox: programs, parts of the kernel, engines, and their versions."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import dativo_plugin_sdk
from dativo_ingest.sandbox.cgroups import find_place
from dativo_ingest.sandbox.container.engine import connected, described, find
from dativo_ingest.sandbox.inside import landlock
from dativo_ingest.sandbox.process_findings import bubblewrap
from dativo_ingest.sandbox.seccomp import PROFILE
from dativo_plugin_sdk.errors import SandboxError

_ACTIONS = Path("/proc/sys/kernel/seccomp/actions_avail")
_NAMESPACES = Path("/proc/sys/user/max_user_namespaces")
_ASK_S = 20.0


def machine(engine: str | None = None) -> dict[str, Any]:
    """Describe what a sandbox is made of here; what is missing is None.

    Args:
        engine: The container engine's socket, as a policy has it; None is to look for one.
    """
    return {
        "sdk": dativo_plugin_sdk.__version__,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "user": os.geteuid(),
        "bubblewrap": _bubblewrap(),
        "user_namespaces": _number(_NAMESPACES),
        "landlock": landlock.version() or None,
        "seccomp": PROFILE if _ACTIONS.exists() else None,
        "cgroup": _cgroup(),
        "docker_library": _library("docker"),
        "engine": _engine(engine),
    }


def _bubblewrap() -> dict[str, str] | None:
    try:
        path = str(bubblewrap())
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=_ASK_S, check=False)  # noqa: S603  what the operator installed
    except (SandboxError, OSError, subprocess.TimeoutExpired):
        return None
    return {"path": path, "version": said.stdout.split()[-1] if said.stdout.split() else ""}


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _cgroup() -> dict[str, int | None] | None:
    place = find_place()
    found = {name: place.version(name) for name in ("memory", "pids", "cpu")}
    return found if any(found.values()) else None


def _library(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _engine(address: str | None) -> dict[str, Any] | None:
    try:
        socket = find(address)
        with connected(socket) as client:
            found = described(client, socket)
    except SandboxError:
        return None
    return {
        "kind": found.kind,
        "version": found.version,
        "api": found.api,
        "socket": str(found.socket),
        "runtimes": list(found.runtimes),
        "default_runtime": found.default_runtime,
        "rootless": found.is_rootless,
    }
