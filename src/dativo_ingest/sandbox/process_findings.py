"""What the process back end comes to on this machine: the program that it needs, and each control."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from dativo_ingest.sandbox.cgroups import find_place, limit_findings
from dativo_ingest.sandbox.controls import Control, Finding, unavailable
from dativo_ingest.sandbox.inside import landlock
from dativo_ingest.sandbox.seccomp import PROFILE, program
from dativo_plugin_sdk.errors import SandboxError

USER: Final = 65532
"""Who a plugin is, within its sandbox, and of a root's engine outside of it too."""
AT_LEAST: Final = (0, 8)
"""The first bubblewrap that has ``--disable-userns``."""

NAMESPACES: Final = (
    "--unshare-user",
    "--unshare-ipc",
    "--unshare-pid",
    "--unshare-uts",
    "--unshare-cgroup-try",
    "--disable-userns",
    "--die-with-parent",
    "--new-session",
    "--cap-drop",
    "ALL",
    "--hostname",
    "plugin",
    "--uid",
    str(USER),
    "--gid",
    str(USER),
)
"""The options that every sandbox has."""

_VERSION = re.compile(r"bubblewrap (\d+)\.(\d+)")
_INSTALL: Final = "install bubblewrap 0.8 or newer: apt-get install bubblewrap, dnf install bubblewrap"
_PROBE_S: Final = 20.0
_LET: Final = (
    "let users make namespaces: sysctl user.max_user_namespaces=10000, kernel.unprivileged_userns_clone=1, and on "
    "Ubuntu kernel.apparmor_restrict_unprivileged_userns=0 or AppArmor's profile for bwrap; in a container, its "
    "engine's default profile of system calls forbids it"
)
_LANDLOCK: Final = "use Linux 5.13 or newer with landlock in its list of security modules: lsm=landlock,… at boot"
_BY_NAMESPACES: Final[dict[Control, str]] = {
    "files": "bubblewrap: a root of its own, read-only, of what it needs and is granted",
    "processes": "bubblewrap: a process namespace of its own",
    "network": "bubblewrap: a network of its own, with nothing in it",
    "privileges": "bubblewrap: a user namespace of its own, no capabilities, no new privileges",
}


def process_findings() -> tuple[Finding, ...]:
    """Say what each control comes to; tried once for each program that makes sandboxes."""
    return (*_namespaces(), _filter(), _landlock(), *limit_findings(find_place()), *_always())


def bubblewrap() -> Path:
    """Find the program.

    Raises:
        SandboxError: There is none, or it is too old.
    """
    found = shutil.which("bwrap")
    why = "there is no bwrap on the PATH" if found is None else _too_old(found, Path(found).stat().st_mtime_ns)
    if found is None or why is not None:
        finding = Finding("processes", "absent", str(why), _INSTALL)
        raise unavailable(
            f"plugins cannot be kept in processes of their own: {why}", hint=_INSTALL, controls=(finding,)
        )
    return Path(found)


@functools.cache
def _too_old(path: str, _changed_ns: int) -> str | None:
    """Ask a program for its version, once for as long as it is the same file; say why that is not enough."""
    try:
        said = _run([path, "--version"])
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{path} does not tell its version: {error}"
    found = _VERSION.match(said.stdout)
    if found is None:
        return f"{path} does not tell its version"
    is_enough = (int(found[1]), int(found[2])) >= AT_LEAST
    return None if is_enough else f"{path} is {found[0]}, which is too old"


@functools.cache
def refusal(path: str, _changed_ns: int) -> str | None:
    """Have a program make namespaces as a plugin's user, once for as long as it is the same file; say what it says."""
    root = ("--ro-bind", "/", "/", "--unshare-net", "--proc", "/proc")
    try:
        done = _run([path, *NAMESPACES, *root, "--", "/bin/true"], as_plugin=True)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{path} cannot be run: {error}"
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"{path} fails"])[-1]


def _run(command: list[str], *, as_plugin: bool = False) -> subprocess.CompletedProcess[str]:
    user: dict[str, Any] = {"user": USER, "group": USER, "extra_groups": []} if as_plugin and os.geteuid() == 0 else {}
    return subprocess.run(  # noqa: S603  what the operator installed
        command,
        cwd="/",
        env={},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_PROBE_S,
        check=False,
        **user,
    )


def _namespaces() -> Iterator[Finding]:
    """Find what bubblewrap gives: all of it, or nothing."""
    try:
        found = bubblewrap()
    except SandboxError as error:
        why: str | None = error.details["controls"][0]["how"]
        remedy = _INSTALL
    else:
        why = refusal(str(found), found.stat().st_mtime_ns)
        remedy = _LET
    for control, how in _BY_NAMESPACES.items():
        yield Finding(control, "enforced", how) if why is None else Finding(control, "absent", why, remedy)


def _filter() -> Finding:
    try:
        program()
    except SandboxError as error:
        return Finding("system_calls", "absent", error.message, error.hint)
    return Finding("system_calls", "enforced", f"seccomp, {PROFILE}")


def _landlock() -> Finding:
    found = landlock.version()
    if found == 0:
        return Finding("landlock", "absent", "this kernel has no Landlock, or it is switched off", _LANDLOCK)
    return Finding("landlock", "enforced", f"Landlock, version {found}")


def _always() -> tuple[Finding, ...]:
    """Give what does not depend on the machine."""
    return (
        Finding("disk", "enforced", "files in memory, of a size"),
        Finding("wall", "enforced", "the warden"),
        Finding("output", "enforced", "the engine"),
    )
