"""The process back end: a plugin's process in namespaces of its own, made by bubblewrap."""

from __future__ import annotations

import base64
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dativo_ingest.sandbox.cgroups import Place, find_place, limits_plan
from dativo_ingest.sandbox.confinement import Prepared
from dativo_ingest.sandbox.controls import Finding
from dativo_ingest.sandbox.environment import environment_of
from dativo_ingest.sandbox.grant import Grant
from dativo_ingest.sandbox.hosts import read_host
from dativo_ingest.sandbox.inside_plan import INSIDE, INSIDE_AT, InsidePlan
from dativo_ingest.sandbox.levels import Isolation
from dativo_ingest.sandbox.process_findings import NAMESPACES, USER, bubblewrap, process_findings
from dativo_ingest.sandbox.root_view import DEVICES, KEPT, RootView, root_view
from dativo_ingest.sandbox.run_spec import RunSpec
from dativo_ingest.sandbox.seccomp import program
from dativo_ingest.sandbox.unconfined import WARDEN

HOME: Final = Path("/job")
TEMPORARY: Final = "/tmp"  # noqa: S108  the sandbox's own

_IO: Final = Path("/run/io")
_IN_TEMPORARY: Final = ("--dir", f"{TEMPORARY}/.job", "--dir", f"{TEMPORARY}/.shm", "--symlink", "tmp/.job", str(HOME))
_DEVICE_LINKS: Final = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "shm": f"{TEMPORARY}/.shm",
}
_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
_PASSWD: Final = f"root:x:0:0::/:/sbin/nologin\nplugin:x:{USER}:{USER}::/job:/sbin/nologin\n"
_GROUP: Final = f"root:x:0:\nplugin:x:{USER}:\n"
_CONTENTS: Final = {
    "/etc/passwd": _PASSWD,
    "/etc/group": _GROUP,
    "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n127.0.0.1 plugin\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
_RESOLV: Final = "nameserver 127.0.0.1\noptions timeout:2 attempts:2\n"
_MOST_FILES: Final = 4096


@dataclass(frozen=True)
class Process:
    """The back end ``process``."""

    isolation: Isolation = "process"

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What each control comes to: tried once for each program that makes sandboxes."""
        return process_findings()

    def prepare(self, spec: RunSpec, folder: Path, token: str) -> Prepared:
        """Say how to start a process.

        Raises:
            SandboxError: bubblewrap is missing or too old, or something that the plugin needs cannot be shown.
        """
        environment = environment_of(spec.grant, home=HOME, temporary=Path(TEMPORARY), folder=_IO, token=token)
        environment |= {"PATH": _PATH, "PYTHONDONTWRITEBYTECODE": "1"}
        view = root_view(spec, environment)
        place = find_place()
        peer = USER if os.geteuid() == 0 else os.geteuid()
        options = _Options.of(spec.grant, view, folder)
        held = {
            "program": str(bubblewrap()),
            "user": USER if os.geteuid() == 0 else None,
            "limits": _limits(spec.grant),
            "processors": None if "cpu" in place.controllers else math.ceil(spec.grant.cpu),
            "addresses": _addresses(spec.grant),
            "sources": options.sources,
            "options": options.options,
            "filter": base64.b64encode(program()).decode(),
            "command": _inside(spec, view, place),
        }
        return Prepared(WARDEN, {"held": held, **limits_plan(spec.grant, place)}, environment, peer)


def _limits(grant: Grant) -> dict[str, int]:
    """Give the limits of each process, as `resource` calls them; what it may write elsewhere may be of any size."""
    files = {} if grant.write else {"RLIMIT_FSIZE": grant.tmp_bytes}
    return {"RLIMIT_CORE": 0, "RLIMIT_MEMLOCK": 0, "RLIMIT_MSGQUEUE": 0, "RLIMIT_NOFILE": _MOST_FILES, **files}


def _addresses(grant: Grant) -> list[str]:
    """Give the addresses that are granted as such: the sandbox has them, so that whoever connects there is heard."""
    found = (read_host(each).address for each in grant.network)
    return sorted({address.packed.hex() for address in found if address is not None and not address.is_loopback})


def _inside(spec: RunSpec, view: RootView, place: Place) -> tuple[str, ...]:
    grant = spec.grant
    plan = InsidePlan(
        uid=USER,
        module=spec.code.module if view.command is None else None,
        command=view.command,
        write=(*InsidePlan.write, *(str(each.path) for each in view.mounts if each.access == "write")),
        execute=view.executable,
        programs=grant.subprocess,
        # With bubblewrap's own, and that of the forwards.
        processes=None if "pids" in place.controllers else grant.pids + 2,
        hosts=grant.network,
        files=view.granted,
    )
    return plan.command_line(view.python)


def _working_folder(view: RootView) -> Path:
    """Give the engine's working folder, for relative paths to mean the same; else the plugin's home.

    What it may not write there it is told, and does not lose, as it would in a folder that goes with the sandbox.
    """
    try:
        here = Path.cwd()
    except OSError:
        return HOME
    is_ours = any(here.is_relative_to(path) for path in (*map(Path, KEPT), *view.hidden))
    return HOME if is_ours else here


def _would_be_lost(here: Path, view: RootView) -> bool:
    """Say whether what is written into the working folder would go to the sandbox's own files, if it could be."""
    is_shown = any(here.is_relative_to(mount.path) for mount in view.mounts)
    return not is_shown and here.is_relative_to(TEMPORARY) and here != Path(TEMPORARY)


@dataclass
class _Options:
    """The options that make a root, for the warden's child to complete (`dativo_ingest.sandbox.held`).

    A number stands for a source, which is shown from where that child can reach it; a list for a file with a text.

    Attributes:
        sources: Paths, and whether root's files in them are shown as the plugin's user's.
        options: The options, in the order in which bubblewrap follows them.
    """

    sources: list[tuple[str, bool]]
    options: list[str | int | list[str]]

    @classmethod
    def of(cls, grant: Grant, view: RootView, folder: Path) -> _Options:
        """Write them all."""
        made = cls([], [*NAMESPACES])
        made.options += ["--proc", "/proc", "--perms", "0700", "--size", str(grant.tmp_bytes), "--tmpfs", TEMPORARY]
        made.options += [*_IN_TEMPORARY]
        made._devices()
        for place, text in {**_CONTENTS, "/etc/resolv.conf": _RESOLV}.items():
            made.options += ["--perms", "0444", "--file", [text], place]
        here = _working_folder(view)
        made._show(view, here)
        made._bind("--ro-bind", INSIDE, INSIDE_AT, is_mapped=True)
        made._bind("--ro-bind", folder, _IO)
        made.options += ["--remount-ro", str(here)] if _would_be_lost(here, view) else []
        made.options += ["--remount-ro", "/", "--chdir", str(here)]
        return made

    def _devices(self) -> None:
        for name in DEVICES:
            self._bind("--dev-bind", Path("/dev", name), Path("/dev", name))
        for name, target in _DEVICE_LINKS.items():
            self.options += ["--symlink", target, f"/dev/{name}"]

    def _show(self, view: RootView, here: Path) -> None:
        mounts = {mount.path: mount for mount in view.mounts}
        for path in sorted({*mounts, *view.links, *view.hidden, here}):  # a folder before what is in it
            if path == here:
                self.options += ["--size", "4096", "--tmpfs"] if _would_be_lost(here, view) else ["--dir"]
                self.options += [str(here)]
            if path in mounts:
                mount = mounts[path]
                self._bind("--ro-bind" if mount.access == "read" else "--bind", path, path, is_mapped=mount.is_mapped)
            if path in view.links:
                self.options += ["--symlink", view.links[path], str(path)]
            if path in view.hidden and path.is_dir():
                self.options += ["--size", "4096", "--tmpfs", str(path)]
            elif path in view.hidden:
                self._bind("--ro-bind", Path("/dev/null"), path)
        for path in view.hidden:
            self.options += ["--remount-ro", str(path)] if path.is_dir() else []

    def _bind(self, how: str, source: Path, place: Path, *, is_mapped: bool = False) -> None:
        self.options += [how, len(self.sources), str(place)]
        self.sources.append((str(source), is_mapped))
