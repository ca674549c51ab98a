"""The process back end: a plugin's process in namespaces of its own, made by bubblewrap."""

from __future__ import annotations

import base64
import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dativo_ingest.sandbox.confinement import Prepared
from dativo_ingest.sandbox.controls import Finding, unavailable
from dativo_ingest.sandbox.environment import environment_of
from dativo_ingest.sandbox.grant import Grant
from dativo_ingest.sandbox.inside_plan import INSIDE, INSIDE_AT, InsidePlan
from dativo_ingest.sandbox.levels import Isolation
from dativo_ingest.sandbox.root_view import DEVICES, RootView, root_view
from dativo_ingest.sandbox.run_spec import RunSpec
from dativo_ingest.sandbox.seccomp import program
from dativo_ingest.sandbox.unconfined import WARDEN
from dativo_plugin_sdk.errors import SandboxError

USER: Final = 65532
"""Who a plugin is, within its sandbox, and of a root's engine outside of it too."""
AT_LEAST: Final = (0, 8)
"""The first bubblewrap that has ``--disable-userns``."""

_IO = Path("/run/io")
_NAMESPACES: Final = ("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try")
_OPTIONS: Final = ("--disable-userns", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--hostname", "plugin")
_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
_PASSWD: Final = f"root:x:0:0::/:/sbin/nologin\nplugin:x:{USER}:{USER}::/job:/sbin/nologin\n"
_GROUP: Final = f"root:x:0:\nplugin:x:{USER}:\n"
_CONTENTS: Final = {
    "/etc/passwd": _PASSWD,
    "/etc/group": _GROUP,
    "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n127.0.0.1 plugin\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
_RESOLV: Final = {True: "nameserver 127.0.0.1\noptions timeout:2 attempts:2\n", False: ""}
_MOST_FILES: Final = 4096
_VERSION = re.compile(r"bubblewrap (\d+)\.(\d+)")
_INSTALL: Final = "install bubblewrap 0.8 or newer: apt-get install bubblewrap, dnf install bubblewrap"
_PROBE_S: Final = 20.0


@dataclass(frozen=True)
class Process:
    """The back end ``process``.

    Attributes:
        findings: What each control comes to.
    """

    findings: tuple[Finding, ...] = ()

    isolation: Isolation = "process"

    def prepare(self, spec: RunSpec, folder: Path, token: str) -> Prepared:
        """Say how to start a process.

        Raises:
            SandboxError: bubblewrap is missing or too old, or something that the plugin needs cannot be shown.
        """
        environment = environment_of(spec.grant, home=Path("/job"), temporary=Path("/tmp"), folder=_IO, token=token)  # noqa: S108  the sandbox's own
        environment |= {"PATH": _PATH, "PYTHONDONTWRITEBYTECODE": "1"}
        view = root_view(spec, environment)
        peer = USER if os.geteuid() == 0 else os.geteuid()
        held = {
            "program": str(bubblewrap()),
            "user": USER if os.geteuid() == 0 else None,
            "limits": _limits(spec.grant),
            "processors": None,
            "unshare_network": bool(spec.grant.network),
            "sources": [],
            "options": [],
            "filter": base64.b64encode(program()).decode(),
            "command": list(_inside(spec, view)),
        }
        _Options(held["sources"], held["options"]).add(spec.grant, view, folder)
        return Prepared(WARDEN, {"held": held}, environment, peer)


def bubblewrap() -> Path:
    """Find the program.

    Raises:
        SandboxError: There is none, or it is too old.
    """
    found = shutil.which("bwrap")
    if found is None:
        raise _missing("there is no bwrap on the PATH")
    version = _version_of(found, Path(found).stat().st_mtime_ns)
    if version is None or version < AT_LEAST:
        raise _missing(f"{found} is {'.'.join(map(str, version)) if version else 'of no version that it tells'}")
    return Path(found)


def _missing(why: str) -> SandboxError:
    finding = Finding("processes", "absent", why, _INSTALL)
    return unavailable(f"plugins cannot be kept in processes of their own: {why}", hint=_INSTALL, controls=(finding,))


@functools.cache
def _version_of(path: str, _changed_ns: int) -> tuple[int, int] | None:
    """Ask a program for its version, once for as long as it is the same file."""
    try:
        said = subprocess.run([path, "--version"], capture_output=True, timeout=_PROBE_S, check=False).stdout  # noqa: S603  what the operator installed
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.match(said.decode(errors="replace"))
    return None if found is None else (int(found[1]), int(found[2]))


def _limits(grant: Grant) -> dict[str, int]:
    """Give the limits of each process, as `resource` calls them; what it may write elsewhere may be of any size."""
    files = {} if grant.write else {"RLIMIT_FSIZE": grant.tmp_bytes}
    return {"RLIMIT_CORE": 0, "RLIMIT_MEMLOCK": 0, "RLIMIT_MSGQUEUE": 0, "RLIMIT_NOFILE": _MOST_FILES, **files}


def _inside(spec: RunSpec, view: RootView) -> tuple[str, ...]:
    grant = spec.grant
    plan = InsidePlan(
        uid=USER,
        module=spec.code.module if view.command is None else None,
        command=view.command,
        write=(*InsidePlan.write, *(str(each.path) for each in view.mounts if each.access == "write")),
        execute=view.executable,
        programs=grant.subprocess,
        processes=grant.pids + 1,  # bubblewrap's own is one of them
        hosts=grant.network,
        files=view.granted,
    )
    return plan.command_line(view.python)


@dataclass
class _Options:
    """The options that make a root, for the warden's child to complete.

    A number stands for a source, which is shown from where that child can reach it; a list for a file with a text.
    """

    sources: list[Any]
    options: list[Any]

    def add(self, grant: Grant, view: RootView, folder: Path) -> None:
        """Write them all, in the order in which bubblewrap follows them."""
        self.options += [*_NAMESPACES, *_OPTIONS, "--uid", str(USER), "--gid", str(USER)]
        self.options += [] if grant.network else ["--unshare-net"]
        self.options += ["--proc", "/proc", "--perms", "0700", "--size", str(grant.tmp_bytes), "--tmpfs", "/tmp"]  # noqa: S108  the sandbox's own
        self.options += ["--dir", "/tmp/.job", "--dir", "/tmp/.shm", "--symlink", "tmp/.job", "/job"]
        for device in DEVICES:
            self._bind("--dev-bind", f"/dev/{device}", f"/dev/{device}", is_mapped=False)
        for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
            self.options += ["--symlink", f"/proc/self/{target}", f"/dev/{name}"]
        self.options += ["--symlink", "/tmp/.shm", "/dev/shm"]  # noqa: S108  the sandbox's own
        for place, text in {**_CONTENTS, "/etc/resolv.conf": _RESOLV[bool(grant.network)]}.items():
            self.options += ["--perms", "0444", "--file", [text], place]
        for _, step in sorted(_steps(view), key=lambda each: each[0].parts):
            self._take(step)
        self._bind("--ro-bind", str(INSIDE), str(INSIDE_AT), is_mapped=True)
        self._bind("--ro-bind", str(folder), str(_IO), is_mapped=False)
        self.options += ["--remount-ro", "/", "--chdir", "/job"]

    def _take(self, step: tuple[str, ...] | tuple[str, str, str, bool]) -> None:
        match step:
            case (how, source, place, bool(is_mapped)):
                self._bind(how, source, place, is_mapped=is_mapped)
            case _:
                self.options += step

    def _bind(self, how: str, source: str, place: str, *, is_mapped: bool) -> None:
        self.options += [how, len(self.sources), place]
        self.sources.append([source, is_mapped])


def _steps(view: RootView) -> Iterator[tuple[Path, Any]]:
    """Give what makes the view, by where it is."""
    how = {"read": "--ro-bind", "write": "--bind", "device": "--dev-bind"}
    for mount in view.mounts:
        yield mount.path, (how[mount.access], str(mount.path), str(mount.path), mount.is_mapped)
    for path, target in view.links.items():
        yield path, ("--symlink", target, str(path))
    for path in view.hidden:
        if path.is_dir():
            yield path, ("--size", "4096", "--tmpfs", str(path), "--remount-ro", str(path))
        else:
            yield path, ("--ro-bind", "/dev/null", str(path), False)
